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

__device__ __forceinline__ void normalise(float (&values)[kUnit], const float (&scale)[kUnit],
                                          const float (&shift)[kUnit]) {
#pragma unroll
  for (int i = 0; i < kUnit; ++i) values[i] = fmaf(values[i], scale[i], shift[i]);
}

__device__ __forceinline__ void rectify(float (&values)[kUnit]) {
#pragma unroll
  for (int i = 0; i < kUnit; ++i) values[i] = gate_open(values[i]) ? values[i] : 0.0f;
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
