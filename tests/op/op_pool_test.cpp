// Pooling, forward and backward, against the references.
#include <gtest/gtest.h>

#include <fmt/core.h>

#include "tests/op/op_shapes.h"
#include "tests/support/op_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

const std::vector<PoolShape> kShapes = {
    // n, h, w, c, window, stride, pad
    {1, 1, 1, 1, 1, 1, 0},   {2, 7, 5, 3, 3, 2, 1},    {1, 8, 8, 64, 2, 2, 0}, {37, 5, 6, 17, 3, 1, 1},
    {70, 4, 4, 16, 3, 2, 1}, {3, 13, 11, 7, 5, 3, 2},  {2, 3, 3, 4, 3, 3, 0},  {2, 2, 2, 5, 4, 1, 2},
    {2, 17, 9, 1, 7, 2, 3},  {1, 20, 20, 3, 16, 4, 8}, {2, 5, 7, 16, 1, 2, 0}, {2, 6, 6, 8, 2, 3, 1},
};

std::string name(const PoolShape& s) {
  return fmt::format("{}x{}x{}x{} window {} stride {} pad {}", s.n, s.h, s.w, s.c, s.window, s.stride, s.pad);
}

TEST(OpPool, Max) {
  for (const PoolShape& s : kShapes) {
    const MaxPool op{s.window, s.stride, s.pad};
    for (const DType type : activation_types()) {
      OpCase test{name(s), op, {}, {kExact}};
      expect_case(test.input(type, uniform_tensor({s.n, s.h, s.w, s.c}, 1, -3, -1)));
    }
  }
}

TEST(OpPool, FirstOfEqualMaximaWins) {
  for (const PoolShape& s : kShapes) {
    OpCase test{name(s), MaxPool{s.window, s.stride, s.pad}, {}, {kExact}};
    expect_case(test.input(DType::kF32, integer_tensor({s.n, s.h, s.w, s.c}, 1, 3)));
  }
}

TEST(OpPool, MaxBackward) {
  for (const PoolShape& s : kShapes) {
    const MaxPool op{s.window, s.stride, s.pad};
    const reference::Tensors forward = reference::max_pool(op, uniform_tensor({s.n, s.h, s.w, s.c}, 1));
    for (const DType type : activation_types()) {
      OpCase test{name(s), MaxPoolBackward{s}, {}, {summed_tolerance(type, s.window * s.window)}};
      expect_case(test.input(type, uniform_tensor(forward[0].shape, 2)).input(DType::kU8, forward[1]));
    }
  }
}

TEST(OpPool, Average) {
  for (const PoolShape& s : kShapes) {
    const AvgPool op{s.window, s.stride, s.pad};
    for (const DType type : activation_types()) {
      OpCase forward{name(s), op, {}, {summed_tolerance(type, s.window * s.window)}};
      expect_case(forward.input(type, uniform_tensor({s.n, s.h, s.w, s.c}, 1)));
      OpCase backward{name(s), AvgPoolBackward{s}, {}, {summed_tolerance(type, s.window * s.window)}};
      expect_case(backward.input(type, uniform_tensor({s.n, s.p(), s.q(), s.c}, 2)));
    }
  }
}

TEST(OpPool, GlobalAverage) {
  for (const Shape& shape : kActivationShapes) {
    for (const DType type : activation_types()) {
      OpCase forward{to_string(shape), GlobalAvgPool{}, {}, {summed_tolerance(type, shape[1] * shape[2])}};
      expect_case(forward.input(type, uniform_tensor(shape, 1)));
      OpCase backward{to_string(shape), GlobalAvgPoolBackward{shape}, {}, {rounded_tolerance(type)}};
      expect_case(backward.input(type, uniform_tensor({shape[0], 1, 1, shape[3]}, 2)));
    }
  }
}

}  // namespace
}  // namespace residuum
