// Launchers over rows of channels, directly: the fused batch norm passes, masks, gates, crops and copies that
// single operations do not reach, on odd shapes and on shapes of several blocks.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/kernel_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using kernels::Gate;
using kernels::Rows;
using reference::Tensor;

constexpr double kEpsilon = 1e-5;

/// One pixel; prime extents; whole units; a partial last unit; several column tiles and several blocks of
/// rows.
const std::vector<Shape> kShapes = {{1, 1, 1, 1},  {1, 5, 7, 3},   {2, 3, 3, 17},
                                    {3, 5, 7, 64}, {1, 3, 3, 520}, {2, 41, 31, 8}};

Rows rows_of(const Shape& shape, DType type) {
  return {shape[0] * shape[1] * shape[2], shape[3], element_of(type)};
}

/// A batch norm's vectors for c channels, in double and on the device.
struct Norm {
  explicit Norm(int64_t c)
      : mean(uniform_tensor({c}, 11)),
        variance(uniform_tensor({c}, 12, 0.5, 2)),
        gamma(uniform_tensor({c}, 13, -1.5, 1.5)),
        beta(uniform_tensor({c}, 14)) {
    for (Tensor* t : {&mean, &variance, &gamma, &beta}) *t = rounded_to(DType::kF32, *t);
  }
  kernels::BatchNormVectors on(KernelCase& test) const {
    return {test.floats(mean), test.floats(variance), test.floats(gamma), test.floats(beta),
            static_cast<float>(kEpsilon)};
  }
  Tensor of(const Tensor& src) const {
    return reference::batch_norm_apply(kEpsilon, src, mean, variance, gamma, beta);
  }
  Tensor mean, variance, gamma, beta;
};

Tensor relu(const Tensor& src) {
  return reference::activation(ActivationKind::kRelu, src);
}

/// The bits of a mask: element i of a tensor is open.
std::vector<uint8_t> mask_of(const Tensor& tensor) {
  const int64_t channels = tensor.channels(), pitch = (channels + 7) / 8;
  std::vector<uint8_t> mask(static_cast<size_t>(tensor.rows() * pitch), 0);
  for (int64_t i = 0; i < tensor.elements(); ++i) {
    if (tensor[i] <= 0) continue;
    const int64_t c = i % channels;
    mask[static_cast<size_t>(i / channels * pitch + c / 8)] |= static_cast<uint8_t>(1 << c % 8);
  }
  return mask;
}

std::vector<uint8_t> bytes_of(const KernelCase& test, const void* address) {
  std::vector<uint8_t> values;
  for (const std::byte b : test.bytes(address)) values.push_back(static_cast<uint8_t>(b));
  return values;
}

/// Calls body(shape, type) for every shape and element type.
template <typename Body>
void for_all(const Body& body) {
  for (const Shape& shape : kShapes) {
    for (const DType type : element_types()) {
      SCOPED_TRACE(to_string(TensorDesc{type, shape}));
      body(shape, type);
    }
  }
}

TEST(KernelRows, BatchNormApplyJoinsRectifiesAndMasks) {
  for_all([](const Shape& shape, DType type) {
    for (const bool join : {false, true}) {
      for (const bool rectified : {false, true}) {
        KernelCase test;
        const Norm norm(shape[3]);
        const Tensor src = rounded_to(type, uniform_tensor(shape, 1)),
                     addend = rounded_to(type, uniform_tensor(shape, 2));
        const Rows rows = rows_of(shape, type);
        kernels::BatchNormApplyArgs args;
        args.src = test.tensor(type, src);
        args.vectors = norm.on(test);
        if (join) args.addend = test.tensor(type, addend);
        args.relu = rectified;
        if (rectified) args.mask = test.output<uint8_t>(static_cast<size_t>(mask_bytes(rows)));
        args.dst = test.output(type, shape);
        test.run([&] { batch_norm_apply(rows, args, nullptr); });

        Tensor expected = norm.of(src);
        if (join) expected = reference::add(expected, addend);
        if (rectified) expected = relu(expected);
        const Tensor found = test.read(args.dst, type, shape);
        EXPECT_TRUE(matches(found, expected, rounded_tolerance(type), 4)) << join << rectified;
        if (rectified) {
          EXPECT_EQ(bytes_of(test, args.mask), mask_of(found)) << "mask, join " << join;
        }
      }
    }
  });
}

