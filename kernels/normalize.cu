// Images as bytes become normalised activations, through a crop window and mirror where wanted: the only
// kernel that reads what the host uploads every step.
#include "kernels/device/checks.cuh"
#include "kernels/device/divider.h"
#include "kernels/device/vector.cuh"

namespace residuum::kernels {
namespace {

constexpr int kThreads = 256;

/// One image of a launch, in elements, with what divides element numbers of dst.
struct ImageWindow {
  int h = 0, w = 0, c = 0, p = 0, q = 0;
  Divider by_c, by_q;
  unsigned blocks = 0;  ///< for each image

  __device__ __forceinline__ int elements() const { return p * q * c; }
};

template <typename T, bool kWholeUnits, bool kWindows>
__global__ void __launch_bounds__(kThreads, 4)
    normalize_kernel(const ImageWindow s, const NormalizeArgs args) {
  const unsigned image = blockIdx.x / s.blocks;
  const int part = static_cast<int>(blockIdx.x - image * s.blocks);
  const int first = (part * kThreads + static_cast<int>(threadIdx.x)) * kUnit;
  const int left_over = s.elements() - first;
  if (left_over <= 0) return;
  const uint8_t* const src = args.images + static_cast<int64_t>(image) * s.h * s.w * s.c;
  int top = 0, left = 0;
  bool flip = false;
  if constexpr (kWindows) {
    const int32_t* const window = args.windows + 3 * static_cast<int64_t>(image);
    top = window[0], left = window[1], flip = window[2] != 0;
  }
  const Divider::Parts by_channel = s.by_c.split(static_cast<uint32_t>(first));
  const Divider::Parts by_column = s.by_q.split(by_channel.quotient);
  int channel = static_cast<int>(by_channel.remainder);
  int column = static_cast<int>(by_column.remainder), row = static_cast<int>(by_column.quotient);
  float values[kUnit];
#pragma unroll
  for (int i = 0; i < kUnit; ++i) {
    const int h = top + row, w = left + (flip ? s.q - 1 - column : column);
    const bool inside = i < left_over && (!kWindows || (h >= 0 && h < s.h && w >= 0 && w < s.w));
    const float pixel =
        inside ? static_cast<float>(src[(static_cast<int64_t>(h) * s.w + w) * s.c + channel]) : 0.0f;
    values[i] = fmaf(pixel, args.scale[channel], args.shift[channel]);
    if (++channel == s.c) {
      channel = 0;
      if (++column == s.q) {
        column = 0;
        ++row;
      }
    }
  }
  T* const dst = static_cast<T*>(args.dst) + static_cast<int64_t>(image) * s.elements();
  store_unit<kWholeUnits>(values, dst + first, left_over);
}

}  // namespace

void normalize(const NormalizeArgs& args, Stream stream) {
  constexpr const char* kName = "normalize";
  constexpr int64_t kElementLimit = int64_t{1} << 30;
  for (const int64_t extent : {args.n, args.h, args.w, args.c, args.p, args.q}) {
    require_positive(kName, "an extent", extent);
    require_below(kName, "an extent", extent, kElementLimit);
  }
  require_below(kName, "elements of an image", std::max(args.h * args.w, args.p * args.q) * args.c,
                kElementLimit);
  require_addresses(kName, {args.images, args.scale, args.shift, args.dst});
  require(args.windows != nullptr || (args.p == args.h && args.q == args.w), kName,
          "without windows, the output must have the size of the images");
  const int64_t elements = args.p * args.q * args.c, blocks = ceil_div(elements, int64_t{kThreads} * kUnit);
  require_below(kName, "blocks", args.n * blocks, int64_t{1} << 31);
  const ImageWindow shape{static_cast<int>(args.h), static_cast<int>(args.w),     static_cast<int>(args.c),
                          static_cast<int>(args.p), static_cast<int>(args.q),     Divider(args.c),
                          Divider(args.q),          static_cast<unsigned>(blocks)};
  with_element(args.type, [&](auto zero) {
    with_flag(elements % kUnit == 0, [&](auto whole) {
      with_flag(args.windows != nullptr, [&](auto windows) {
        launch(kName, normalize_kernel<decltype(zero), whole.value, windows.value>,
               dim3(static_cast<unsigned>(args.n * blocks)), dim3(kThreads), 0, stream, shape, args);
      });
    });
  });
}

}  // namespace residuum::kernels
