// Operations that work element by element, or on rows x channels with one coefficient per channel.
#include <cstring>

#include "engine/backend/cpu/channel_partials.h"
#include "engine/backend/cpu/kernel.h"
#include "engine/backend/cpu/simd.h"
#include "engine/core/check.h"
#include "engine/core/overloaded.h"

namespace residuum::cpu {
namespace {

/// body(context, rows, channels) over the shard's part of the first input.
template <typename Body>
class RowsKernel final : public Kernel {
 public:
  RowsKernel(const KernelSource& source, Body body)
      : rows_(KernelSource::rows_per_image(source.in(0))),
        channels_(KernelSource::channels(source.in(0))),
        body_(std::move(body)) {}

  void bind(std::span<std::byte* const>, std::span<std::byte* const>, std::byte*) override {}
  void shard(const ShardContext& context) override { body_(context, context.range.count * rows_, channels_); }

 private:
  int64_t rows_, channels_;
  Body body_;
};

template <typename Body>
std::unique_ptr<Kernel> over_rows(const KernelSource& source, Body body) {
  return std::make_unique<RowsKernel<Body>>(source, std::move(body));
}

using Unary = void (*)(const void* src, int64_t n, void* dst);
using Binary = void (*)(const void* a, const void* b, int64_t n, void* dst);

std::unique_ptr<Kernel> make_unary(const KernelSource& source, Unary loop) {
  return over_rows(source, [loop](const ShardContext& context, int64_t rows, int64_t c) {
    loop(context.in[0], rows * c, context.out[0]);
  });
}

std::unique_ptr<Kernel> make_binary(const KernelSource& source, Binary loop) {
  return over_rows(source, [loop](const ShardContext& context, int64_t rows, int64_t c) {
    loop(context.in[0], context.in[1], rows * c, context.out[0]);
  });
}

Unary forward_loop(const Simd& simd, ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kRelu:
      return simd.relu;
    case ActivationKind::kSigmoid:
      return simd.sigmoid;
    case ActivationKind::kTanh:
      return simd.tanh;
  }
  fail(ErrorKind::kInternal, "unknown activation {}", static_cast<int>(kind));
}

Binary backward_loop(const Simd& simd, ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kRelu:
      return simd.relu_backward;
    case ActivationKind::kSigmoid:
      return simd.sigmoid_backward;
    case ActivationKind::kTanh:
      return simd.tanh_backward;
  }
  fail(ErrorKind::kInternal, "unknown activation {}", static_cast<int>(kind));
}

/// (u8 / 255 - mean) / std as one multiply-add.
std::unique_ptr<Kernel> make_normalize(const KernelSource& source, const Normalize& op) {
  std::vector<float> scale, shift;
  for (size_t c = 0; c < op.mean.size(); ++c) {
    const double deviation = static_cast<double>(op.std[c]);
    scale.push_back(static_cast<float>(1 / (255 * deviation)));
    shift.push_back(static_cast<float>(-static_cast<double>(op.mean[c]) / deviation));
  }
  const Simd& simd = cpu::simd(source.out(0).dtype);
  return over_rows(source, [&simd, scale, shift](const ShardContext& context, int64_t rows, int64_t c) {
    simd.normalize(reinterpret_cast<const uint8_t*>(context.in[0]), rows, c, scale.data(), shift.data(),
                   context.out[0]);
  });
}

std::unique_ptr<Kernel> make_bias(const KernelSource& source) {
  const Simd& simd = cpu::simd(source.in(0).dtype);
  std::vector<float> ones(static_cast<size_t>(KernelSource::channels(source.in(0))), 1.0f);
  return over_rows(source, [&simd, ones](const ShardContext& context, int64_t rows, int64_t c) {
    simd.affine(context.in[0], nullptr, rows, c, ones.data(), reinterpret_cast<const float*>(context.in[1]),
                false, context.out[0]);
  });
}

