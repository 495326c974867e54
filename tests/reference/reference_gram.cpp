// References of a batch norm after a 1x1 convolution y = W z from sums over z: the convolution's result is
// written out as the formulas of a batch norm want it, dy = a g + b y + c, with the moments that the sums
// give.
#include <cmath>

#include "tests/reference/reference.h"

namespace residuum::reference {
namespace {

using In = std::span<const Tensor* const>;

/// dy = a g + b y + c of one output channel.
struct Coefficients {
  Coefficients(double pixels, double epsilon, double mean, double variance, double gamma, double d_gamma,
               double d_beta) {
    const double inverse = 1 / std::sqrt(variance + epsilon);
    a = gamma * inverse;
    b = -a * inverse * d_gamma / pixels;
    c = -a * d_beta / pixels - b * mean;
  }
  double a, b, c;
};

double mean_of(const Tensor& sum, const Tensor& weight, int64_t k, double pixels) {
  double mean = 0;
  for (int64_t c = 0; c < sum.elements(); ++c) mean += weight[k * sum.elements() + c] * sum[c] / pixels;
  return mean;
}

}  // namespace

Tensors gram(const Tensor& src) {
  const int64_t c = src.channels();
  Tensor gram({c, c}), sum({c});
  for (int64_t row = 0; row < src.rows(); ++row) {
    for (int64_t i = 0; i < c; ++i) {
      sum[i] += src[row * c + i];
      for (int64_t j = 0; j < c; ++j) gram[i * c + j] += src[row * c + i] * src[row * c + j];
    }
  }
  return {gram, sum};
}

Tensors gram_stats(const GramStats& op, const Tensor& gram, const Tensor& sum, const Tensor& weight) {
  const int64_t k = weight.shape[0], c = sum.elements();
  const auto pixels = static_cast<double>(op.pixels);
  Tensor mean({k}), variance({k}), weighted(weight.shape);
  for (int64_t o = 0; o < k; ++o) {
    mean[o] = mean_of(sum, weight, o, pixels);
    for (int64_t i = 0; i < c; ++i) {
      for (int64_t j = 0; j < c; ++j) {
        const double covariance = gram[j * c + i] / pixels - sum[j] / pixels * (sum[i] / pixels);
        weighted[o * c + i] += weight[o * c + j] * covariance;
      }
      variance[o] += weighted[o * c + i] * weight[o * c + i];
    }
    if (variance[o] < 0) variance[o] = 0;
  }
  return {mean, variance, weighted};
}

Tensor gram_backward_reduce(const GramBackwardReduce& op, In in) {
  const Tensor &product = *in[0], &weight = *in[1], &mean = *in[2], &variance = *in[3], &d_beta = *in[4];
  Tensor d_gamma({mean.elements()});
  for (int64_t i = 0; i < product.elements(); ++i) d_gamma[i / product.channels()] += weight[i] * product[i];
  for (int64_t k = 0; k < mean.elements(); ++k) {
    const double epsilon = double{op.epsilon};
    d_gamma[k] = (d_gamma[k] - mean[k] * d_beta[k]) / std::sqrt(variance[k] + epsilon);
  }
  return d_gamma;
}

Tensor gram_backward_filter(const GramBackwardFilter& op, In in) {
  const Tensor &product = *in[0], &weighted = *in[1], &sum = *in[2];
  const int64_t c = sum.elements();
  const auto pixels = static_cast<double>(op.pixels);
  Tensor d_weight(product.shape);
  for (int64_t i = 0; i < product.elements(); ++i) {
    const int64_t k = i / c;
    // Less the mean: sum over the pixels of (y - mean) z is pixels times the covariance of y and z.
    const Coefficients of(pixels, double{op.epsilon}, 0, (*in[3])[k], (*in[4])[k], (*in[5])[k], (*in[6])[k]);
    d_weight[i] = of.a * product[i] + of.b * pixels * weighted[i] + of.c * sum[i % c];
  }
  return d_weight;
}

Tensors gram_backward_weight(const GramBackwardWeight& op, In in) {
  const Tensor &weight = *in[0], &sum = *in[1], &variance = *in[2];
  const int64_t k = weight.shape[0], c = sum.elements();
  Tensor folded({k + c, 1, 1, c}), offset({c});
  for (int64_t o = 0; o < k; ++o) {
    const auto pixels = static_cast<double>(op.pixels);
    const Coefficients of(pixels, double{op.epsilon}, mean_of(sum, weight, o, pixels), variance[o],
                          (*in[3])[o], (*in[4])[o], (*in[5])[o]);
    for (int64_t i = 0; i < c; ++i) {
      const double w = weight[o * c + i];
      folded[o * c + i] = of.a * w;
      offset[i] += of.c * w;
      for (int64_t j = 0; j < c; ++j) folded[(k + j) * c + i] += weight[o * c + j] * of.b * w;
    }
  }
  return {folded, offset};
}

}  // namespace residuum::reference
