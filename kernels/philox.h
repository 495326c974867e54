// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") and where dropout and the
// gates of blocks sit in its counter space: plain C++, the one generator of engine and kernels. A number is a
// function of counter and key alone, so no state is kept and no thread or rank matters.
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

/// The gate of one block among `blocks`.
struct BlockDraw {
  uint32_t block = 0, blocks = 1;
  uint32_t open = 0;      ///< exactly so many of the gates are open in a step; 0: each draws by itself
  float probability = 1;  ///< of being open, with open = 0

  /// How often the gate is open: what its branch is worth on average.
  constexpr float share() const {
    return open > 0 ? static_cast<float>(open) / static_cast<float>(blocks) : probability;
  }
  constexpr bool operator==(const BlockDraw&) const = default;
};

/// RandomPurpose::kBlockGate of engine/core/random.h.
inline constexpr uint32_t kBlockGatePurpose = 6;

/// Block b draws the number u = (word b % 4 of philox({b / 4, micro_step, step, kBlockGate}, seed) >> 8) *
/// 2^-24. By itself it is open where u < probability. A fixed number of gates is drawn by selection sampling
/// (Knuth, volume 2, 3.4.2, algorithm S): with l of `open` gates left for the m blocks from this one on, it
/// is open where u m < l, so every subset of that size is equally likely. `step` counts modulo 2^32.
constexpr bool block_is_open(const BlockDraw& draw, uint64_t seed, uint64_t step, uint32_t micro_step) {
  uint64_t left = draw.open;
  for (uint32_t group = draw.open > 0 ? 0 : draw.block / 4;; ++group) {
    const auto words =
        philox({group, micro_step, static_cast<uint32_t>(step), kBlockGatePurpose}, philox_key(seed));
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t block = 4 * group + i, u = words[i] >> 8;
      if (draw.open == 0) {
        if (block == draw.block) return static_cast<float>(u) * 0x1p-24f < draw.probability;
        continue;
      }
      const bool open = uint64_t{u} * (draw.blocks - block) < left << 24;
      if (block == draw.block) return open;
      left -= open ? 1 : 0;
    }
  }
}

}  // namespace residuum
