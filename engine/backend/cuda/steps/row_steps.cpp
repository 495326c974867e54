// Operations element by element, and those that move whole channels.
#include <algorithm>
#include <cstring>

#include "engine/backend/cuda/steps/steps.h"

namespace residuum::cuda {
namespace {

using kernels::Rows;

kernels::Function function_of(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kRelu:
      return kernels::Function::kRelu;
    case ActivationKind::kSigmoid:
      return kernels::Function::kSigmoid;
    case ActivationKind::kTanh:
      return kernels::Function::kTanh;
  }
  return kernels::Function::kRelu;
}

kernels::ShortcutShape shortcut_shape(const ShortcutA& op, const Shape& src) {
  const auto [n, h, w, c] = Nhwc::of(src);
  const int64_t first = op.zeros == ZeroChannels::kBothSides ? (op.out_channels - c) / 2 : 0;
  return {n, h, w, c, op.out_channels, op.stride, first};
}

/// `count` channels from `src_first` of src to `dst_first` of dst; addresses are filled in when launched.
kernels::CopyChannelsArgs copy_of(const Rows& src, int64_t src_first, const Rows& dst, int64_t dst_first,
                                  int64_t count) {
  return {.rows = src.rows,
          .count = count,
          .src_channels = src.channels,
          .src_first = src_first,
          .dst_channels = dst.channels,
          .dst_first = dst_first,
          .type = src.type};
}

void launch_copy(kernels::CopyChannelsArgs args, const void* src, void* dst, kernels::Stream stream) {
  args.src = src;
  args.dst = dst;
  kernels::copy_channels(args, stream);
}

/// What a crop leaves alone of the images: windows are counted as lying inside of their image as far as they
/// fit (a window over the edge, which the data decide, reads less).
Cost outside_of_windows(const kernels::NormalizeArgs& shape) {
  const int64_t inside = std::min(shape.h, shape.p) * std::min(shape.w, shape.q);
  return also_read(-shape.n * shape.c * (shape.h * shape.w - inside));
}

/// The window of each image that a crop cuts out.
kernels::NormalizeArgs window_shape(const StepSource& source, const CropFlip& op) {
  const auto [n, h, w, c] = Nhwc::of(source.in(0).shape);
  return {.n = n, .h = h, .w = w, .c = c, .p = op.height, .q = op.width};
}

/// Normalises images of `shape`: input 0; input 1, if there is one, has the windows.
Step normalize_step(const StepSource& source, const Normalize& op, kernels::NormalizeArgs shape) {
  shape.type = source.element(source.out(0));
  constexpr size_t kAligned = 4;  // 16 bytes
  const size_t shift_at = (op.mean.size() + kAligned - 1) / kAligned * kAligned;
  Step step = source.step(
      [=](const Bound& b) {
        kernels::NormalizeArgs args = shape;
        args.images = as<uint8_t>(b.in[0]);
        if (b.in.size() > 1) args.windows = as<int32_t>(b.in[1]);
        args.scale = reinterpret_cast<const float*>(b.constants);
        args.shift = args.scale + shift_at;
        args.dst = b.out[0];
        kernels::normalize(args, b.stream);
      },
      0, outside_of_windows(shape) + also_read(2 * std::ssize(op.mean) * int64_t{sizeof(float)}));
  step.constants = [op, shift_at](const Bound&) {  // (x / 255 - mean) / std = x scale + shift
    std::vector<float> numbers(shift_at + op.mean.size());
    for (size_t i = 0; i < op.mean.size(); ++i) {
      numbers[i] = 1 / (255 * op.std[i]);
      numbers[shift_at + i] = -op.mean[i] / op.std[i];
    }
    std::vector<std::byte> bytes(numbers.size() * sizeof(float));
    std::memcpy(bytes.data(), numbers.data(), bytes.size());
    return bytes;
  };
  return step;
}

}  // namespace

Step make_step(const StepSource& source, const CropFlip& op) {
  const kernels::NormalizeArgs shape = window_shape(source, op);
  return source.step(
      [=](const Bound& b) {
        kernels::NormalizeArgs args = shape;
        args.images = as<uint8_t>(b.in[0]);
        args.windows = as<int32_t>(b.in[1]);
        args.dst = b.out[0];
        kernels::crop_flip(args, b.stream);
      },
      0, outside_of_windows(shape));
}
Step make_step(const StepSource& source, const Normalize& op) {
  const auto [n, h, w, c] = Nhwc::of(source.in(0).shape);
  return normalize_step(source, op, {.n = n, .h = h, .w = w, .c = c, .p = h, .q = w});
}
Step make_fused_window(const Graph& graph, const Fused& fused, const StepOptions& options) {
  const Node& crop = *part<CropFlip>(graph, fused);
  const StepSource window{graph, crop, options}, source{graph, *part<Normalize>(graph, fused), options};
  Step step = normalize_step(source, std::get<Normalize>(source.node.op),
                             window_shape(window, std::get<CropFlip>(crop.op)));
  step.inputs = crop.inputs;
  return step;
}

Step make_step(const StepSource& source, const Bias&) {
  const Rows rows = source.rows(source.in(0));
  return source.step(
      [=](const Bound& b) { kernels::bias(rows, b.in[0], as<float>(b.in[1]), b.out[0], b.stream); });
}
Step make_step(const StepSource& source, const BiasBackward&) {
  const Rows rows = source.rows(source.in(0));
  const size_t workspace = kernels::bias_backward_workspace(rows);
  return source.step(
      [=](const Bound& b) {
        kernels::bias_backward(rows, b.in[0], as<float>(b.out[0]), b.scratch, b.counter, b.stream);
      },
      workspace, ordered_sum(workspace));
}

