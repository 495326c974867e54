// Images as bytes become normalised activations, or other bytes, through a crop window and mirror where
// wanted: the only kernel that reads what the host uploads every step.
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

/// What becomes of a byte: itself, or a normalised activation.
__device__ __forceinline__ void convert(int pixel, int, const NormalizeArgs&, uint8_t& dst) {
  dst = static_cast<uint8_t>(pixel);
}
template <typename T>
__device__ __forceinline__ void convert(int pixel, int channel, const NormalizeArgs& args, T& dst) {
  dst = from_float<T>(fmaf(static_cast<float>(pixel), args.scale[channel], args.shift[channel]));
}

template <typename T, bool kWholeUnits, bool kWindows>
__global__ void __launch_bounds__(kThreads, 4)
    normalize_kernel(const ImageWindow s, const NormalizeArgs args) {
  grid_dependency_wait();
  grid_dependency_trigger();
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
  Pack<T> pack;
#pragma unroll
  for (int i = 0; i < kUnit; ++i) {
    const int h = top + row, w = left + (flip ? s.q - 1 - column : column);
    const bool inside = i < left_over && (!kWindows || (h >= 0 && h < s.h && w >= 0 && w < s.w));
    const int pixel = inside ? src[(static_cast<int64_t>(h) * s.w + w) * s.c + channel] : 0;
    convert(pixel, channel, args, pack.at[i]);
    if (++channel == s.c) {
      channel = 0;
      if (++column == s.q) {
        column = 0;
        ++row;
      }
    }
  }
  T* const dst = static_cast<T*>(args.dst) + static_cast<int64_t>(image) * s.elements();
  store_pack<kWholeUnits>(pack, dst + first, left_over);
}

/// Launches normalize_kernel for destinations of type T.
template <typename T>
void launch_windows(const char* name, const NormalizeArgs& args, Stream stream) {
  constexpr int64_t kElementLimit = int64_t{1} << 30;
  for (const int64_t extent : {args.n, args.h, args.w, args.c, args.p, args.q}) {
    require_positive(name, "an extent", extent);
    require_below(name, "an extent", extent, kElementLimit);
  }
  require_below(name, "elements of an image", std::max(args.h * args.w, args.p * args.q) * args.c,
                kElementLimit);
  require(args.windows != nullptr || (args.p == args.h && args.q == args.w), name,
          "without windows, the output must have the size of the images");
  const int64_t elements = args.p * args.q * args.c, blocks = ceil_div(elements, int64_t{kThreads} * kUnit);
  require_below(name, "blocks", args.n * blocks, int64_t{1} << 31);
  const ImageWindow shape{static_cast<int>(args.h), static_cast<int>(args.w),     static_cast<int>(args.c),
                          static_cast<int>(args.p), static_cast<int>(args.q),     Divider(args.c),
                          Divider(args.q),          static_cast<unsigned>(blocks)};
  with_flag(elements % kUnit == 0, [&](auto whole) {
    with_flag(args.windows != nullptr, [&](auto windows) {
      launch(name, normalize_kernel<T, whole.value, windows.value>,
             dim3(static_cast<unsigned>(args.n * blocks)), dim3(kThreads), 0, stream, shape, args);
    });
  });
}

}  // namespace

void normalize(const NormalizeArgs& args, Stream stream) {
  constexpr const char* kName = "normalize";
  require_addresses(kName, {args.images, args.scale, args.shift, args.dst});
  with_element(args.type, [&](auto zero) { launch_windows<decltype(zero)>(kName, args, stream); });
}

void crop_flip(const NormalizeArgs& args, Stream stream) {
  constexpr const char* kName = "crop_flip";
  require_addresses(kName, {args.images, args.windows, args.dst});
  launch_windows<uint8_t>(kName, args, stream);
}

}  // namespace residuum::kernels
