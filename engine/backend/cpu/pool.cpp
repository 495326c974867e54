// Pooling both ways. A pixel's window is the list of its taps inside the image; the loops (simd_table.h) run
// over the channels of one pixel. Backward passes gather, so that every gradient is written once, in float,
// by one thread.
#include <algorithm>
#include <array>
#include <cstring>

#include "engine/backend/cpu/kernel.h"
#include "engine/backend/cpu/simd.h"
#include "engine/core/check.h"
#include "engine/core/overloaded.h"

namespace residuum::cpu {
namespace {

using Addresses = std::span<std::byte* const>;

constexpr int64_t kLargestWindow = 16;  // positions fit a byte

int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// The taps of one pixel; offsets are relative to an image.
class TapList {
 public:
  void add(int64_t offset, int64_t position) {
    offsets_[static_cast<size_t>(count_)] = offset;
    positions_[static_cast<size_t>(count_++)] = static_cast<uint8_t>(position);
  }
  WindowTaps taps() const { return {offsets_.data(), positions_.data(), count_}; }

 private:
  std::array<int64_t, kLargestWindow * kLargestWindow> offsets_;
  std::array<uint8_t, kLargestWindow * kLargestWindow> positions_;
  int count_ = 0;
};

/// Calls visit(q, taps, pixels) for runs of dst pixels of row p that share their taps up to a shift by
/// stride: border pixels one by one, the interior at once.
template <typename Visit>
void for_dst_runs(const PoolShape& s, int64_t p, Visit visit) {
  const int64_t width = s.q();
  const int64_t inner_first = std::min(ceil_div(s.pad, s.stride), width);
  const int64_t inner_end = s.w + s.pad < s.window
                                ? inner_first
                                : std::clamp((s.w + s.pad - s.window) / s.stride + 1, inner_first, width);
  for (int64_t q = 0; q < width;) {
    TapList list;
    for (int64_t r = 0; r < s.window; ++r) {
      const int64_t h = p * s.stride - s.pad + r;
      if (h < 0 || h >= s.h) continue;
      for (int64_t t = 0; t < s.window; ++t) {
        const int64_t w = q * s.stride - s.pad + t;
        if (w >= 0 && w < s.w) list.add((h * s.w + w) * s.c, r * s.window + t);
      }
    }
    const int64_t pixels = q == inner_first && inner_end > q ? inner_end - q : 1;
    visit(q, list.taps(), pixels);
    q += pixels;
  }
}

/// Calls visit(pixel, taps) for every src pixel of an image: the dst pixels whose window holds it, and where
/// in it.
template <typename Visit>
void for_src_pixels(const PoolShape& s, Visit visit) {
  const int64_t height = s.p(), width = s.q();
  for (int64_t h = 0; h < s.h; ++h) {
    const int64_t p_end = std::min(height, (h + s.pad) / s.stride + 1);
    const int64_t p_first = std::max<int64_t>(0, ceil_div(h + s.pad - s.window + 1, s.stride));
    for (int64_t w = 0; w < s.w; ++w) {
      const int64_t q_end = std::min(width, (w + s.pad) / s.stride + 1);
      const int64_t q_first = std::max<int64_t>(0, ceil_div(w + s.pad - s.window + 1, s.stride));
      TapList list;
      for (int64_t p = p_first; p < p_end; ++p) {
        for (int64_t q = q_first; q < q_end; ++q) {
          list.add((p * width + q) * s.c, (h + s.pad - p * s.stride) * s.window + w + s.pad - q * s.stride);
        }
      }
      visit(h * s.w + w, list.taps());
    }
  }
}

PoolShape pool_shape(const TensorDesc& src, int64_t window, int64_t stride, int64_t pad) {
  const auto [n, h, w, c] = Nhwc::of(src.shape);
  return {n, h, w, c, window, stride, pad};
}

/// body(image) for each image of the shard.
template <typename Body>
class ImagesKernel final : public Kernel {
 public:
  ImagesKernel(size_t thread_scratch_bytes, Body body)
      : scratch_bytes_(thread_scratch_bytes), body_(std::move(body)) {}

  size_t thread_scratch_bytes() const override { return scratch_bytes_; }
  void bind(Addresses, Addresses, std::byte*) override {}
  void shard(const ShardContext& context) override {
    for (int64_t n = 0; n < context.range.count; ++n) body_(context, static_cast<size_t>(n));
  }

 private:
  size_t scratch_bytes_;
  Body body_;
};

template <typename Body>
std::unique_ptr<Kernel> over_images(Body body, size_t thread_scratch_bytes = 0) {
  return std::make_unique<ImagesKernel<Body>>(thread_scratch_bytes, std::move(body));
}

/// What the body of a pooling kernel needs.
struct Images {
  Images(DType type, const PoolShape& pool) : simd(cpu::simd(type)), shape(pool), element(size_of(type)) {
    check(shape.window >= 1 && shape.window <= kLargestWindow, ErrorKind::kDevice,
          "pooling window is {}, the CPU backend allows 1 to {}", shape.window, kLargestWindow);
  }
  size_t src_elements() const { return static_cast<size_t>(shape.h * shape.w * shape.c); }
  size_t dst_elements() const { return static_cast<size_t>(shape.p() * shape.q() * shape.c); }
  std::byte* src(std::byte* base, size_t image) const { return base + image * src_elements() * element; }
  std::byte* dst(std::byte* base, size_t image) const { return base + image * dst_elements() * element; }
  std::byte* at(std::byte* base, int64_t pixel) const {
    return base + static_cast<size_t>(pixel * shape.c) * element;
  }

