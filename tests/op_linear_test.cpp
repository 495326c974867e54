// The fully connected layer on the CPU against the references.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "tests/op_case.h"
#include "tests/random_tensor.h"

namespace residuum {
namespace {

struct LinearCase {
  Shape src;
  int64_t classes;

  int64_t features() const { return src.elements() / src[0]; }
  std::string name() const { return fmt::format("{} -> {}", to_string(src), classes); }
};

const std::vector<LinearCase> kCases = {
    {{1, 1}, 1},   {{2, 7}, 3},         {{1, 1, 1, 64}, 10},    {{37, 17}, 16},
    {{70, 64}, 7}, {{5, 2, 3, 16}, 17}, {{11, 1, 1, 512}, 100}, {{16, 1, 1, 128}, 1000},
};

/// Element type of the activation on each side; logits are f32 whatever the activations are.
const std::vector<std::pair<DType, DType>> kTypes = {
    {DType::kF32, DType::kF32}, {DType::kBF16, DType::kF32}, {DType::kBF16, DType::kBF16}};

TEST(OpLinear, Forward) {
  for (const LinearCase& t : kCases) {
    for (const auto& [src_type, dst_type] : kTypes) {
      OpCase test{t.name(), Linear{t.classes, dst_type}, {}, {summed_tolerance(dst_type, t.features())}};
      test.input(src_type, uniform_tensor(t.src, 1));
      expect_case(test.input(DType::kF32, uniform_tensor({t.classes, t.features()}, 2)));
    }
  }
}

TEST(OpLinear, BackwardData) {
  for (const LinearCase& t : kCases) {
    for (const auto& [src_type, dst_type] : kTypes) {
      OpCase test{
          t.name(), LinearBackwardData{{src_type, t.src}}, {}, {summed_tolerance(src_type, t.classes)}};
      test.input(dst_type, uniform_tensor({t.src[0], t.classes}, 1));
      expect_case(test.input(DType::kF32, uniform_tensor({t.classes, t.features()}, 2)));
    }
  }
}

TEST(OpLinear, BackwardFilter) {
  for (const LinearCase& t : kCases) {
    for (const auto& [src_type, dst_type] : kTypes) {
      OpCase test{t.name(), LinearBackwardFilter{}, {}, {summed_f32(t.src[0])}};
      test.input(dst_type, uniform_tensor({t.src[0], t.classes}, 1));
      expect_case(test.input(src_type, uniform_tensor(t.src, 2)));
    }
  }
}

}  // namespace
}  // namespace residuum
