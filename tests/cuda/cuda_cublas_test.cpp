// Linear layers by cuBLAS: the library loaded at run time (here the stand-in of tests/emulator, whose path
// the build gives) and the products asked of it.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/error_of.h"
#include "tests/support/one_node.h"
#include "tests/support/op_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using reference::Tensor;

class Cublas : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("RESIDUUM_CUBLAS_LIBRARY", RESIDUUM_CUBLAS_STAND_IN, 1);
    backend_ = make_backend("cuda", {.cublas = true});
  }

  Tensor run(const Op& op, const std::vector<std::pair<DType, Tensor>>& inputs) {
    return run_node(*backend_, op, inputs);
  }

  std::unique_ptr<Backend> backend_;
};

TEST_F(Cublas, NamesItself) {
  EXPECT_NE(backend_->describe().find("cuBLAS 13.1.0"), std::string::npos) << backend_->describe();
}

TEST_F(Cublas, MultipliesAsTheReference) {
  for (const DType type : {DType::kF32, DType::kBF16, DType::kF16}) {
    const Tensor src = rounded_to(type, uniform_tensor({7, 1, 1, 24}, 1));
    const Tensor weight = rounded_to(type, uniform_tensor({10, 24}, 2));
    const Tensor d_dst = rounded_to(type, uniform_tensor({7, 10}, 3));
    EXPECT_TRUE(matches(run(Linear{10, DType::kF32}, {{type, src}, {DType::kF32, weight}}),
                        reference::linear(src, weight), summed_f32(24)));
    EXPECT_TRUE(
        matches(run(LinearBackwardData{{type, src.shape}}, {{DType::kF32, d_dst}, {DType::kF32, weight}}),
                reference::linear_backward_data(d_dst, weight, src.shape), summed_tolerance(type, 10)));
    EXPECT_TRUE(matches(run(LinearBackwardFilter{}, {{DType::kF32, d_dst}, {type, src}}),
                        reference::linear_backward_filter(d_dst, src), summed_f32(7)));
  }
}

TEST_F(Cublas, MissingLibraryIsNamed) {
  setenv("RESIDUUM_CUBLAS_LIBRARY", "no_such_library.so", 1);
  const std::string message = error_of(ErrorKind::kDevice, [] { make_backend("cuda", {.cublas = true}); });
  EXPECT_NE(message.find("no_such_library.so"), std::string::npos) << message;
}

}  // namespace
}  // namespace residuum
