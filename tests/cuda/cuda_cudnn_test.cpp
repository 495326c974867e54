// Convolutions by cuDNN: the library loaded at run time (here the stand-in of tests/emulator, whose path the
// build gives) and the convolutions asked of it.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "engine/backend/cuda/libraries/cudnn.h"
#include "tests/emulator/runtime.h"
#include "tests/support/error_of.h"
#include "tests/support/one_node.h"
#include "tests/support/op_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using cuda::CudnnPass;
using reference::Tensor;

const std::vector<ConvShape> kShapes = {
    // n, h, w, c, k, r, s, stride, pad, groups
    {2, 7, 5, 3, 16, 3, 3, 1, 1, 1},
    {3, 9, 11, 8, 17, 3, 3, 2, 1, 1},
    {2, 7, 11, 6, 4, 1, 3, 1, 1, 2},
    {2, 8, 8, 16, 8, 1, 1, 1, 0, 1},
};

class Cudnn : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("RESIDUUM_CUDNN_LIBRARY", RESIDUUM_CUDNN_STAND_IN, 1);
    backend_ = make_backend("cuda", {.cudnn = true});
  }

  std::unique_ptr<Backend> backend_;
};

TEST_F(Cudnn, NamesItself) {
  EXPECT_NE(backend_->describe().find("cuDNN 9.19.0"), std::string::npos) << backend_->describe();
}

/// The products are sums in double, but d_weight is rounded to the activations' type before it becomes f32.
TEST_F(Cudnn, ConvolvesAsTheReference) {
  for (const ConvShape& s : kShapes) {
    for (const DType type : {DType::kF32, DType::kBF16, DType::kF16}) {
      SCOPED_TRACE(fmt::format("{}x{}x{} {} -> {} {}x{} groups {} {}", s.n, s.h, s.w, s.c, s.k, s.r, s.s,
                               s.groups, to_string(type)));
      const Tensor src = rounded_to(type, uniform_tensor({s.n, s.h, s.w, s.c}, 1));
      const Tensor d_dst = rounded_to(type, uniform_tensor({s.n, s.p(), s.q(), s.k}, 2));
      const Tensor weight = rounded_to(type, uniform_tensor({s.k, s.r, s.s, s.c / s.groups}, 3));
      const Conv op{s.k, s.r, s.s, s.stride, s.pad, s.groups};
      EXPECT_TRUE(matches(run_node(*backend_, op, {{type, src}, {DType::kF32, weight}}),
                          reference::conv(op, src, weight), rounded_tolerance(type)));
      EXPECT_TRUE(matches(run_node(*backend_, ConvBackwardData{s}, {{type, d_dst}, {type, weight}}),
                          reference::conv_backward_data(s, d_dst, weight), rounded_tolerance(type)));
      EXPECT_TRUE(matches(run_node(*backend_, ConvBackwardFilter{s}, {{type, d_dst}, {type, src}}),
                          reference::conv_backward_filter(s, d_dst, src), rounded_tolerance(type)));
    }
  }
}

TEST_F(Cudnn, WhatItCannotComputeIsLeftToOwnKernels) {
  const ConvShape s{2, 10, 10, 4, 4, 3, 3, 3, 1, 1};  // the stand-in knows no stride of 3
  const Tensor src = uniform_tensor({s.n, s.h, s.w, s.c}, 1), weight = uniform_tensor({4, 3, 3, 4}, 3);
  const Conv op{s.k, s.r, s.s, s.stride, s.pad, s.groups};
  EXPECT_TRUE(matches(run_node(*backend_, op, {{DType::kF32, src}, {DType::kF32, weight}}),
                      reference::conv(op, src, weight), product_tolerance(DType::kF32, DType::kF32, 36)));
}

TEST_F(Cudnn, OffersOnlyWhatRepeatsItsBitsAndRounds32BitsAsAsked) {
  const auto library = cuda::open_cudnn();
  for (const CudnnPass pass : {CudnnPass::kForward, CudnnPass::kBackwardData, CudnnPass::kBackwardFilter}) {
    const auto offered = library->algorithms({{kShapes[0], kernels::Element::kBF16}, pass});
    ASSERT_EQ(offered.size(), 2u) << "one is not deterministic, one does not suit, one is a fallback";
    EXPECT_EQ(offered[0].workspace_bytes, 1000u);
    EXPECT_EQ(offered[1].workspace_bytes, 0u);
    EXPECT_EQ(offered[0].math, 1) << "tensor cores";
    EXPECT_EQ(offered[1].math, 1) << "tensor cores";
    const auto math = [&](kernels::F32Math f32_math) {
      return library->algorithms({{kShapes[0], kernels::Element::kF32, f32_math}, pass}).at(0).math;
    };
    EXPECT_EQ(math(kernels::F32Math::kTf32x3), 3) << "fused multiply-adds alone";
    EXPECT_EQ(math(kernels::F32Math::kTf32), 0) << "TF32 allowed";
  }
}

TEST_F(Cudnn, MissingLibraryIsNamed) {
  setenv("RESIDUUM_CUDNN_LIBRARY", "no_such_library.so", 1);
  const std::string message = error_of(ErrorKind::kDevice, [] { make_backend("cuda", {.cudnn = true}); });
  EXPECT_NE(message.find("no_such_library.so"), std::string::npos) << message;
}

}  // namespace
}  // namespace residuum
