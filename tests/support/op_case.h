// One operation with one set of inputs: what it must compute, by the references, and how exactly. A case
// drives the run on the device under test: values, bits in every variant (test_device.h), bits of a second
// run, writes past the end.
#pragma once

#include <string>
#include <vector>

#include "tests/support/compare.h"
#include "tests/support/graph_run.h"
#include "tests/support/test_device.h"

namespace residuum {

struct OpInput {
  DType dtype = DType::kF32;
  reference::Tensor value;
};

struct OpCase {
  std::string name;
  Op op;
  std::vector<OpInput> inputs;
  /// One for each output; the last one also serves all further ones and, in updates, the inputs changed in
  /// place.
  std::vector<Tolerance> tolerances;
  StepParams params{};
  double scale = 0;      ///< see matches()
  bool rounded = false;  ///< compare with the references' results rounded to the types of the outputs
  VariantOptions variants{};

  /// An input rounded to its type, so that reference and backend see the same numbers.
  OpCase& input(DType dtype, const reference::Tensor& value);
};

/// Runs the case in every variant of the device under test and compares with the reference.
void expect_case(const OpCase& test);

/// kRoundedF32, kRoundedBF16 or kRoundedF16.
Tolerance rounded_tolerance(DType type);
/// summed_f32, summed_bf16 or summed_f16: a sum of numbers.
Tolerance summed_tolerance(DType type, int64_t terms);
/// A convolution or linear layer in `type` whose result is a `dst` type: as summed_tolerance, but CUDA forms
/// the products of f32 in parts (summed_tf32x3).
Tolerance product_tolerance(DType type, DType dst, int64_t terms);
/// The offset of GramBackwardWeight, which undoes the mean of the roundings of a folded weight in `type`; the
/// case's scale is the root of the sum of its terms' squares.
Tolerance offset_tolerance(DType type);

}  // namespace residuum
