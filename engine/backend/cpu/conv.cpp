// Convolutions on oneDNN: one single-threaded primitive call per shard. Weights are packed once per launch
// from K,R,S,C/groups (f32, or the bf16 copy); the weight gradient is one packed partial per shard, added in
// shard order and unpacked.
#include <algorithm>
#include <array>
#include <map>

#include "engine/backend/cpu/kernel.h"
#include "engine/backend/cpu/onednn.h"
#include "engine/core/check.h"

namespace residuum::cpu {
namespace {

using onednn::Call;
using onednn::ConvDirection;
using onednn::ConvPrimitive;
using onednn::unbound;

size_t aligned(size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

/// The output channels [first, first + count) of a weight, as a unit of packing work.
struct ChannelRun {
  int64_t first, count;
};

/// Cuts the output channels into runs of whole packed blocks that are worth a task (128 KB of weights or
/// more); one run when that is not possible.
std::vector<ChannelRun> channel_runs(const ConvShape& shape, const dnnl::memory::desc& packed) {
  constexpr int64_t kWorthATask = 32 * 1024, kMostTasks = 16;
  const int64_t block = shape.groups == 1 ? onednn::output_channel_block(packed) : 0;
  const int64_t blocks = block > 0 ? shape.k / block : 1;
  const int64_t tasks =
      std::clamp<int64_t>(shape.weight_elements() / kWorthATask, 1, std::min(kMostTasks, blocks));
  std::vector<ChannelRun> runs;
  for (int64_t i = 0; i < tasks; ++i) {
    const int64_t first = shape.k / blocks * (blocks * i / tasks);
    runs.push_back({first, shape.k / blocks * (blocks * (i + 1) / tasks) - first});
  }
  return runs;
}

/// Reorders between the engine's weight layout and a packed one, one call per run of output channels.
class WeightReorder {
 public:
  enum class Way { kPack, kUnpack };

  WeightReorder(const ConvShape& shape, DType type, const dnnl::memory::desc& packed, Way way) : way_(way) {
    const dnnl::memory::desc plain = onednn::plain_weights(shape, type);
    const std::vector<ChannelRun> runs = channel_runs(shape, packed);
    for (const ChannelRun& run : runs) {
      dnnl::memory::desc a = plain, b = packed;
      if (runs.size() > 1) {
        const dnnl::memory::dims dims = {run.count, shape.c, shape.r, shape.s}, offset = {run.first, 0, 0, 0};
        a = plain.submemory_desc(dims, offset);
        b = packed.submemory_desc(dims, offset);
      }
      calls_.push_back(way == Way::kPack ? onednn::reorder(a, b) : onednn::reorder(b, a));
    }
  }
  int tasks() const { return static_cast<int>(calls_.size()); }
  void bind(std::byte* plain, std::byte* packed) {
    for (Call& call : calls_) {
      call.set(0, way_ == Way::kPack ? plain : packed);
      call.set(1, way_ == Way::kPack ? packed : plain);
    }
  }
  void run(int task) const { calls_[static_cast<size_t>(task)].execute(); }

 private:
  Way way_;
  std::vector<Call> calls_;
};

ConvShape conv_shape(const KernelSource& source) {
  if (const auto* op = std::get_if<ConvBackwardData>(&source.node.op)) return op->shape;
  if (const auto* op = std::get_if<ConvBackwardFilter>(&source.node.op)) return op->shape;
  const Conv& op = std::get<Conv>(source.node.op);
  const auto [n, h, w, c] = Nhwc::of(source.in(0).shape);
  return {n, h, w, c, op.out_channels, op.kernel_h, op.kernel_w, op.stride, op.pad, op.groups};
}

/// One primitive call per shard, all with the same packed weight layout (shards differ in size by at most one
/// image).
class ShardedConv {
 public:
  ShardedConv(const KernelSource& source, ConvDirection direction) : shape_(conv_shape(source)) {
    const DType type = source.in(0).dtype;
    std::map<int64_t, ConvPrimitive> by_count;
    for (int i = 0; i < source.shards; ++i) {
      const int64_t count = shard_range(source.batch, source.shards, i).count;
      if (!by_count.contains(count)) {
        ConvShape shape = shape_;
        shape.n = count;
        by_count[count] = onednn::make_conv(direction, shape, type);
        const ConvPrimitive& made = by_count[count];
        if (weights_.get_size() == 0) weights_ = made.weights;
        check(made.weights == weights_, ErrorKind::kInternal,
              "{}: oneDNN wants two weight layouts for one convolution", source.node.name);
        scratchpad_bytes_ = std::max(scratchpad_bytes_, made.scratchpad.get_size());
      }
      calls_.push_back(make_call(direction, by_count[count]));
    }
  }

  const ConvShape& shape() const { return shape_; }
  const dnnl::memory::desc& weights() const { return weights_; }
  size_t scratchpad_bytes() const { return scratchpad_bytes_; }

  void run(int shard, std::byte* src, std::byte* weights, std::byte* dst, std::byte* scratchpad) {
    Call& call = calls_[static_cast<size_t>(shard)];
    call.set(0, src);
    call.set(1, weights);
    call.set(2, dst);
    call.set(3, scratchpad);
    call.execute();
  }

 private:
  static Call make_call(ConvDirection direction, const ConvPrimitive& p) {
    std::array<int, 3> kinds{};
    switch (direction) {
      case ConvDirection::kForward:
        kinds = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
        break;
      case ConvDirection::kBackwardData:
        kinds = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST};
        break;
      case ConvDirection::kBackwardFilter:
        kinds = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST};
        break;
    }
    return Call(p.primitive, {{kinds[0], unbound(p.src)},
                              {kinds[1], unbound(p.weights)},
                              {kinds[2], unbound(p.dst)},
                              {DNNL_ARG_SCRATCHPAD, unbound(p.scratchpad)}});
  }