TEST(KernelRows, ReluAndItsMasksLetNaNThrough) {
  for (const int64_t c : {int64_t{8}, int64_t{11}}) {
    for (const DType type : element_types()) {
      const Shape shape{1, 1, 2, c};
      Tensor src = uniform_tensor(shape, 1, -2, -1);
      src[3] = NAN;
      KernelCase test;
      const Rows rows = rows_of(shape, type);
      const void* const in = test.tensor(type, src);
      void* const dst = test.output(type, shape);
      uint8_t* const mask = test.output<uint8_t>(static_cast<size_t>(mask_bytes(rows)));
      void* const d_src = test.output(type, shape);
      test.run([&] {
        relu_mask(rows, in, dst, mask, nullptr);
        relu_mask_backward(rows, in, mask, d_src, nullptr);
      });
      Tensor expected(shape);
      expected[3] = NAN;
      EXPECT_TRUE(matches(test.read(dst, type, shape), expected, kExact));
      EXPECT_TRUE(matches(test.read(d_src, type, shape), expected, kExact));
      EXPECT_EQ(bytes_of(test, mask)[0], 1 << 3);
    }
  }
}

TEST(KernelRows, ReluMaskKeepsWhereItIsOpen) {
  for_all([](const Shape& shape, DType type) {
    KernelCase test;
    const Rows rows = rows_of(shape, type);
    const Tensor src = rounded_to(type, uniform_tensor(shape, 1)),
                 d = rounded_to(type, uniform_tensor(shape, 2));
    const void *const in = test.tensor(type, src), *const d_dst = test.tensor(type, d);
    void *const dst = test.output(type, shape), *const d_src = test.output(type, shape);
    uint8_t* const mask = test.output<uint8_t>(static_cast<size_t>(mask_bytes(rows)));
    test.run([&] {
      relu_mask(rows, in, dst, mask, nullptr);
      relu_mask_backward(rows, d_dst, mask, d_src, nullptr);
    });
    EXPECT_TRUE(matches(test.read(dst, type, shape), relu(src), kExact));
    EXPECT_EQ(bytes_of(test, mask), mask_of(src));
    EXPECT_TRUE(matches(test.read(d_src, type, shape),
                        reference::activation_backward(ActivationKind::kRelu, d, relu(src)), kExact));
  });
}

/// Far from zero, and one element further away than all the others together.
TEST(KernelRows, BatchNormStatsKeepTheirDigits) {
  for (const Shape& shape : {Shape{2, 41, 31, 8}, Shape{1, 1, 1, 9}, Shape{70, 8, 8, 3}}) {
    for (const double outlier : {0.0, 1e6}) {
      Tensor src = uniform_tensor(shape, 1, 999, 1001);
      for (int64_t c = 0; c < shape[3]; ++c) src[c] += outlier;
      src = rounded_to(DType::kF32, src);
      KernelCase test;
      const Rows rows = rows_of(shape, DType::kF32);
      const float* const in = test.floats(src);
      float *const mean = test.output<float>(static_cast<size_t>(shape[3]) * 4),
                   *const variance = test.output<float>(static_cast<size_t>(shape[3]) * 4);
      void* const workspace = test.workspace(batch_norm_stats_workspace(rows));
      unsigned* const counter = test.counter();
      test.run([&] { batch_norm_stats(rows, in, mean, variance, workspace, counter, nullptr); });
      const reference::Tensors expected = reference::batch_norm_stats(src);
      const Tolerance tolerance = summed_f32(rows.rows);
      EXPECT_TRUE(matches(test.read(mean, DType::kF32, {shape[3]}), expected[0], kRoundedF32))
          << to_string(shape);
      EXPECT_TRUE(matches(test.read(variance, DType::kF32, {shape[3]}), expected[1], tolerance))
          << to_string(shape) << " with outlier " << outlier;
    }
  }
}

/// g as the unfused operations make it: each result rounded to `type`.
Tensor gated(const Tensor& sum, const Tensor& gate, DType type) {
  Tensor g = rounded_to(type, sum);
  for (int64_t i = 0; i < g.elements(); ++i) g[i] = gate[i] <= 0 ? 0 : g[i];
  return g;
}

