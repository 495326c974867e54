// ReLU with a mask of one bit an element, and its gradient. Plain loops: the CPU's own plans keep no masks,
// so these serve tests and graphs made for another device.
#include <algorithm>
#include <bit>

#include "engine/backend/cpu/kernel.h"
#include "engine/backend/cpu/simd.h"

namespace residuum::cpu {
namespace {

/// Whether the value of these bits is <= 0, which a NaN is not.
bool not_positive(uint32_t bits) {
  return std::bit_cast<float>(bits) <= 0;
}
bool not_positive(uint16_t bits) {
  return not_positive(uint32_t{bits} << 16);
}

/// Element is the unsigned integer of the activation's size: values are moved and compared, never computed.
template <typename Element>
class ReluMaskKernel final : public Kernel {
 public:
  explicit ReluMaskKernel(const KernelSource& source)
      : simd_(simd(source.in(0).dtype)),
        forward_(std::holds_alternative<ReluMask>(source.node.op)),
        rows_(KernelSource::rows_per_image(source.in(0))),
        channels_(KernelSource::channels(source.in(0))),
        mask_bytes_((channels_ + 7) / 8) {}

  void bind(std::span<std::byte* const>, std::span<std::byte* const>, std::byte*) override {}
  void shard(const ShardContext& context) override {
    const int64_t rows = context.range.count * rows_;
    if (forward_) {
      simd_.relu(context.in[0], rows * channels_, context.out[0]);
      write_mask(reinterpret_cast<const Element*>(context.out[0]), rows,
                 reinterpret_cast<uint8_t*>(context.out[1]));
    } else {
      apply_mask(reinterpret_cast<const Element*>(context.in[0]),
                 reinterpret_cast<const uint8_t*>(context.in[1]), rows,
                 reinterpret_cast<Element*>(context.out[0]));
    }
  }

 private:
  void write_mask(const Element* dst, int64_t rows, uint8_t* mask) const {
    for (int64_t row = 0; row < rows; ++row, dst += channels_) {
      for (int64_t first = 0; first < channels_; first += 8) {
        unsigned byte = 0;
        const int64_t count = std::min<int64_t>(8, channels_ - first);
        for (int64_t i = 0; i < count; ++i) byte |= unsigned{!not_positive(dst[first + i])} << i;
        *mask++ = static_cast<uint8_t>(byte);
      }
    }
  }
  void apply_mask(const Element* d_dst, const uint8_t* mask, int64_t rows, Element* d_src) const {
    for (int64_t row = 0; row < rows; ++row, mask += mask_bytes_) {
      for (int64_t c = 0; c < channels_; ++c) {
        const bool open = (mask[c / 8] >> (c % 8) & 1) != 0;
        *d_src++ = open ? *d_dst : Element{0};
        ++d_dst;
      }
    }
  }

  const Simd& simd_;
  bool forward_;
  int64_t rows_, channels_, mask_bytes_;
};

}  // namespace

std::unique_ptr<Kernel> make_relu_mask(const KernelSource& source) {
  if (source.in(0).dtype == DType::kF32) return std::make_unique<ReluMaskKernel<uint32_t>>(source);
  return std::make_unique<ReluMaskKernel<uint16_t>>(source);
}

}  // namespace residuum::cpu
