// A window of each image, mirrored or not: rows copied whole where they lie inside.
#include <algorithm>
#include <cstring>

#include "engine/backend/cpu/kernel.h"

namespace residuum::cpu {
namespace {

class CropFlipKernel final : public Kernel {
 public:
  explicit CropFlipKernel(const KernelSource& source)
      : src_(Nhwc::of(source.in(0).shape)), dst_(Nhwc::of(source.out(0).shape)) {}

  void bind(std::span<std::byte* const>, std::span<std::byte* const>, std::byte*) override {}
  void shard(const ShardContext& context) override {
    const std::byte* image = context.in[0];
    const auto* window = reinterpret_cast<const int32_t*>(context.in[1]);
    std::byte* out = context.out[0];
    for (int64_t n = 0; n < context.range.count; ++n, window += 3) {
      for (int64_t p = 0; p < dst_.h; ++p, out += dst_.w * dst_.c) {
        const int64_t y = p + window[0];
        const std::byte* const row = y >= 0 && y < src_.h ? image + y * src_.w * src_.c : nullptr;
        write_row(row, window[1], out);
        if (window[2] != 0) mirror(out);
      }
      image += src_.h * src_.w * src_.c;
    }
  }

 private:
  /// Columns [left, left + width) of a row; null is a row outside of the image.
  void write_row(const std::byte* row, int64_t left, std::byte* out) const {
    const auto bytes = [this](int64_t columns) { return static_cast<size_t>(columns * src_.c); };
    const int64_t first = std::clamp<int64_t>(-left, 0, dst_.w);
    const int64_t last = row == nullptr ? first : std::clamp<int64_t>(src_.w - left, first, dst_.w);
    std::memset(out, 0, bytes(first));
    if (last > first) std::memcpy(out + bytes(first), row + bytes(first + left), bytes(last - first));
    std::memset(out + bytes(last), 0, bytes(dst_.w - last));
  }
  void mirror(std::byte* row) const {
    for (int64_t a = 0, b = dst_.w - 1; a < b; ++a, --b)
      std::swap_ranges(row + a * dst_.c, row + (a + 1) * dst_.c, row + b * dst_.c);
  }

  Nhwc src_, dst_;
};

}  // namespace

std::unique_ptr<Kernel> make_crop_flip(const KernelSource& source) {
  return std::make_unique<CropFlipKernel>(source);
}

}  // namespace residuum::cpu
