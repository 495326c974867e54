// Pooling launchers, directly: the stem's tail (batch norm, ReLU and max pool at once), NaN and ties in every
// element type, and the division by multiplication they index with.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/device/divider.h"
#include "tests/kernels/kernel_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using reference::Tensor;

struct PoolCase {
  PoolShape shape;
  Shape src() const { return {shape.n, shape.h, shape.w, shape.c}; }
  Shape dst() const { return {shape.n, shape.p(), shape.q(), shape.c}; }
  MaxPool op() const { return {shape.window, shape.stride, shape.pad}; }
};

const std::vector<PoolCase> kCases = {
    {{1, 1, 1, 1, 1, 1, 0}},  {{2, 7, 5, 3, 2, 2, 0}},     {{1, 9, 11, 17, 3, 2, 1}},
    {{2, 8, 8, 64, 3, 2, 1}}, {{3, 13, 13, 264, 3, 1, 1}}, {{1, 5, 5, 8, 5, 3, 2}},
};

TEST(KernelPool, DividerAgreesWithDivision) {
  const uint32_t last = 0x7FFFFFFFu;
  for (const uint32_t divisor : {1u, 2u, 3u, 5u, 7u, 56u, 112u, 224u, 641u, 65535u, 65536u, 65537u, 12544u,
                                 0x3FFFFFFFu, 0x40000000u, 0x40000001u, last}) {
    const kernels::Divider divider(divisor);
    for (const uint32_t around : {0u, divisor, 1000003u, last / divisor * divisor, last}) {
      for (uint32_t offset = 0; offset < 5; ++offset) {
        for (const uint32_t value : {around + offset, around - offset}) {
          if (value > last) continue;
          const auto [quotient, remainder] = divider.split(value);
          ASSERT_EQ(quotient, value / divisor) << value << " / " << divisor;
          ASSERT_EQ(remainder, value % divisor) << value << " % " << divisor;
        }
      }
    }
  }
}

TEST(KernelPool, MaxPoolOverNormalisedSourceIsTheOneOverStoredSource) {
  for (const PoolCase& t : kCases) {
    for (const DType type : element_types()) {
      SCOPED_TRACE(to_string(TensorDesc{type, t.src()}));
      const Shape vector{t.shape.c};
      const Tensor src = rounded_to(type, uniform_tensor(t.src(), 1));
      KernelCase test;
      const void* const in = test.tensor(type, src);
      const kernels::BatchNormVectors vectors{
          test.floats(uniform_tensor(vector, 2)), test.floats(uniform_tensor(vector, 3, 0.5, 2)),
          test.floats(uniform_tensor(vector, 4, -1, 2)), test.floats(uniform_tensor(vector, 5)), 1e-5f};
      kernels::BatchNormApplyArgs apply;
      apply.src = in, apply.vectors = vectors, apply.relu = true;
      apply.dst = test.output(type, t.src());
      void *const fused = test.output(type, t.dst()), *const plain = test.output(type, t.dst());
      const auto bytes = static_cast<size_t>(t.dst().elements());
      uint8_t *const fused_at = test.output<uint8_t>(bytes), *const plain_at = test.output<uint8_t>(bytes);
      const kernels::Element element = element_of(type);
      test.run([&] {
        max_pool(t.shape, element, in, &vectors, fused, fused_at, nullptr);
        batch_norm_apply({t.src().elements() / t.shape.c, t.shape.c, element}, apply, nullptr);
        kernels::max_pool(t.shape, element, apply.dst, nullptr, plain, plain_at, nullptr);
      });
      const Tensor stored = test.read(apply.dst, type, t.src());
      const reference::Tensors expected = reference::max_pool(t.op(), stored);
      EXPECT_TRUE(matches(test.read(plain, type, t.dst()), expected[0], kExact));
      EXPECT_TRUE(matches(test.read(plain_at, DType::kU8, t.dst()), expected[1], kExact));
      EXPECT_EQ(test.bytes(fused) == test.bytes(plain), true) << "values";
      EXPECT_EQ(test.bytes(fused_at) == test.bytes(plain_at), true) << "positions";
    }
  }
}

TEST(KernelPool, NaNWinsPaddingNeverDoesAndTiesGoToTheFirst) {
  for (const DType type : element_types()) {
    for (const int64_t c : {int64_t{1}, int64_t{8}}) {
      Tensor src({1, 3, 3, c});
      for (double& value : src.data) value = -5;  // below the padding's zeros
      src[8 * c] = NAN;
      KernelCase test;
      const void* const in = test.tensor(type, src);
      const PoolShape shape{1, 3, 3, c, 2, 2, 1};
      const Shape out{1, 2, 2, c};
      void* const dst = test.output(type, out);
      uint8_t* const at = test.output<uint8_t>(static_cast<size_t>(4 * c));
      test.run([&] { kernels::max_pool(shape, element_of(type), in, nullptr, dst, at, nullptr); });
      const Tensor values = test.read(dst, type, out), positions = test.read(at, DType::kU8, out);
      const std::vector<double> first = {3, 2, 1, 0};  // of the taps inside the image
      for (int64_t pixel = 0; pixel < 4; ++pixel) {
        if (pixel < 3) {
          EXPECT_EQ(values[pixel * c], -5) << pixel;
          EXPECT_EQ(positions[pixel * c], first[static_cast<size_t>(pixel)]) << pixel;
        }
      }
      EXPECT_TRUE(std::isnan(values[3 * c]));
      EXPECT_EQ(positions[3 * c], 3) << "the NaN's position";
    }
  }
}

