// The fully connected layer against the references.
#include <gtest/gtest.h>

#include <fmt/core.h>

#include "tests/support/op_case.h"
#include "tests/support/random_tensor.h"

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
std::vector<std::pair<DType, DType>> types() {
  std::vector<std::pair<DType, DType>> pairs;
  for (const DType type : activation_types()) {
    pairs.emplace_back(type, DType::kF32);
    if (type != DType::kF32) pairs.emplace_back(type, type);
  }
  return pairs;
}

/// Values that bf16 holds: CUDA rounds weights and gradients to the type of the activations beside them.
reference::Tensor factors(const Shape& shape, uint64_t seed) {
  return rounded_to(DType::kBF16, uniform_tensor(shape, seed));
}

TEST(OpLinear, Forward) {
  for (const LinearCase& t : kCases) {
    for (const auto& [src, dst] : types()) {
      OpCase test{t.name(), Linear{t.classes, dst}, {}, {product_tolerance(src, dst, t.features())}};
      test.input(src, uniform_tensor(t.src, 1));
      expect_case(test.input(DType::kF32, factors({t.classes, t.features()}, 2)));
    }
  }
}

TEST(OpLinear, BackwardData) {
  for (const LinearCase& t : kCases) {
    for (const auto& [src, dst] : types()) {
      OpCase test{t.name(), LinearBackwardData{{src, t.src}}, {}, {product_tolerance(src, src, t.classes)}};
      test.input(dst, factors({t.src[0], t.classes}, 1));
      expect_case(test.input(DType::kF32, factors({t.classes, t.features()}, 2)));
    }
  }
}

TEST(OpLinear, ReadsACopyOfTheWeightInTheActivationsType) {
  const DType type = DType::kBF16;
  for (const LinearCase& t : kCases) {
    const reference::Tensor weight = factors({t.classes, t.features()}, 2);
    OpCase forward{t.name(), Linear{t.classes, DType::kF32}, {}, {summed_f32(t.features())}};
    expect_case(forward.input(type, uniform_tensor(t.src, 1)).input(type, weight));
    OpCase backward{t.name(), LinearBackwardData{{type, t.src}}, {}, {summed_bf16(t.classes)}};
    expect_case(backward.input(DType::kF32, factors({t.src[0], t.classes}, 1)).input(type, weight));
  }
}

TEST(OpLinear, BackwardFilter) {
  for (const LinearCase& t : kCases) {
    for (const auto& [src, dst] : types()) {
      OpCase test{t.name(), LinearBackwardFilter{}, {}, {product_tolerance(src, DType::kF32, t.src[0])}};
      test.input(dst, factors({t.src[0], t.classes}, 1));
      expect_case(test.input(src, uniform_tensor(t.src, 2)));
    }
  }
}

}  // namespace
}  // namespace residuum
