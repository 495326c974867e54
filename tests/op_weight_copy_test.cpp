// Convolutions and linear layers that read their weight in the type of their activations, as the pass
// weight_copies makes them, against the references.
#include <gtest/gtest.h>

#include "tests/op_case.h"
#include "tests/random_tensor.h"

namespace residuum {
namespace {

constexpr DType kType = DType::kBF16;

const std::vector<ConvShape> kShapes = {
    // n, h, w, c, k, r, s, stride, pad, groups
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 1},    {3, 13, 11, 7, 17, 3, 3, 2, 1, 1},  {2, 17, 13, 3, 64, 7, 7, 2, 3, 1},
    {2, 8, 8, 64, 64, 1, 1, 1, 0, 1},  {2, 10, 10, 16, 32, 3, 3, 3, 1, 2}, {2, 9, 9, 17, 17, 3, 3, 1, 1, 17},
    {4, 8, 8, 64, 128, 3, 3, 2, 1, 1}, {4, 2, 2, 512, 512, 3, 3, 1, 1, 1},
};

TEST(OpWeightCopy, Conv) {
  for (const ConvShape& s : kShapes) {
    const reference::Tensor weight = uniform_tensor({s.k, s.r, s.s, s.c / s.groups}, 3);
    const std::string name = to_string(weight.shape);
    OpCase forward{name, Conv{s.k, s.r, s.s, s.stride, s.pad, s.groups}, {}, {}};
    forward.tolerances = {summed_tolerance(kType, s.r * s.s * s.c)};
    expect_case(forward.input(kType, uniform_tensor({s.n, s.h, s.w, s.c}, 1)).input(kType, weight));
    OpCase backward{name, ConvBackwardData{s}, {}, {summed_tolerance(kType, s.r * s.s * s.k)}};
    expect_case(backward.input(kType, uniform_tensor({s.n, s.p(), s.q(), s.k}, 2)).input(kType, weight));
  }
}

TEST(OpWeightCopy, Linear) {
  for (const Shape& src : {Shape{1, 1}, Shape{37, 17}, Shape{5, 2, 3, 16}, Shape{11, 1, 1, 512}}) {
    const int64_t features = src.elements() / src[0], classes = 10;
    const reference::Tensor weight = uniform_tensor({classes, features}, 2);
    OpCase forward{to_string(src), Linear{classes, DType::kF32}, {}, {summed_f32(features)}};
    expect_case(forward.input(kType, uniform_tensor(src, 1)).input(kType, weight));
    OpCase backward{to_string(src), LinearBackwardData{{kType, src}}, {}, {summed_bf16(classes)}};
    const reference::Tensor d_dst = rounded_to(kType, uniform_tensor({src[0], classes}, 1));
    expect_case(backward.input(DType::kF32, d_dst).input(kType, weight));
  }
}

}  // namespace
}  // namespace residuum