TEST(KernelPool, GradientsOfEveryKind) {
  for (const PoolCase& t : kCases) {
    for (const DType type : element_types()) {
      SCOPED_TRACE(to_string(TensorDesc{type, t.src()}));
      const Tensor src = rounded_to(type, distinct_tensor(t.src(), 1)),
                   d = rounded_to(type, uniform_tensor(t.dst(), 2)),
                   d_mean = rounded_to(type, uniform_tensor({t.shape.n, 1, 1, t.shape.c}, 3));
      const Tensor argmax = reference::max_pool(t.op(), src)[1];
      const int64_t pixels = t.shape.h * t.shape.w;
      const kernels::Element element = element_of(type);
      KernelCase test;
      const void *const in = test.tensor(type, src), *const d_dst = test.tensor(type, d),
                        *const d_global = test.tensor(type, d_mean);
      const uint8_t* const at = static_cast<const uint8_t*>(test.tensor(DType::kU8, argmax));
      void *const of_max = test.output(type, t.src()), *const of_average = test.output(type, t.src()),
                  *const average = test.output(type, t.dst()),
                  *const global = test.output(type, d_mean.shape),
                  *const of_global = test.output(type, t.src());
      test.run([&] {
        max_pool_backward(t.shape, element, d_dst, at, of_max, nullptr);
        avg_pool(t.shape, element, in, average, nullptr);
        avg_pool_backward(t.shape, element, d_dst, of_average, nullptr);
        kernels::global_avg_pool(t.shape.n, pixels, t.shape.c, element, in, global, nullptr);
        kernels::global_avg_pool_backward(t.shape.n, pixels, t.shape.c, element, d_global, of_global,
                                          nullptr);
      });
      const Tolerance sums = summed_tolerance(type, t.shape.window * t.shape.window);
      const AvgPool op{t.shape.window, t.shape.stride, t.shape.pad};
      EXPECT_TRUE(matches(test.read(of_max, type, t.src()), reference::max_pool_backward(t.shape, d, argmax),
                          sums, 1));
      EXPECT_TRUE(matches(test.read(average, type, t.dst()), reference::avg_pool(op, src), sums, 1));
      EXPECT_TRUE(
          matches(test.read(of_average, type, t.src()), reference::avg_pool_backward(t.shape, d), sums, 1));
      EXPECT_TRUE(matches(test.read(global, type, d_mean.shape), reference::global_avg_pool(src),
                          summed_tolerance(type, pixels), 1));
      EXPECT_TRUE(matches(test.read(of_global, type, t.src()),
                          reference::global_avg_pool_backward(d_mean, t.src()), rounded_tolerance(type),
                          0x1p-4));
    }
  }
}

TEST(KernelPool, ShortcutAndItsAdjoint) {
  const std::vector<kernels::ShortcutShape> shapes = {{1, 1, 1, 1, 1, 1, 0},
                                                      {2, 7, 5, 3, 8, 2, 2},
                                                      {2, 8, 8, 16, 32, 2, 8},
                                                      {1, 5, 6, 8, 24, 3, 16},
                                                      {3, 4, 4, 5, 9, 1, 4}};
  for (const kernels::ShortcutShape& s : shapes) {
    for (const DType type : element_types()) {
      const Shape small{s.n, s.h, s.w, s.c}, large{s.n, s.p(), s.q(), s.k};
      SCOPED_TRACE(to_string(TensorDesc{type, small}));
      const Tensor src = rounded_to(type, uniform_tensor(small, 1)),
                   d = rounded_to(type, uniform_tensor(large, 2));
      Tensor expected(large), expected_d(small);
      for (int64_t n = 0; n < s.n; ++n)
        for (int64_t p = 0; p < s.p(); ++p)
          for (int64_t q = 0; q < s.q(); ++q)
            for (int64_t c = 0; c < s.c; ++c) {
              expected.at(n, p, q, s.first + c) = src.at(n, p * s.stride, q * s.stride, c);
              expected_d.at(n, p * s.stride, q * s.stride, c) = d.at(n, p, q, s.first + c);
            }
      KernelCase test;
      const void *const in = test.tensor(type, src), *const d_dst = test.tensor(type, d);
      void *const dst = test.output(type, large), *const d_src = test.output(type, small);
      test.run([&] {
        shortcut_a(s, element_of(type), in, dst, nullptr);
        shortcut_a_backward(s, element_of(type), d_dst, d_src, nullptr);
      });
      EXPECT_TRUE(matches(test.read(dst, type, large), expected, kExact));
      EXPECT_TRUE(matches(test.read(d_src, type, small), expected_d, kExact));
    }
  }
}

TEST(KernelPool, WindowsTheKernelsCannotIndexAreRefused) {
  constexpr int kInvalidValue = 1;
  KernelCase test;
  float* const memory = test.floats(uniform_tensor({64}, 1));
  const auto pool = [&](const PoolShape& shape) {
    return refusal([&] { kernels::avg_pool(shape, kernels::Element::kF32, memory, memory, nullptr); });
  };
  EXPECT_EQ(pool({1, 20, 20, 1, 17, 1, 0}), kInvalidValue) << "positions do not fit a byte";
  EXPECT_EQ(pool({1, 2, 2, 1, 3, 1, 0}), kInvalidValue) << "no output";
  EXPECT_EQ(pool({1, 2, 2, 1, 2, 1, 2}), kInvalidValue) << "windows of padding alone";
  EXPECT_EQ(pool({1 << 20, 1 << 10, 1 << 10, 1, 2, 2, 0}), kInvalidValue) << "more than 2^31 pixels";
}

}  // namespace
}  // namespace residuum