void expect_sums(const KernelCase& test, const Norm& norm, const kernels::BatchNormBackwardReduceArgs& args,
                 const Tensor& g, const Tensor& src) {
  const Shape vector{src.channels()};
  const reference::Tensors expected =
      reference::batch_norm_backward_reduce(kEpsilon, g, src, norm.mean, norm.variance);
  const double size = std::sqrt(static_cast<double>(src.rows()));
  const Tolerance tolerance = summed_f32(src.rows());
  EXPECT_TRUE(matches(test.read(args.d_gamma, DType::kF32, vector), expected[0], tolerance, size))
      << "d_gamma";
  EXPECT_TRUE(matches(test.read(args.d_beta, DType::kF32, vector), expected[1], tolerance, size)) << "d_beta";
}

TEST(KernelRows, BatchNormBackwardReduceThroughEveryGate) {
  for_all([](const Shape& shape, DType type) {
    for (const Gate gate : {Gate::kOpen, Gate::kTensor, Gate::kMask, Gate::kNormalised}) {
      for (const bool two : {false, true}) {
        KernelCase test;
        const Norm norm(shape[3]);
        const Rows rows = rows_of(shape, type);
        const Tensor a = rounded_to(type, uniform_tensor(shape, 1)),
                     b = rounded_to(type, uniform_tensor(shape, 2)),
                     src = rounded_to(type, uniform_tensor(shape, 3)),
                     z = rounded_to(type, relu(uniform_tensor(shape, 4)));
        kernels::BatchNormBackwardReduceArgs args;
        args.d_a = test.tensor(type, a);
        if (two) args.d_b = test.tensor(type, b);
        args.gate = gate;
        if (gate == Gate::kTensor) args.gate_tensor = test.tensor(type, z);
        if (gate == Gate::kMask) args.gate_mask = test.values(mask_of(z));
        args.src = test.tensor(type, src);
        args.vectors = norm.on(test);
        const bool keep = gate != Gate::kMask;  // g is not wanted by everybody
        if (keep) args.g = test.output(type, shape);
        args.d_gamma = test.output<float>(static_cast<size_t>(shape[3]) * 4);
        args.d_beta = test.output<float>(static_cast<size_t>(shape[3]) * 4);
        void* const workspace = test.workspace(batch_norm_backward_reduce_workspace(rows));
        unsigned* const counter = test.counter();
        test.run([&] { batch_norm_backward_reduce(rows, args, workspace, counter, nullptr); });

        Tensor open(shape);
        for (double& value : open.data) value = 1;
        const Tensor g = gated(two ? reference::add(a, b) : a,
                               gate == Gate::kOpen         ? open
                               : gate == Gate::kNormalised ? norm.of(src)
                                                           : z,
                               type);
        SCOPED_TRACE(fmt::format("gate {}, {} tensors", static_cast<int>(gate), two ? 2 : 1));
        if (keep) {
          EXPECT_TRUE(matches(test.read(args.g, type, shape), g, kExact));
        }
        expect_sums(test, norm, args, g, src);
      }
    }
  });
}

TEST(KernelRows, BatchNormBackwardReduceThroughAMaxPool) {
  const std::vector<PoolShape> pools = {
      {2, 9, 7, 16, 3, 2, 1}, {1, 5, 5, 11, 2, 2, 0}, {1, 1, 1, 1, 1, 1, 0}, {2, 6, 5, 8, 3, 1, 1}};
  for (const PoolShape& pool : pools) {
    for (const DType type : element_types()) {
      const Shape shape{pool.n, pool.h, pool.w, pool.c}, pooled{pool.n, pool.p(), pool.q(), pool.c};
      SCOPED_TRACE(to_string(TensorDesc{type, shape}));
      KernelCase test;
      const Norm norm(pool.c);
      const Rows rows = rows_of(shape, type);
      const Tensor src = rounded_to(type, uniform_tensor(shape, 1)),
                   d = rounded_to(type, uniform_tensor(pooled, 2));
      const Tensor z = rounded_to(type, relu(norm.of(src)));
      const Tensor argmax = reference::max_pool({pool.window, pool.stride, pool.pad}, z)[1];
      kernels::BatchNormBackwardReduceArgs args;
      args.d_a = test.tensor(type, d);
      args.pool = &pool;
      args.argmax = static_cast<const uint8_t*>(test.tensor(DType::kU8, argmax));
      args.gate = Gate::kNormalised;
      args.src = test.tensor(type, src);
      args.vectors = norm.on(test);
      args.g = test.output(type, shape);
      args.d_gamma = test.output<float>(static_cast<size_t>(pool.c) * 4);
      args.d_beta = test.output<float>(static_cast<size_t>(pool.c) * 4);
      void* const workspace = test.workspace(batch_norm_backward_reduce_workspace(rows));
      void* const unfused = test.output(type, shape);
      unsigned* const counter = test.counter();
      test.run([&] {
        batch_norm_backward_reduce(rows, args, workspace, counter, nullptr);
        max_pool_backward(pool, rows.type, args.d_a, args.argmax, unfused, nullptr);
      });
      const Tensor found = test.read(args.g, type, shape), ungated = test.read(unfused, type, shape);
      EXPECT_TRUE(matches(found, gated(ungated, z, type), kExact))
          << "other bits than the pool's own launcher";
      EXPECT_TRUE(
          matches(ungated, reference::max_pool_backward(pool, d, argmax), rounded_tolerance(type), 1));
      expect_sums(test, norm, args, found, src);
    }
  }
}