Step make_step(const StepSource& source, const Activation& op) {
  const Rows rows = source.rows(source.in(0));
  const kernels::Function function = function_of(op.kind);
  return source.step(
      [=](const Bound& b) { kernels::activation(rows, function, b.in[0], b.out[0], b.stream); });
}
Step make_step(const StepSource& source, const ActivationBackward& op) {
  const Rows rows = source.rows(source.in(0));
  const kernels::Function function = function_of(op.kind);
  return source.step([=](const Bound& b) {
    kernels::activation_backward(rows, function, b.in[0], b.in[1], b.out[0], b.stream);
  });
}

Step make_step(const StepSource& source, const ReluMask&) {
  const Rows rows = source.rows(source.in(0));
  return source.step(
      [=](const Bound& b) { kernels::relu_mask(rows, b.in[0], b.out[0], as<uint8_t>(b.out[1]), b.stream); });
}
Step make_step(const StepSource& source, const ReluMaskBackward&) {
  const Rows rows = source.rows(source.in(0));
  return source.step([=](const Bound& b) {
    kernels::relu_mask_backward(rows, b.in[0], as<uint8_t>(b.in[1]), b.out[0], b.stream);
  });
}

Step make_step(const StepSource& source, const Add&) {
  const Rows rows = source.rows(source.in(0));
  return source.step([=](const Bound& b) { kernels::add(rows, b.in[0], b.in[1], b.out[0], b.stream); });
}
Step make_step(const StepSource& source, const Multiply&) {
  const Rows rows = source.rows(source.in(0));
  return source.step([=](const Bound& b) { kernels::multiply(rows, b.in[0], b.in[1], b.out[0], b.stream); });
}
Step make_step(const StepSource& source, const Scale& op) {
  const Rows rows = source.rows(source.in(0));
  return source.step(
      [=](const Bound& b) { kernels::scale(rows, op.factor, op.offset, b.in[0], b.out[0], b.stream); });
}
Step make_step(const StepSource& source, const Dropout& op) {
  const Rows rows = source.rows(source.in(0));
  return source.step(
      [=](const Bound& b) {
        kernels::dropout(rows, op.probability, op.stream, b.step, b.in[0], b.out[0], b.stream);
      },
      0, also_read(sizeof(kernels::StepValues)));
}

Step make_step(const StepSource& source, const BlockGate& op) {
  const Rows rows = source.rows(source.in(0));
  return source.step(
      [=](const Bound& b) { kernels::block_gate(rows, op.draw, b.step, b.in[0], b.out[0], b.stream); }, 0,
      also_read(sizeof(kernels::StepValues)));
}

Step make_step(const StepSource& source, const ShortcutA& op) {
  const kernels::ShortcutShape shape = shortcut_shape(op, source.in(0).shape);
  const kernels::Element type = source.element(source.in(0));
  const PoolShape pixels{shape.n, shape.h, shape.w, shape.c, 1, shape.stride, 0};
  return source.step([=](const Bound& b) { kernels::shortcut_a(shape, type, b.in[0], b.out[0], b.stream); },
                     0, unread_src(pixels, kernels::size_of(type)));
}
Step make_step(const StepSource& source, const ShortcutABackward& op) {
  const kernels::ShortcutShape shape = shortcut_shape(op.forward, op.src);
  const kernels::Element type = source.element(source.in(0));
  // Of d_dst, the channels that came from src.
  const int64_t unread = shape.n * shape.p() * shape.q() * (shape.k - shape.c);
  return source.step(
      [=](const Bound& b) { kernels::shortcut_a_backward(shape, type, b.in[0], b.out[0], b.stream); }, 0,
      also_read(-unread * static_cast<int64_t>(kernels::size_of(type))));
}

Step make_step(const StepSource& source, const Concat&) {
  const Rows dst = source.rows(source.out(0));
  const std::vector<ValueId>& inputs = source.node.inputs;
  std::vector<kernels::CopyChannelsArgs> copies;
  int64_t first = 0, read_again = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Rows src = source.rows(source.in(i));
    const auto here = inputs.begin() + std::ssize(copies);
    if (std::find(inputs.begin(), here, *here) != here)
      read_again += static_cast<int64_t>(source.in(i).bytes());
    copies.push_back(copy_of(src, 0, dst, first, src.channels));
    first += src.channels;
  }
  return source.step(
      [copies](const Bound& b) {
        for (size_t i = 0; i < copies.size(); ++i) launch_copy(copies[i], b.in[i], b.out[0], b.stream);
      },
      0, more_launches(std::ssize(copies) - 1) + also_read(read_again));
}
Step make_step(const StepSource& source, const Slice& op) {
  const kernels::CopyChannelsArgs args =
      copy_of(source.rows(source.in(0)), op.first, source.rows(source.out(0)), 0, op.channels);
  const auto unread =
      static_cast<int64_t>(source.in(0).bytes()) - static_cast<int64_t>(source.out(0).bytes());
  return source.step([=](const Bound& b) { launch_copy(args, b.in[0], b.out[0], b.stream); }, 0,
                     also_read(-unread));
}
Step make_step(const StepSource& source, const SliceBackward& op) {
  kernels::CopyChannelsArgs args = copy_of(source.rows(source.in(0)), 0, source.rows(source.out(0)),
                                           op.forward.first, op.forward.channels);
  args.zero_rest = true;
  return source.step([=](const Bound& b) { launch_copy(args, b.in[0], b.out[0], b.stream); });
}

}  // namespace residuum::cuda
