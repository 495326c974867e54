// One operation with one set of inputs: what it must compute, by the references, and how exactly. A case
// drives the run on a backend: values, bits for every number of threads, bits of a second run, writes past
// the end.
#pragma once

#include <string>
#include <vector>

#include "tests/compare.h"
#include "tests/graph_run.h"

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
  double scale = 0;  ///< see matches()

  /// An input rounded to its type, so that reference and backend see the same numbers.
  OpCase& input(DType dtype, const reference::Tensor& value);
};

/// Runs the case on the CPU with 1, 2, 3 and 5 threads, twice each, and compares with the reference.
void expect_case(const OpCase& test);

/// kRoundedF32 or kRoundedBF16.
Tolerance rounded_tolerance(DType type);
/// summed_f32 or summed_bf16.
Tolerance summed_tolerance(DType type, int64_t terms);

/// The activation types every case runs in.
inline constexpr DType kActivationTypes[] = {DType::kF32, DType::kBF16};

}  // namespace residuum
