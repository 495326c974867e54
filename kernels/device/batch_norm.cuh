// The arithmetic of batch normalisation on a unit of channels, shared by every kernel that normalises on the
// fly: whoever applies scale and shift of affine_of() to the same bits gets the same bits.
#pragma once

#include "kernels/device/vector.cuh"

namespace residuum::kernels {

__device__ __forceinline__ double inverse_deviation(const BatchNormVectors& vectors, int64_t channel) {
  return 1.0 / sqrt(static_cast<double>(vectors.variance[channel]) + static_cast<double>(vectors.epsilon));
}

/// BN(x) = scale x + shift; the two coefficients of one channel.
__device__ __forceinline__ void affine_of(const BatchNormVectors& vectors, int64_t channel, float& scale,
                                          float& shift) {
  scale =
      static_cast<float>(static_cast<double>(vectors.gamma[channel]) * inverse_deviation(vectors, channel));
  shift = static_cast<float>(static_cast<double>(vectors.beta[channel]) -
                             static_cast<double>(scale) * static_cast<double>(vectors.mean[channel]));
}

/// The backward pass over `rows` rows is of_dy dy + (of_x x + constant); the three coefficients of one
/// channel, in that order.
__device__ __forceinline__ void gradient_coefficients(const BatchNormVectors& vectors, const float* d_gamma,
                                                      const float* d_beta, int64_t rows, int64_t channel,
                                                      float (&values)[3]) {
  const double inverse = inverse_deviation(vectors, channel);
  const double of_dy = static_cast<double>(vectors.gamma[channel]) * inverse;
  const double share = of_dy / static_cast<double>(rows);
  const double of_x = -share * inverse * static_cast<double>(d_gamma[channel]);
  values[0] = static_cast<float>(of_dy);
  values[1] = static_cast<float>(of_x);
  values[2] = static_cast<float>(-share * static_cast<double>(d_beta[channel]) -
                                 of_x * static_cast<double>(vectors.mean[channel]));
}

__device__ __forceinline__ void normalise(float (&values)[kUnit], const float (&scale)[kUnit],
                                          const float (&shift)[kUnit]) {
#pragma unroll
  for (int i = 0; i < kUnit; ++i) values[i] = fmaf(values[i], scale[i], shift[i]);
}

__device__ __forceinline__ void rectify(float (&values)[kUnit]) {
#pragma unroll
  for (int i = 0; i < kUnit; ++i) values[i] = gate_open(values[i]) ? values[i] : 0.0f;
}

/// g = 0 where the gate is closed: by its value, or by its bit of a mask.
__device__ __forceinline__ void close_by_values(const float (&gate)[kUnit], float (&g)[kUnit]) {
#pragma unroll
  for (int i = 0; i < kUnit; ++i) g[i] = gate_open(gate[i]) ? g[i] : 0.0f;
}
__device__ __forceinline__ void close_by_bits(unsigned bits, float (&g)[kUnit]) {
#pragma unroll
  for (int i = 0; i < kUnit; ++i) g[i] = (bits >> i & 1) != 0 ? g[i] : 0.0f;
}
/// g = 0 where BN(x), rounded to T as it was when it was stored, is closed.
template <typename T>
__device__ __forceinline__ void close_by_normalised(const float (&x)[kUnit], const float (&scale)[kUnit],
                                                    const float (&shift)[kUnit], float (&g)[kUnit]) {
  float gate[kUnit];
#pragma unroll
  for (int i = 0; i < kUnit; ++i) gate[i] = x[i];
  normalise(gate, scale, shift);
  round_as<T>(gate);
  close_by_values(gate, g);
}

/// Where a unit of row `row` lies in a mask or tensor of `channels` channels.
struct UnitIndex {
  int64_t element;  ///< of the tensor
  int64_t mask_byte;
};
__device__ __forceinline__ UnitIndex unit_index(int64_t row, int64_t channel, int64_t channels) {
  return {row * channels + channel, row * ((channels + kUnit - 1) / kUnit) + channel / kUnit};
}

}  // namespace residuum::kernels
