// What single elements of a result must be: the definitions in double precision, written again without any of
// the code that is measured. Single elements, so that problems of full size can be checked.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/problem.h"
#include "engine/backend/backend.h"

namespace residuum::bench {

/// The data of a tensor: `pattern` over and over, as the device has it.
class Pattern {
 public:
  /// Length of patterns; shorter for smaller tensors. No power of two, so that repeated pieces do not lie
  /// alike in rows; a constant, so that the remainder is cheap.
  static constexpr uint32_t kLength = 1'000'003;

  /// Random numbers that a kernel may meet: floats uniform in [-1, 1), vectors in [0.5, 1.5) as variances
  /// must be positive, bytes below `bound`. Floats are rounded to `precision`, which `desc` may
  /// hold in a wider type.
  Pattern(const TensorDesc& desc, DType precision, uint32_t bound, uint64_t seed);

  double operator[](int64_t i) const {
    const auto at = static_cast<uint32_t>(i);
    return double{values_[at < kLength ? at : at % kLength]};
  }
  /// As the device stores it.
  const std::vector<std::byte>& bytes() const { return bytes_; }
  /// Writes it to the whole of a tensor.
  void fill(Backend& backend, Memory& memory) const;

 private:
  std::vector<float> values_;  ///< rounded to the type
  std::vector<std::byte> bytes_;
};

/// An element that was asked for.
struct Expected {
  double value = 0;
  int64_t terms = 1;  ///< products or elements added up in it
};

/// Element `index` of output `output` of an operation of `problem` on the inputs given.
Expected expected_element(const Problem& problem, const std::string& operation,
                          const std::vector<Pattern>& inputs, size_t output, int64_t index);

/// About how many elements of the inputs one element of the result depends on.
int64_t terms_of(const Problem& problem, const std::string& operation);

/// Element `index` of bytes of a type.
double element_at(const std::byte* data, DType type, size_t index);

}  // namespace residuum::bench
