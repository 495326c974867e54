// References of batch normalisation (Ioffe & Szegedy 2015) with torch's conventions: biased variance over
// N,H,W.
#include <cmath>

#include "tests/reference/reference.h"

namespace residuum::reference {

Tensors batch_norm_stats(const Tensor& src) {
  const int64_t c = src.channels();
  const auto m = static_cast<double>(src.rows());
  Tensor mean({c}), variance({c});
  for (int64_t i = 0; i < src.elements(); ++i) mean[i % c] += src[i] / m;
  for (int64_t i = 0; i < src.elements(); ++i)
    variance[i % c] += (src[i] - mean[i % c]) * (src[i] - mean[i % c]) / m;
  return {mean, variance};
}

Tensor batch_norm_apply(double epsilon, const Tensor& src, const Tensor& mean, const Tensor& variance,
                        const Tensor& gamma, const Tensor& beta) {
  Tensor dst(src.shape);
  for (int64_t i = 0; i < src.elements(); ++i) {
    const int64_t c = i % src.channels();
    dst[i] = gamma[c] * (src[i] - mean[c]) / std::sqrt(variance[c] + epsilon) + beta[c];
  }
  return dst;
}

Tensors batch_norm_backward_reduce(double epsilon, const Tensor& d_dst, const Tensor& src, const Tensor& mean,
                                   const Tensor& variance) {
  Tensor d_gamma({src.channels()}), d_beta({src.channels()});
  for (int64_t i = 0; i < src.elements(); ++i) {
    const int64_t c = i % src.channels();
    d_gamma[c] += d_dst[i] * (src[i] - mean[c]) / std::sqrt(variance[c] + epsilon);
    d_beta[c] += d_dst[i];
  }
  return {d_gamma, d_beta};
}

Tensor batch_norm_backward_apply(double epsilon, const Tensor& d_dst, const Tensor& src, const Tensor& mean,
                                 const Tensor& variance, const Tensor& gamma, const Tensor& d_gamma,
                                 const Tensor& d_beta) {
  const auto m = static_cast<double>(src.rows());
  Tensor d_src(src.shape);
  for (int64_t i = 0; i < src.elements(); ++i) {
    const int64_t c = i % src.channels();
    const double inverse_std = 1 / std::sqrt(variance[c] + epsilon);
    const double normalised = (src[i] - mean[c]) * inverse_std;
    d_src[i] = gamma[c] * inverse_std * (d_dst[i] - d_beta[c] / m - normalised * d_gamma[c] / m);
  }
  return d_src;
}

Tensor batch_norm_frozen_backward(double epsilon, const Tensor& d_dst, const Tensor& variance,
                                  const Tensor& gamma) {
  Tensor d_src(d_dst.shape);
  for (int64_t i = 0; i < d_dst.elements(); ++i) {
    const int64_t c = i % d_dst.channels();
    d_src[i] = d_dst[i] * gamma[c] / std::sqrt(variance[c] + epsilon);
  }
  return d_src;
}

}  // namespace residuum::reference