TEST(KernelRows, BatchNormBackwardReduceThroughAGlobalAveragePool) {
  for_all([](const Shape& shape, DType type) {
    const int64_t n = shape[0], pixels = shape[1] * shape[2], c = shape[3];
    KernelCase test;
    const Norm norm(c);
    const Rows rows = rows_of(shape, type);
    const Tensor src = rounded_to(type, uniform_tensor(shape, 1)),
                 z = rounded_to(type, relu(uniform_tensor(shape, 4)));
    kernels::BatchNormBackwardReduceArgs args;
    args.d_a = test.tensor(type, uniform_tensor({n, 1, 1, c}, 2));
    args.average_pixels = pixels;
    args.gate = Gate::kMask;
    args.gate_mask = test.values(mask_of(z));
    args.src = test.tensor(type, src);
    args.vectors = norm.on(test);
    args.g = test.output(type, shape);
    args.d_gamma = test.output<float>(static_cast<size_t>(c) * 4);
    args.d_beta = test.output<float>(static_cast<size_t>(c) * 4);
    void* const workspace = test.workspace(batch_norm_backward_reduce_workspace(rows));
    void* const unfused = test.output(type, shape);
    unsigned* const counter = test.counter();
    test.run([&] {
      batch_norm_backward_reduce(rows, args, workspace, counter, nullptr);
      global_avg_pool_backward(n, pixels, c, rows.type, args.d_a, unfused, nullptr);
    });
    const Tensor found = test.read(args.g, type, shape);
    EXPECT_TRUE(matches(found, gated(test.read(unfused, type, shape), z, type), kExact))
        << "other bits than the pool's own launcher";
    expect_sums(test, norm, args, found, src);
  });
}

TEST(KernelRows, BatchNormBackwardApplyAddsBeforeItRounds) {
  for_all([](const Shape& shape, DType type) {
    const Shape vector{shape[3]};
    KernelCase test;
    const Norm norm(shape[3]);
    const Rows rows = rows_of(shape, type);
    const Tensor d = rounded_to(type, uniform_tensor(shape, 1)),
                 src = rounded_to(type, uniform_tensor(shape, 2)),
                 addend = rounded_to(type, uniform_tensor(shape, 3)),
                 d_gamma = rounded_to(DType::kF32, uniform_tensor(vector, 4)),
                 d_beta = rounded_to(DType::kF32, uniform_tensor(vector, 5));
    const kernels::BatchNormVectors vectors = norm.on(test);
    const void *const in = test.tensor(type, d), *const x = test.tensor(type, src),
                      *const more = test.tensor(type, addend);
    const float *const gamma_sum = test.floats(d_gamma), *const beta_sum = test.floats(d_beta);
    void *const plain = test.output(type, shape), *const joined = test.output(type, shape);
    test.run([&] {
      batch_norm_backward_apply(rows, in, x, vectors, gamma_sum, beta_sum, nullptr, plain, nullptr);
      batch_norm_backward_apply(rows, in, x, vectors, gamma_sum, beta_sum, more, joined, nullptr);
    });
    const Tensor expected = reference::batch_norm_backward_apply(kEpsilon, d, src, norm.mean, norm.variance,
                                                                 norm.gamma, d_gamma, d_beta);
    EXPECT_TRUE(matches(test.read(plain, type, shape), expected, rounded_tolerance(type), 4));
    EXPECT_TRUE(matches(test.read(joined, type, shape), reference::add(expected, addend),
                        rounded_tolerance(type), 4));
  });
}

