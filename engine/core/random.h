// Counter-based randomness: streams of Philox4x32-10 (kernels/philox.h). A number is a function of (seed,
// purpose, epoch, index, draw) alone: no state is saved, no thread or rank matters.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/philox.h"

namespace residuum {

/// Who draws: streams with different purposes are independent for the same seed.
enum class RandomPurpose : uint32_t {
  kInit = 1,                       ///< index = parameter number
  kShuffle = 2,                    ///< index = draw of the permutation
  kAugment = 3,                    ///< index = sample number in the data set
  kDropout = kDropoutPurpose,      ///< index = node
  kAnalysis = 5,                   ///< lesions, path samples
  kBlockGate = kBlockGatePurpose,  ///< see block_is_open
};

/// A short sequence of draws for one (seed, purpose, epoch, index).
class RandomStream {
 public:
  /// `index` is taken modulo 2^48, `epoch` modulo 2^32.
  RandomStream(uint64_t seed, RandomPurpose purpose, uint64_t epoch, uint64_t index)
      : key_(philox_key(seed)),
        counter_{0, static_cast<uint32_t>(index), static_cast<uint32_t>(epoch),
                 static_cast<uint32_t>(purpose) | static_cast<uint32_t>((index >> 32) << 16)} {}

  uint32_t next_u32() {
    if (used_ == 4) {
      words_ = philox(counter_, key_);
      ++counter_[0];
      used_ = 0;
    }
    return words_[used_++];
  }
  /// Uniform in [0, 1) with 24 random bits: exact in float.
  float uniform() { return static_cast<float>(next_u32() >> 8) * 0x1p-24f; }
  /// Uniform in [0, 1) with 53 random bits.
  double uniform_double() {
    const uint64_t high = next_u32() >> 5, low = next_u32() >> 6;
    return static_cast<double>(high * 67108864 + low) * 0x1p-53;
  }
  /// Uniform in [0, bound), bound >= 1, without modulo bias (Lemire 2019).
  uint32_t uniform_below(uint32_t bound);
  /// Standard normal by Box-Muller; each call consumes a whole number of draws.
  double normal();

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;
  std::array<uint32_t, 4> words_{};
  size_t used_ = 4;
};

}  // namespace residuum
