// References of the last nodes of a step: gradient norm, accumulation, torch's SGD, moving averages, running
// statistics.
#include <algorithm>
#include <cmath>

#include "tests/reference/reference.h"

namespace residuum::reference {
namespace {

/// The part-th of `parts` equal runs of `in`.
std::span<Tensor* const> part(std::span<Tensor* const> in, size_t index, size_t parts) {
  const size_t count = in.size() / parts;
  return in.subspan(index * count, count);
}

bool finite(const Tensor& norm) {
  return norm[1] != 0;
}

}  // namespace

Tensor gradient_norm(std::span<const Tensor* const> gradients) {
  double sum = 0;
  bool all_finite = true;
  for (const Tensor* gradient : gradients)
    for (const double g : gradient->data) {
      sum += g * g;
      all_finite = all_finite && std::isfinite(g);
    }
  return {{2}, {std::sqrt(sum), all_finite ? 1.0 : 0.0}};
}

void accumulate_gradient(const AccumulateGradient& op, std::span<Tensor* const> gradients_then_sums,
                         const StepParams& params) {
  if ((params.micro_step & op.when) != op.when) return;
  const bool start = (params.micro_step & op.restart) == 0;
  const auto gradients = part(gradients_then_sums, 0, 2), sums = part(gradients_then_sums, 1, 2);
  for (size_t i = 0; i < sums.size(); ++i)
    for (int64_t j = 0; j < sums[i]->elements(); ++j)
      (*sums[i])[j] = (start ? 0.0 : (*sums[i])[j]) + (*gradients[i])[j];
}

Tensors all_reduce(const AllReduce& op, std::span<const Tensor* const> in) {
  Tensors sums;
  for (const Tensor* tensor : in) {
    sums.push_back(*tensor);
    for (double& value : sums.back().data) value *= double{op.factor};
  }
  return sums;
}

void sgd_update(const SgdUpdate& op, std::span<Tensor* const> in, const StepParams& params) {
  const Tensor& norm = *in[0];
  if (!finite(norm)) return;
  const auto lists = in.subspan(1, 3 * op.weight_decay.size()), copies = in.subspan(1 + lists.size());
  const auto weights = part(lists, 0, 3), momenta = part(lists, 1, 3), gradients = part(lists, 2, 3);
  const double clip = op.clip_norm > 0 ? std::min(1.0, op.clip_norm / (norm[0] * op.gradient_scale)) : 1.0;
  for (size_t i = 0; i < weights.size(); ++i)
    for (int64_t j = 0; j < weights[i]->elements(); ++j) {
      double &w = (*weights[i])[j], &m = (*momenta[i])[j];
      const double g = (*gradients[i])[j] * op.gradient_scale * clip + op.weight_decay[i] * w;
      m = op.momentum * m + g;
      w -= params.learning_rate * (op.nesterov ? g + op.momentum * m : m);
    }
  for (size_t k = 0; k < copies.size(); ++k)  // rounded when stored, not here
    copies[k]->data = weights[static_cast<size_t>(op.copy_of[k])]->data;
}

void ema_update(const EmaUpdate& op, std::span<Tensor* const> in) {
  if (!finite(*in[0])) return;
  const auto weights = part(in.subspan(1), 0, 2), averages = part(in.subspan(1), 1, 2);
  for (size_t i = 0; i < weights.size(); ++i)
    for (int64_t j = 0; j < weights[i]->elements(); ++j)
      (*averages[i])[j] = op.decay * (*averages[i])[j] + (1.0 - op.decay) * (*weights[i])[j];
}

void batch_norm_commit(const BatchNormCommit& op, std::span<Tensor* const> in) {
  if (!finite(*in[0])) return;
  const auto values = in.subspan(1);
  for (size_t i = 0; i < op.counts.size(); ++i) {
    const Tensor &mean = *part(values, 0, 4)[i], &variance = *part(values, 1, 4)[i];
    Tensor &running_mean = *part(values, 2, 4)[i], &running_variance = *part(values, 3, 4)[i];
    const auto count = static_cast<double>(op.counts[i]);
    for (int64_t c = 0; c < mean.elements(); ++c) {
      running_mean[c] = (1.0 - op.momentum) * running_mean[c] + op.momentum * op.scale * mean[c];
      running_variance[c] = (1.0 - op.momentum) * running_variance[c] +
                            op.momentum * op.scale * variance[c] * count / (count - 1);
    }
  }
}

}  // namespace residuum::reference