/// The crop of an image with zeros around it, mirrored where wanted.
Tensor cropped(const Tensor& images, const Tensor& windows, int64_t p, int64_t q) {
  const Nhwc in = Nhwc::of(images.shape);
  Tensor dst({in.n, p, q, in.c});
  for (int64_t n = 0; n < in.n; ++n)
    for (int64_t y = 0; y < p; ++y)
      for (int64_t x = 0; x < q; ++x)
        for (int64_t c = 0; c < in.c; ++c) {
          const auto h = static_cast<int64_t>(windows[3 * n]) + y;
          const auto w = static_cast<int64_t>(windows[3 * n + 1]) + (windows[3 * n + 2] != 0 ? q - 1 - x : x);
          if (h >= 0 && h < in.h && w >= 0 && w < in.w) dst.at(n, y, x, c) = images.at(n, h, w, c);
        }
  return dst;
}

TEST(KernelRows, NormalizeCropsAndMirrors) {
  struct Case {
    Shape images;
    int64_t p, q;
  };
  for (const Case& t : {Case{{3, 8, 8, 3}, 8, 8}, Case{{3, 5, 7, 1}, 4, 5}, Case{{4, 32, 32, 3}, 32, 32},
                        Case{{3, 6, 6, 4}, 9, 7}}) {
    for (const DType type : element_types()) {
      SCOPED_TRACE(to_string(TensorDesc{type, t.images}));
      const int64_t n = t.images[0], c = t.images[3];
      const Tensor images = integer_tensor(t.images, 1, 256);
      std::vector<double> chosen = {-2, 3, 0, 1, -1, 1, 0, 0, 1, 2, 0, 0};
      chosen.resize(static_cast<size_t>(3 * n));
      const Tensor windows({n, 3}, chosen);
      const Tensor scale = rounded_to(DType::kF32, uniform_tensor({c}, 2, 0.01, 0.02)),
                   shift = rounded_to(DType::kF32, uniform_tensor({c}, 3));
      const auto affine = [&](Tensor x) {
        for (int64_t i = 0; i < x.elements(); ++i) x[i] = x[i] * scale[i % c] + shift[i % c];
        return x;
      };
      KernelCase test;
      kernels::NormalizeArgs args;
      args.n = n, args.h = t.images[1], args.w = t.images[2], args.c = c;
      args.type = element_of(type);
      args.images = static_cast<const uint8_t*>(test.tensor(DType::kU8, images));
      args.scale = test.floats(scale), args.shift = test.floats(shift);
      kernels::NormalizeArgs crop = args;
      crop.p = t.p, crop.q = t.q;
      crop.windows = static_cast<const int32_t*>(test.tensor(DType::kI32, windows));
      crop.dst = test.output(type, {n, t.p, t.q, c});
      args.p = args.h, args.q = args.w;
      args.dst = test.output(type, t.images);
      test.run([&] {
        normalize(args, nullptr);
        normalize(crop, nullptr);
      });
      EXPECT_TRUE(matches(test.read(args.dst, type, t.images), affine(images), rounded_tolerance(type), 4));
      EXPECT_TRUE(matches(test.read(crop.dst, type, {n, t.p, t.q, c}),
                          affine(cropped(images, windows, t.p, t.q)), rounded_tolerance(type), 4));
    }
  }
}

