// What the kernels of ptx_kernels.h are asked, and what plain C++ that knows only the PTX manual answers.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/compare.h"

namespace residuum::ptx {

using Words = std::vector<uint32_t>;

/// Sums of products differ from GPU to GPU: the terms are aligned to the largest one before they are added,
/// so the error is a few units in the last of 24 bits of it.
inline constexpr Tolerance kTensorCoreSum{"tensor-core-sum",
                                          "terms cut to the bits below the largest one, 2^-23 of it each; of "
                                          "17 terms",
                                          0, 17 * 0x1p-23};

/// How results are compared.
enum class Kind : uint8_t {
  kWords,  ///< equal words
  kF32,    ///< equal bits of values in f32; any NaN is a NaN
  kBF16,   ///< the same of 16 bits, one or two values a word
  kF16,
  kSums,  ///< f32 within kTensorCoreSum of `scale`
};

struct Expected {
  Words words;
  std::vector<double> scale;  ///< kSums: the sum of the terms' magnitudes
};

struct PtxCase {
  std::string name;    ///< of this case
  std::string kernel;  ///< of ptx_kernels()
  Kind kind = Kind::kWords;
  Words inputs;
  std::function<Expected(const Words& inputs)> expected;
  /// The case whose recorded answer this one must give as well; empty: its own.
  std::string recorded_as{};
  bool is_recorded = true;  ///< false: newer than the recording of the GPU

  const std::string& recorded_name() const { return recorded_as.empty() ? name : recorded_as; }
};

/// Every case, always with the same inputs.
std::vector<PtxCase> ptx_cases();

}  // namespace residuum::ptx
