// Reference of softmax cross-entropy with torch's label smoothing; rows with a negative label are masked.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/reference/reference.h"

namespace residuum::reference {
namespace {

/// log(softmax(row)) of one row of logits.
std::vector<double> log_softmax(const Tensor& logits, int64_t row) {
  const int64_t classes = logits.channels();
  double largest = logits[row * classes];
  for (int64_t k = 1; k < classes; ++k) largest = std::max(largest, logits[row * classes + k]);
  double sum = 0;
  for (int64_t k = 0; k < classes; ++k) sum += std::exp(logits[row * classes + k] - largest);
  std::vector<double> result;
  for (int64_t k = 0; k < classes; ++k) result.push_back(logits[row * classes + k] - largest - std::log(sum));
  return result;
}

/// Probability of class k in the smoothed target.
double target(double smoothing, int64_t classes, int64_t label, int64_t k) {
  return (k == label ? 1 - smoothing : 0.0) + smoothing / static_cast<double>(classes);
}

/// The place of the label's logit in the row sorted by falling logit, equal ones by rising class number.
int64_t rank_of_label(const Tensor& logits, int64_t row, int64_t label) {
  std::vector<int64_t> order(static_cast<size_t>(logits.channels()));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return logits[row * logits.channels() + a] > logits[row * logits.channels() + b];
  });
  return std::find(order.begin(), order.end(), label) - order.begin();
}

int64_t valid_rows(const Tensor& labels) {
  return std::count_if(labels.data.begin(), labels.data.end(), [](double label) { return label >= 0; });
}

}  // namespace

Tensors softmax_cross_entropy(double smoothing, const Tensor& logits, const Tensor& labels) {
  Tensor loss({1}), counts({3});
  const int64_t valid = valid_rows(labels);
  for (int64_t n = 0; n < labels.elements(); ++n) {
    const auto label = static_cast<int64_t>(labels[n]);
    if (label < 0) continue;
    const std::vector<double> log_probability = log_softmax(logits, n);
    for (int64_t k = 0; k < logits.channels(); ++k)
      loss[0] -= target(smoothing, logits.channels(), label, k) * log_probability[static_cast<size_t>(k)] /
                 static_cast<double>(valid);
    const int64_t rank = rank_of_label(logits, n, label);
    counts[0] += 1;
    counts[1] += rank < 1;
    counts[2] += rank < 5;
  }
  return {loss, counts};
}

Tensor softmax_cross_entropy_backward(const SoftmaxCrossEntropyBackward& op, const Tensor& logits,
                                      const Tensor& labels) {
  Tensor d_logits(logits.shape);
  const int64_t valid = valid_rows(labels), classes = logits.channels();
  for (int64_t n = 0; n < labels.elements(); ++n) {
    const auto label = static_cast<int64_t>(labels[n]);
    if (label < 0) continue;
    const std::vector<double> log_probability = log_softmax(logits, n);
    for (int64_t k = 0; k < classes; ++k)
      d_logits[n * classes + k] =
          op.scale *
          (std::exp(log_probability[static_cast<size_t>(k)]) - target(op.smoothing, classes, label, k)) /
          static_cast<double>(valid);
  }
  return d_logits;
}

}  // namespace residuum::reference