  ConvShape shape_;
  dnnl::memory::desc weights_;
  size_t scratchpad_bytes_ = 0;
  std::vector<Call> calls_;
};

/// Forward and backward-data: both read packed weights.
class ConvByWeights : public Kernel {
 public:
  ConvByWeights(const KernelSource& source, ConvDirection direction)
      : conv_(source, direction),
        pack_(conv_.shape(), source.in(1).dtype, conv_.weights(), WeightReorder::Way::kPack),
        forward_(direction == ConvDirection::kForward) {}

  size_t thread_scratch_bytes() const override { return conv_.scratchpad_bytes(); }
  size_t shared_scratch_bytes() const override { return aligned(conv_.weights().get_size()); }
  void bind(std::span<std::byte* const> in, std::span<std::byte* const>, std::byte* shared_scratch) override {
    packed_ = shared_scratch;
    pack_.bind(in[1], packed_);
  }
  int prepare_tasks() const override { return pack_.tasks(); }
  void prepare(int task, const StepParams&) override { pack_.run(task); }
  void shard(const ShardContext& context) override {
    std::byte* const src = forward_ ? context.in[0] : context.out[0];
    std::byte* const dst = forward_ ? context.out[0] : context.in[0];
    conv_.run(context.range.index, src, packed_, dst, context.thread_scratch);
  }

 private:
  ShardedConv conv_;
  WeightReorder pack_;
  bool forward_;
  std::byte* packed_ = nullptr;
};

class ConvBackwardFilterKernel : public Kernel {
 public:
  explicit ConvBackwardFilterKernel(const KernelSource& source)
      : conv_(source, ConvDirection::kBackwardFilter),
        unpack_(conv_.shape(), DType::kF32, conv_.weights(), WeightReorder::Way::kUnpack),
        runs_(channel_runs(conv_.shape(), conv_.weights())),
        shards_(source.shards),
        stride_(aligned(conv_.weights().get_size())) {}

  size_t thread_scratch_bytes() const override { return conv_.scratchpad_bytes(); }
  size_t shared_scratch_bytes() const override { return stride_ * static_cast<size_t>(shards_); }
  void bind(std::span<std::byte* const>, std::span<std::byte* const> out,
            std::byte* shared_scratch) override {
    partials_ = shared_scratch;
    unpack_.bind(out[0], partials_);
  }
  void shard(const ShardContext& context) override {
    conv_.run(context.range.index, context.in[1],
              partials_ + stride_ * static_cast<size_t>(context.range.index), context.in[0],
              context.thread_scratch);
  }
  int finish_tasks() const override { return unpack_.tasks(); }
  void finish(int task, const StepParams&) override {
    add_partials(task);
    unpack_.run(task);
  }

 private:
  /// Adds the other shards' partials of one run of output channels to the first shard's, in shard order; a
  /// run is one stretch of memory because output channels are outermost.
  void add_partials(int task) {
    const ChannelRun& run = runs_[static_cast<size_t>(task)];
    const size_t floats = conv_.weights().get_size() / sizeof(float);
    const auto edge = [&](int64_t channel) {
      return floats * static_cast<size_t>(channel) / static_cast<size_t>(conv_.shape().k);
    };
    const size_t first = edge(run.first), end = edge(run.first + run.count);
    float* const sum = reinterpret_cast<float*>(partials_);
    for (int shard = 1; shard < shards_; ++shard) {
      const float* const part =
          reinterpret_cast<const float*>(partials_ + stride_ * static_cast<size_t>(shard));
      for (size_t i = first; i < end; ++i) sum[i] += part[i];
    }
  }

  ShardedConv conv_;
  WeightReorder unpack_;
  std::vector<ChannelRun> runs_;
  int shards_;
  size_t stride_;
  std::byte* partials_ = nullptr;
};

}  // namespace

std::unique_ptr<Kernel> make_conv(const KernelSource& source) {
  return std::make_unique<ConvByWeights>(source, ConvDirection::kForward);
}
std::unique_ptr<Kernel> make_conv_backward_data(const KernelSource& source) {
  return std::make_unique<ConvByWeights>(source, ConvDirection::kBackwardData);
}
std::unique_ptr<Kernel> make_conv_backward_filter(const KernelSource& source) {
  return std::make_unique<ConvBackwardFilterKernel>(source);
}

}  // namespace residuum::cpu
