// Operations that only move channels: option-A shortcut, concatenation, slices, and their adjoints. All of
// them are copies of runs of channels from pixel to pixel, so they work on bytes and need no element type.
#include <cstring>

#include "engine/backend/cpu/kernel.h"
#include "engine/core/check.h"
#include "engine/core/overloaded.h"

namespace residuum::cpu {
namespace {

/// `rows` runs of `bytes`, `dst_stride` and `src_stride` bytes apart.
void copy_runs(std::byte* dst, size_t dst_stride, const std::byte* src, size_t src_stride, size_t bytes,
               int64_t rows) {
  for (int64_t row = 0; row < rows; ++row, dst += dst_stride, src += src_stride) std::memcpy(dst, src, bytes);
}

size_t pixel_bytes(const TensorDesc& desc) {
  return static_cast<size_t>(KernelSource::channels(desc)) * size_of(desc.dtype);
}

class ConcatKernel final : public Kernel {
 public:
  explicit ConcatKernel(const KernelSource& source)
      : rows_(KernelSource::rows_per_image(source.out(0))), dst_bytes_(pixel_bytes(source.out(0))) {
    for (size_t i = 0; i < source.node.inputs.size(); ++i) bytes_.push_back(pixel_bytes(source.in(i)));
  }

  void bind(std::span<std::byte* const>, std::span<std::byte* const>, std::byte*) override {}
  void shard(const ShardContext& context) override {
    size_t offset = 0;
    for (size_t i = 0; i < bytes_.size(); ++i) {
      copy_runs(context.out[0] + offset, dst_bytes_, context.in[i], bytes_[i], bytes_[i],
                context.range.count * rows_);
      offset += bytes_[i];
    }
  }

 private:
  int64_t rows_;
  size_t dst_bytes_;
  std::vector<size_t> bytes_;
};

class SliceKernel final : public Kernel {
 public:
  SliceKernel(const KernelSource& source, const Slice& op)
      : rows_(KernelSource::rows_per_image(source.in(0))),
        src_bytes_(pixel_bytes(source.in(0))),
        dst_bytes_(pixel_bytes(source.out(0))),
        offset_(static_cast<size_t>(op.first) * size_of(source.in(0).dtype)) {}

  void bind(std::span<std::byte* const>, std::span<std::byte* const>, std::byte*) override {}
  void shard(const ShardContext& context) override {
    copy_runs(context.out[0], dst_bytes_, context.in[0] + offset_, src_bytes_, dst_bytes_,
              context.range.count * rows_);
  }

 private:
  int64_t rows_;
  size_t src_bytes_, dst_bytes_, offset_;
};

class SliceBackwardKernel final : public Kernel {
 public:
  SliceBackwardKernel(const KernelSource& source, const SliceBackward& op)
      : rows_(KernelSource::rows_per_image(source.in(0))),
        src_bytes_(pixel_bytes(source.out(0))),
        dst_bytes_(pixel_bytes(source.in(0))),
        offset_(static_cast<size_t>(op.forward.first) * size_of(source.in(0).dtype)) {}

  void bind(std::span<std::byte* const>, std::span<std::byte* const>, std::byte*) override {}
  void shard(const ShardContext& context) override {
    const int64_t rows = context.range.count * rows_;
    std::memset(context.out[0], 0, static_cast<size_t>(rows) * src_bytes_);
    copy_runs(context.out[0] + offset_, src_bytes_, context.in[0], dst_bytes_, dst_bytes_, rows);
  }

 private:
  int64_t rows_;
  size_t src_bytes_, dst_bytes_, offset_;
};

/// The pixels and channels that option A carries from src (N,H,W,C) to dst (N,P,Q,K).
struct ShortcutPath {
  ShortcutPath(const ShortcutA& op, const TensorDesc& src, const TensorDesc& dst)
      : stride(op.stride), from(Nhwc::of(src.shape)), to(Nhwc::of(dst.shape)) {
    const int64_t before = op.zeros == ZeroChannels::kBothSides ? (to.c - from.c) / 2 : 0;
    src_bytes = pixel_bytes(src);
    dst_bytes = pixel_bytes(dst);
    offset = static_cast<size_t>(before) * size_of(src.dtype);
  }

  /// Calls copy(src offset, dst offset, pixels) for each row of dst of `images` images.
  template <typename Copy>
  void for_rows(int64_t images, Copy copy) const {
    for (int64_t n = 0; n < images; ++n) {
      for (int64_t p = 0; p < to.h; ++p) {
        copy(static_cast<size_t>((n * from.h + p * stride) * from.w) * src_bytes,
             static_cast<size_t>((n * to.h + p) * to.w) * dst_bytes + offset, to.w);
      }
    }
  }

  int64_t stride;
  Nhwc from, to;
  size_t src_bytes, dst_bytes, offset;
};

class ShortcutKernel final : public Kernel {
 public:
  ShortcutKernel(const KernelSource& source, const ShortcutA& op) : path_(op, source.in(0), source.out(0)) {}

  void bind(std::span<std::byte* const>, std::span<std::byte* const>, std::byte*) override {}
  void shard(const ShardContext& context) override {
    const int64_t pixels = context.range.count * path_.to.h * path_.to.w;
    std::memset(context.out[0], 0, static_cast<size_t>(pixels) * path_.dst_bytes);
    path_.for_rows(context.range.count, [&](size_t src, size_t dst, int64_t count) {
      copy_runs(context.out[0] + dst, path_.dst_bytes, context.in[0] + src,
                path_.src_bytes * static_cast<size_t>(path_.stride), path_.src_bytes, count);
    });
  }

 private:
  ShortcutPath path_;
};

class ShortcutBackwardKernel final : public Kernel {
 public:
  ShortcutBackwardKernel(const KernelSource& source, const ShortcutABackward& op)
      : path_(op.forward, source.out(0), source.in(0)) {}

  void bind(std::span<std::byte* const>, std::span<std::byte* const>, std::byte*) override {}
  void shard(const ShardContext& context) override {
    const int64_t pixels = context.range.count * path_.from.h * path_.from.w;
    std::memset(context.out[0], 0, static_cast<size_t>(pixels) * path_.src_bytes);
    path_.for_rows(context.range.count, [&](size_t src, size_t dst, int64_t count) {
      copy_runs(context.out[0] + src, path_.src_bytes * static_cast<size_t>(path_.stride),
                context.in[0] + dst, path_.dst_bytes, path_.src_bytes, count);
    });
  }

 private:
  ShortcutPath path_;
};

}  // namespace

std::unique_ptr<Kernel> make_channels(const KernelSource& source) {
  using Made = std::unique_ptr<Kernel>;
  return std::visit(
      overloaded{
          [&](const Concat&) -> Made { return std::make_unique<ConcatKernel>(source); },
          [&](const Slice& op) -> Made { return std::make_unique<SliceKernel>(source, op); },
          [&](const SliceBackward& op) -> Made { return std::make_unique<SliceBackwardKernel>(source, op); },
          [&](const ShortcutA& op) -> Made { return std::make_unique<ShortcutKernel>(source, op); },
          [&](const ShortcutABackward& op) -> Made {
            return std::make_unique<ShortcutBackwardKernel>(source, op);
          },
          [&](const auto&) -> Made {
            fail(ErrorKind::kInternal, "make_channels: {} does not move channels", op_name(source.node.op));
          },
      },
      source.node.op);
}

}  // namespace residuum::cpu