  const Simd& simd;
  PoolShape shape;
  size_t element;
};

std::unique_ptr<Kernel> make_max(const Images& images) {
  return over_images([images](const ShardContext& context, size_t n) {
    const PoolShape& s = images.shape;
    std::byte* const src = images.src(context.in[0], n);
    std::byte* const dst = images.dst(context.out[0], n);
    uint8_t* const argmax = reinterpret_cast<uint8_t*>(context.out[1]) + n * images.dst_elements();
    for (int64_t p = 0; p < s.p(); ++p) {
      for_dst_runs(s, p, [&](int64_t q, const WindowTaps& taps, int64_t pixels) {
        const int64_t first = p * s.q() + q;
        images.simd.window_max(src, taps, pixels, s.stride * s.c, s.c, images.at(dst, first),
                               argmax + first * s.c);
      });
    }
  });
}

std::unique_ptr<Kernel> make_max_backward(const Images& images) {
  return over_images([images](const ShardContext& context, size_t n) {
    std::byte* const d_src = images.src(context.out[0], n);
    std::byte* const d_dst = images.dst(context.in[0], n);
    const uint8_t* const argmax = reinterpret_cast<const uint8_t*>(context.in[1]) + n * images.dst_elements();
    for_src_pixels(images.shape, [&](int64_t pixel, const WindowTaps& taps) {
      images.simd.window_max_backward(d_dst, argmax, taps, images.shape.c, images.at(d_src, pixel));
    });
  });
}

float window_share(const PoolShape& s) {
  return 1.0f / static_cast<float>(s.window * s.window);
}

std::unique_ptr<Kernel> make_average(const Images& images) {
  return over_images([images](const ShardContext& context, size_t n) {
    const PoolShape& s = images.shape;
    std::byte* const src = images.src(context.in[0], n);
    std::byte* const dst = images.dst(context.out[0], n);
    for (int64_t p = 0; p < s.p(); ++p) {
      for_dst_runs(s, p, [&](int64_t q, const WindowTaps& taps, int64_t pixels) {
        images.simd.window_sum(src, taps, pixels, s.stride * s.c, s.c, window_share(s),
                               images.at(dst, p * s.q() + q));
      });
    }
  });
}

std::unique_ptr<Kernel> make_average_backward(const Images& images) {
  return over_images([images](const ShardContext& context, size_t n) {
    const PoolShape& s = images.shape;
    std::byte* const d_src = images.src(context.out[0], n);
    std::byte* const d_dst = images.dst(context.in[0], n);
    for_src_pixels(s, [&](int64_t pixel, const WindowTaps& taps) {
      images.simd.window_sum(d_dst, taps, 1, 0, s.c, window_share(s), images.at(d_src, pixel));
    });
  });
}

/// Sums in double, as for the statistics.
std::unique_ptr<Kernel> make_global_average(const KernelSource& source) {
  const auto [batch, h, w, c] = Nhwc::of(source.in(0).shape);
  const Simd& simd = cpu::simd(source.in(0).dtype);
  const size_t element = size_of(source.in(0).dtype), channels = static_cast<size_t>(c);
  return over_images(
      [&simd, element, channels, pixels = h * w](const ShardContext& context, size_t n) {
        double* const sums = reinterpret_cast<double*>(context.thread_scratch);
        float* const means = reinterpret_cast<float*>(sums + channels);
        const std::byte* const src = context.in[0] + n * static_cast<size_t>(pixels) * channels * element;
        simd.channel_sums(src, pixels, static_cast<int64_t>(channels), sums);
        for (size_t j = 0; j < channels; ++j)
          means[j] = static_cast<float>(sums[j] / static_cast<double>(pixels));
        simd.from_float(means, static_cast<int64_t>(channels), context.out[0] + n * channels * element);
      },
      channels * (sizeof(double) + sizeof(float)));
}

std::unique_ptr<Kernel> make_global_average_backward(const KernelSource& source) {
  const auto [batch, h, w, c] = Nhwc::of(source.out(0).shape);
  const Simd& simd = cpu::simd(source.out(0).dtype);
  const size_t bytes = static_cast<size_t>(c) * size_of(source.out(0).dtype);
  return over_images([&simd, bytes, c = c, pixels = h * w](const ShardContext& context, size_t n) {
    std::byte* const d_src = context.out[0] + n * static_cast<size_t>(pixels) * bytes;
    simd.scale(context.in[0] + n * bytes, c, 1.0f / static_cast<float>(pixels), 0.0f, d_src);
    for (size_t pixel = 1; pixel < static_cast<size_t>(pixels); ++pixel) {
      std::memcpy(d_src + pixel * bytes, d_src, bytes);
    }
  });
}

}  // namespace

std::unique_ptr<Kernel> make_pool(const KernelSource& source) {
  using Made = std::unique_ptr<Kernel>;
  const TensorDesc& src = source.in(0);
  return std::visit(
      overloaded{
          [&](const MaxPool& op) -> Made {
            return make_max(Images(src.dtype, pool_shape(src, op.window, op.stride, op.pad)));
          },
          [&](const AvgPool& op) -> Made {
            return make_average(Images(src.dtype, pool_shape(src, op.window, op.stride, op.pad)));
          },
          [&](const MaxPoolBackward& op) -> Made { return make_max_backward(Images(src.dtype, op.shape)); },
          [&](const AvgPoolBackward& op) -> Made {
            return make_average_backward(Images(src.dtype, op.shape));
          },
          [&](const GlobalAvgPool&) -> Made { return make_global_average(source); },
          [&](const GlobalAvgPoolBackward&) -> Made { return make_global_average_backward(source); },
          [&](const auto&) -> Made {
            fail(ErrorKind::kInternal, "make_pool: {} is not a pooling", op_name(source.node.op));
          },
      },
      source.node.op);
}

}  // namespace residuum::cpu
