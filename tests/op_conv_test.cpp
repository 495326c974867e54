// Convolutions, forward and both backward passes, on the CPU against the references.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/op_case.h"
#include "tests/random_tensor.h"

namespace residuum {
namespace {

const std::vector<ConvShape> kShapes = {
    // n, h, w, c, k, r, s, stride, pad, groups
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 1},
    {1, 1, 1, 3, 7, 3, 3, 1, 1, 1},
    {2, 7, 5, 3, 16, 3, 3, 1, 1, 1},
    {3, 13, 11, 7, 17, 3, 3, 2, 1, 1},
    {2, 9, 9, 16, 16, 5, 5, 1, 2, 1},
    {2, 17, 13, 3, 64, 7, 7, 2, 3, 1},
    {2, 8, 8, 64, 64, 1, 1, 1, 0, 1},
    {2, 7, 7, 64, 17, 1, 1, 2, 0, 1},
    {2, 7, 11, 6, 4, 1, 3, 1, 1, 1},
    {2, 7, 11, 6, 4, 3, 1, 2, 0, 2},
    {2, 10, 10, 16, 32, 3, 3, 3, 1, 2},
    {2, 9, 9, 17, 17, 3, 3, 1, 1, 17},
    {2, 8, 8, 16, 16, 3, 3, 2, 1, 16},
    {2, 8, 8, 64, 64, 3, 3, 1, 1, 32},
    {37, 6, 5, 16, 17, 3, 3, 1, 1, 1},
    {70, 4, 4, 3, 16, 3, 3, 1, 1, 1},
    {2, 5, 5, 4, 4, 5, 5, 1, 3, 1},
    {2, 3, 3, 4, 4, 7, 7, 1, 3, 1},
    {9, 8, 8, 64, 128, 1, 1, 2, 0, 1},
    {2, 11, 8, 5, 3, 2, 4, 3, 2, 1},
    {17, 2, 2, 128, 128, 3, 3, 1, 1, 1},
    {1, 14, 14, 128, 64, 3, 3, 1, 1, 1},
    // of ResNet-18 and ResNet-50 on small images: the weights are packed and added by several tasks
    {4, 9, 9, 3, 64, 7, 7, 2, 3, 1},
    {4, 8, 8, 64, 128, 3, 3, 2, 1, 1},
    {3, 4, 4, 128, 256, 3, 3, 1, 1, 1},
    {4, 4, 4, 128, 256, 3, 3, 2, 1, 1},
    {4, 4, 4, 256, 512, 1, 1, 2, 0, 1},
    {4, 2, 2, 512, 512, 3, 3, 1, 1, 1},
    {9, 3, 3, 256, 1024, 1, 1, 1, 0, 1},
    {9, 3, 3, 1024, 256, 1, 1, 1, 0, 1},
};

std::string name(const ConvShape& s) {
  return fmt::format("{}x{}x{}x{} -> {} kernel {}x{} stride {} pad {} groups {}", s.n, s.h, s.w, s.c, s.k,
                     s.r, s.s, s.stride, s.pad, s.groups);
}

/// Activations and gradients of a shape in `type`. Weights are f32 with values that bf16 holds, so that
/// packing them into bf16 loses nothing.
struct Data {
  Data(const ConvShape& s)
      : src(uniform_tensor({s.n, s.h, s.w, s.c}, 1)),
        d_dst(uniform_tensor({s.n, s.p(), s.q(), s.k}, 2)),
        weight(rounded_to(DType::kBF16, uniform_tensor({s.k, s.r, s.s, s.c / s.groups}, 3))) {}
  reference::Tensor src, d_dst, weight;
};

TEST(OpConv, Forward) {
  for (const ConvShape& s : kShapes) {
    const Data data(s);
    for (const DType type : kActivationTypes) {
      OpCase test{name(s),
                  Conv{s.k, s.r, s.s, s.stride, s.pad, s.groups},
                  {},
                  {summed_tolerance(type, s.r * s.s * s.c)}};
      expect_case(test.input(type, data.src).input(DType::kF32, data.weight));
    }
  }
}

TEST(OpConv, BackwardData) {
  for (const ConvShape& s : kShapes) {
    const Data data(s);
    for (const DType type : kActivationTypes) {
      OpCase test{name(s), ConvBackwardData{s}, {}, {summed_tolerance(type, s.r * s.s * s.k)}};
      expect_case(test.input(type, data.d_dst).input(DType::kF32, data.weight));
    }
  }
}

TEST(OpConv, BackwardFilter) {
  for (const ConvShape& s : kShapes) {
    const Data data(s);
    for (const DType type : kActivationTypes) {
      OpCase test{name(s), ConvBackwardFilter{s}, {}, {summed_f32(s.n * s.p() * s.q())}};
      expect_case(test.input(type, data.d_dst).input(type, data.src));
    }
  }
}

}  // namespace
}  // namespace residuum
