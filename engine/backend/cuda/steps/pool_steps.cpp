// Max, average and global average pooling.
#include <algorithm>

#include "engine/backend/cuda/steps/steps.h"

namespace residuum::cuda {
namespace {

template <typename Pool>
PoolShape shape_of(const Pool& op, const Shape& src) {
  const auto [n, h, w, c] = Nhwc::of(src);
  return {n, h, w, c, op.window, op.stride, op.pad};
}

}  // namespace

size_t argmax_scratch_bytes(const Graph& graph, const Node& pool) {
  const ValueId argmax = pool.outputs[1];
  const auto reads = [&](const Node& node) {
    return std::find(node.inputs.begin(), node.inputs.end(), argmax) != node.inputs.end();
  };
  const bool used = std::any_of(graph.nodes.begin(), graph.nodes.end(), reads) ||
                    std::any_of(graph.outputs.begin(), graph.outputs.end(),
                                [&](const auto& o) { return o.second == argmax; });
  return used ? 0 : graph.desc(argmax).bytes();
}

uint8_t* pool_argmax(const Bound& bound) {
  return as<uint8_t>(bound.out[1] != nullptr ? bound.out[1] : bound.scratch);
}

Cost max_pool_cost(const Graph& graph, const Node& pool, const PoolShape& shape) {
  return also_written(static_cast<int64_t>(argmax_scratch_bytes(graph, pool))) +
         unread_src(shape, size_of(graph.desc(pool.outputs[0]).dtype));
}

Step make_step(const StepSource& source, const MaxPool& op) {
  const PoolShape shape = shape_of(op, source.in(0).shape);
  const kernels::Element type = source.element(source.in(0));
  return source.step(
      [=](const Bound& b) {
        kernels::max_pool(shape, type, b.in[0], nullptr, b.out[0], pool_argmax(b), b.stream);
      },
      argmax_scratch_bytes(source.graph, source.node), max_pool_cost(source.graph, source.node, shape));
}
Step make_step(const StepSource& source, const MaxPoolBackward& op) {
  const kernels::Element type = source.element(source.in(0));
  return source.step([=](const Bound& b) {
    kernels::max_pool_backward(op.shape, type, b.in[0], as<uint8_t>(b.in[1]), b.out[0], b.stream);
  });
}

Step make_step(const StepSource& source, const AvgPool& op) {
  const PoolShape shape = shape_of(op, source.in(0).shape);
  const kernels::Element type = source.element(source.in(0));
  return source.step([=](const Bound& b) { kernels::avg_pool(shape, type, b.in[0], b.out[0], b.stream); }, 0,
                     unread_src(shape, kernels::size_of(type)));
}
Step make_step(const StepSource& source, const AvgPoolBackward& op) {
  const kernels::Element type = source.element(source.in(0));
  return source.step(
      [=](const Bound& b) { kernels::avg_pool_backward(op.shape, type, b.in[0], b.out[0], b.stream); });
}

Step make_step(const StepSource& source, const GlobalAvgPool&) {
  const auto [n, h, w, c] = Nhwc::of(source.in(0).shape);
  const kernels::Element type = source.element(source.in(0));
  return source.step([n = n, pixels = h * w, c = c, type](const Bound& b) {
    kernels::global_avg_pool(n, pixels, c, type, b.in[0], b.out[0], b.stream);
  });
}
Step make_step(const StepSource& source, const GlobalAvgPoolBackward& op) {
  const auto [n, h, w, c] = Nhwc::of(op.src);
  const kernels::Element type = source.element(source.in(0));
  return source.step([n = n, pixels = h * w, c = c, type](const Bound& b) {
    kernels::global_avg_pool_backward(n, pixels, c, type, b.in[0], b.out[0], b.stream);
  });
}

}  // namespace residuum::cuda