TEST(KernelRows, CopyChannelsLeavesOrClearsTheRest) {
  struct Case {
    int64_t rows, count, src_channels, src_first, dst_channels, dst_first;
  };
  const std::vector<Case> cases = {{1, 1, 1, 0, 1, 0},    {7, 5, 9, 2, 11, 6},   {33, 16, 32, 8, 48, 24},
                                   {5, 8, 16, 3, 24, 8},  {700, 8, 8, 0, 16, 8}, {3, 300, 300, 0, 601, 301},
                                   {9, 12, 12, 0, 32, 16}};
  for (const Case& t : cases) {
    for (const DType type : element_types()) {
      for (const bool zero_rest : {false, true}) {
        SCOPED_TRACE(fmt::format("{} of {} channels, zero_rest {}", t.count, t.dst_channels, zero_rest));
        const Tensor src = rounded_to(type, uniform_tensor({t.rows, t.src_channels}, 1));
        const Tensor before = rounded_to(type, uniform_tensor({t.rows, t.dst_channels}, 2));
        KernelCase test;
        void* const dst = test.tensor(type, before);
        const kernels::CopyChannelsArgs args{
            t.rows,      t.count,          t.src_channels,         t.src_first, t.dst_channels,
            t.dst_first, element_of(type), test.tensor(type, src), dst,         zero_rest};
        test.run([&] { copy_channels(args, nullptr); });
        Tensor expected = before;
        for (int64_t i = 0; i < expected.elements(); ++i) {
          const int64_t row = i / t.dst_channels, c = i % t.dst_channels - t.dst_first;
          if (c >= 0 && c < t.count) {
            expected[i] = src[row * t.src_channels + t.src_first + c];
          } else if (zero_rest) {
            expected[i] = 0;
          }
        }
        EXPECT_TRUE(matches(test.read(dst, type, before.shape), expected, kExact));
      }
    }
  }
}

TEST(KernelRows, CastRoundsToNearestEven) {
  Tensor src = uniform_tensor({3001}, 1, -4, 4);
  src[0] = NAN, src[1] = INFINITY, src[2] = 1e6, src[3] = 0x1p-25, src[4] = 1 + 0x1p-8, src[5] = 1 + 0x1p-11;
  for (const DType from : element_types()) {
    for (const DType to : element_types()) {
      SCOPED_TRACE(fmt::format("{} to {}", to_string(from), to_string(to)));
      KernelCase test;
      const void* const in = test.tensor(from, src);
      void* const out = test.output(to, src.shape);
      const Rows rows{1, src.elements(), element_of(from)};
      test.run([&] { cast(rows, in, element_of(to), out, nullptr); });
      const Tensor found = test.read(out, to, src.shape), expected = rounded_to(to, rounded_to(from, src));
      for (int64_t i = 0; i < src.elements(); ++i) {
        ASSERT_TRUE(found[i] == expected[i] || (std::isnan(found[i]) && std::isnan(expected[i])))
            << i << ": " << found[i] << ", expected " << expected[i];
      }
    }
  }
}

TEST(KernelRows, ImpossibleArgumentsAreRefused) {
  constexpr int kInvalidValue = 1;
  KernelCase test;
  float* const memory = test.floats(uniform_tensor({64}, 1));
  const Rows rows{2, 8, kernels::Element::kF32}, none{0, 8, kernels::Element::kF32};
  EXPECT_EQ(refusal([&] { kernels::add(none, memory, memory, memory, nullptr); }), kInvalidValue);
  EXPECT_EQ(refusal([&] { kernels::add(rows, memory, nullptr, memory, nullptr); }), kInvalidValue);
  EXPECT_EQ(refusal([&] { kernels::add(rows, memory + 1, memory, memory, nullptr); }), kInvalidValue);
  kernels::BatchNormApplyArgs apply;
  apply.src = memory, apply.dst = memory, apply.mask = reinterpret_cast<uint8_t*>(memory);
  EXPECT_EQ(refusal([&] { batch_norm_apply(rows, apply, nullptr); }), kInvalidValue) << "a mask without ReLU";
  kernels::BatchNormBackwardReduceArgs reduce;
  reduce.d_a = memory, reduce.src = memory;
  reduce.average_pixels = 3;
  EXPECT_EQ(refusal([&] { batch_norm_backward_reduce(rows, reduce, memory, nullptr, nullptr); }),
            kInvalidValue)
      << "2 rows are no whole image of 3 pixels";
  kernels::CopyChannelsArgs copy{2, 8, 8, 1, 8, 0, kernels::Element::kF32, memory, memory, false};
  EXPECT_EQ(refusal([&] { copy_channels(copy, nullptr); }), kInvalidValue) << "more channels than src has";
  EXPECT_EQ(refusal([&] { kernels::add(rows, memory, memory, memory, nullptr); }), 0);
  check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

}  // namespace
}  // namespace residuum
