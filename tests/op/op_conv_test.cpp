// Convolutions, forward and both backward passes, against the references.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "tests/support/op_case.h"
#include "tests/support/random_tensor.h"

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

/// Activations, gradients and weights of a shape. Weights are f32 with values that bf16 holds, so that
/// packing them into a 16-bit type loses nothing.
struct Data {
  explicit Data(const ConvShape& s)
      : src(uniform_tensor({s.n, s.h, s.w, s.c}, 1)),
        d_dst(uniform_tensor({s.n, s.p(), s.q(), s.k}, 2)),
        weight(rounded_to(DType::kBF16, uniform_tensor({s.k, s.r, s.s, s.c / s.groups}, 3))) {}
  reference::Tensor src, d_dst, weight;
};

OpCase forward_case(const ConvShape& s, DType type, const Data& data) {
  const Conv op{s.k, s.r, s.s, s.stride, s.pad, s.groups};
  OpCase test{name(s), op, {}, {product_tolerance(type, type, s.r * s.s * s.c)}};
  return test.input(type, data.src).input(DType::kF32, data.weight);
}
OpCase backward_data_case(const ConvShape& s, DType type, const Data& data) {
  OpCase test{name(s), ConvBackwardData{s}, {}, {product_tolerance(type, type, s.r * s.s * s.k)}};
  return test.input(type, data.d_dst).input(DType::kF32, data.weight);
}
OpCase backward_filter_case(const ConvShape& s, DType type, const Data& data) {
  OpCase test{
      name(s), ConvBackwardFilter{s}, {}, {product_tolerance(type, DType::kF32, s.n * s.p() * s.q())}};
  return test.input(type, data.d_dst).input(type, data.src);
}

/// The emulator needs seconds for it.
bool is_heavy(const ConvShape& s) {
  constexpr int64_t kMacs = 2'000'000;
  return s.macs() > kMacs;
}

/// Every shape with every activation type.
template <typename Make>
void expect_for_all(const Make& make) {
  for (const ConvShape& s : kShapes) {
    if (is_heavy(s) && on_emulator()) continue;  // the integers below find what is wrong with a shape
    const Data data(s);
    for (const DType type : activation_types()) expect_case(make(s, type, data));
  }
}

TEST(OpConv, Forward) {
  expect_for_all(forward_case);
}
TEST(OpConv, BackwardData) {
  expect_for_all(backward_data_case);
}
TEST(OpConv, BackwardFilter) {
  expect_for_all(backward_filter_case);
}

/// Integers in [-4, 4]: every product and every sum is exact in f32 and in TF32, so that no order of adding
/// and no splitting of factors may show. Results are rounded once, to the output's type.
template <typename Make>
void expect_exact_for_all(const Make& make) {
  for (const ConvShape& s : kShapes) {
    Data data(s);
    for (reference::Tensor* tensor : {&data.src, &data.d_dst, &data.weight}) {
      *tensor = integer_tensor(tensor->shape, static_cast<uint64_t>(tensor->elements()), 9);
      for (double& value : tensor->data) value -= 4;
    }
    for (const DType type : activation_types()) {
      if (is_heavy(s) && on_emulator() && type != DType::kBF16) continue;
      OpCase test = make(s, type, data);
      test.tolerances = {kExact};
      test.rounded = true;
      test.variants.heavy = is_heavy(s);
      expect_case(test);
    }
  }
}

TEST(OpConv, ForwardOfIntegersIsExact) {
  expect_exact_for_all(forward_case);
}
TEST(OpConv, BackwardDataOfIntegersIsExact) {
  expect_exact_for_all(backward_data_case);
}
TEST(OpConv, BackwardFilterOfIntegersIsExact) {
  expect_exact_for_all(backward_filter_case);
}

TEST(OpConv, ReadsACopyOfTheWeightInTheActivationsType) {
  const DType type = DType::kBF16;
  for (const ConvShape& s : kShapes) {
    if (is_heavy(s)) continue;
    const Data data(s);
    OpCase forward{name(s), Conv{s.k, s.r, s.s, s.stride, s.pad, s.groups}, {}, {}};
    forward.tolerances = {summed_tolerance(type, s.r * s.s * s.c)};
    expect_case(forward.input(type, data.src).input(type, data.weight));
    OpCase backward{name(s), ConvBackwardData{s}, {}, {summed_tolerance(type, s.r * s.s * s.k)}};
    expect_case(backward.input(type, data.d_dst).input(type, data.weight));
  }
}

TEST(OpConv, Tf32RoundsFactors) {
  for (const ConvShape& s : {ConvShape{2, 7, 5, 3, 16, 3, 3, 1, 1, 1}, {2, 8, 8, 16, 32, 3, 3, 2, 1, 1}}) {
    const Data data(s);
    for (OpCase test : {forward_case(s, DType::kF32, data), backward_data_case(s, DType::kF32, data),
                        backward_filter_case(s, DType::kF32, data)}) {
      test.tolerances = {summed_tf32(s.r * s.s * s.c)};
      test.variants.tf32 = true;
      expect_case(test);
    }
  }
}

}  // namespace
}  // namespace residuum
