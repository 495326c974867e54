// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") and where dropout sits in
// its counter space: plain C++, the one generator of engine and kernels. A number is a function of counter
// and key alone, so no state is kept and no thread or rank matters.
#pragma once

#include <array>
#include <cstdint>

namespace residuum {

/// The Philox4x32-10 bijection: four random words for a counter under a key.
constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

/// The key of a seed.
constexpr std::array<uint32_t, 2> philox_key(uint64_t seed) {
  return {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
}

/// RandomPurpose::kDropout of engine/core/random.h.
inline constexpr uint32_t kDropoutPurpose = 4;

/// The counter of elements 4 * group .. 4 * group + 3 of a dropout mask. `step` counts modulo 2^32, `stream`
/// modulo 2^24.
constexpr std::array<uint32_t, 4> dropout_counter(uint64_t group, uint64_t step, uint32_t micro_step,
                                                  uint32_t stream) {
  return {static_cast<uint32_t>(group), micro_step ^ (static_cast<uint32_t>(group >> 32) << 16),
          static_cast<uint32_t>(step), (stream << 8) | kDropoutPurpose};
}

}  // namespace residuum