std::unique_ptr<Kernel> make_dropout(const KernelSource& source, const Dropout& op) {
  const Simd& simd = cpu::simd(source.in(0).dtype);
  const int64_t rows_per_image = KernelSource::rows_per_image(source.in(0));
  return over_rows(source, [&simd, op, rows_per_image](const ShardContext& context, int64_t rows, int64_t c) {
    const StepParams& params = *context.params;
    simd.dropout(context.in[0], context.range.first * rows_per_image * c, rows * c, op.probability,
                 {params.seed, params.step, params.micro_step, op.stream}, context.out[0]);
  });
}

std::unique_ptr<Kernel> make_block_gate(const KernelSource& source, const BlockGate& op) {
  const size_t size = size_of(source.in(0).dtype);
  return over_rows(source, [op, size](const ShardContext& context, int64_t rows, int64_t c) {
    const StepParams& params = *context.params;
    const size_t bytes = static_cast<size_t>(rows * c) * size;
    if (block_is_open(op.draw, params.seed, params.step, params.micro_step)) {
      std::memcpy(context.out[0], context.in[0], bytes);
    } else {
      std::memset(context.out[0], 0, bytes);
    }
  });
}

class BiasBackwardKernel final : public Kernel {
 public:
  explicit BiasBackwardKernel(const KernelSource& source)
      : simd_(cpu::simd(source.in(0).dtype)),
        rows_(KernelSource::rows_per_image(source.in(0))),
        partials_(KernelSource::channels(source.in(0)), source.shards, 1) {}

  size_t shared_scratch_bytes() const override { return partials_.bytes(); }
  void bind(std::span<std::byte* const>, std::span<std::byte* const> out,
            std::byte* shared_scratch) override {
    partials_.bind(shared_scratch);
    d_bias_ = reinterpret_cast<float*>(out[0]);
  }
  void shard(const ShardContext& context) override {
    simd_.channel_sums(context.in[0], context.range.count * rows_, partials_.channels(),
                       partials_.part(context.range.index, 0));
  }
  int finish_tasks() const override { return partials_.tasks(); }
  void finish(int task, const StepParams&) override {
    partials_.for_channels(task, [&](int64_t c) { d_bias_[c] = static_cast<float>(partials_.total(0, c)); });
  }

 private:
  const Simd& simd_;
  int64_t rows_;
  ChannelPartials partials_;
  float* d_bias_ = nullptr;
};

}  // namespace

std::unique_ptr<Kernel> make_elementwise(const KernelSource& source) {
  using Made = std::unique_ptr<Kernel>;
  const auto loops = [&]() -> const Simd& { return simd(source.in(0).dtype); };
  return std::visit(
      overloaded{
          [&](const Normalize& op) -> Made { return make_normalize(source, op); },
          [&](const Bias&) -> Made { return make_bias(source); },
          [&](const BiasBackward&) -> Made { return std::make_unique<BiasBackwardKernel>(source); },
          [&](const Activation& op) -> Made { return make_unary(source, forward_loop(loops(), op.kind)); },
          [&](const ActivationBackward& op) -> Made {
            return make_binary(source, backward_loop(loops(), op.kind));
          },
          [&](const Add&) -> Made { return make_binary(source, loops().add); },
          [&](const Multiply&) -> Made { return make_binary(source, loops().multiply); },
          [&](const Scale& op) -> Made {
            return over_rows(source,
                             [&simd = loops(), op](const ShardContext& context, int64_t rows, int64_t c) {
                               simd.scale(context.in[0], rows * c, op.factor, op.offset, context.out[0]);
                             });
          },
          [&](const Dropout& op) -> Made { return make_dropout(source, op); },
          [&](const BlockGate& op) -> Made { return make_block_gate(source, op); },
          [&](const auto&) -> Made {
            fail(ErrorKind::kInternal, "make_elementwise: {} is not element-wise", op_name(source.node.op));
          },
      },
      source.node.op);
}

}  // namespace residuum::cpu
