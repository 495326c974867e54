#include "engine/graph/autodiff.h"

#include <algorithm>

#include "engine/core/check.h"
#include "engine/core/overloaded.h"

namespace residuum {
namespace {

ConvShape conv_shape(const Conv& op, const Shape& src) {
  const auto [n, h, w, c] = Nhwc::of(src);
  return {n, h, w, c, op.out_channels, op.kernel_h, op.kernel_w, op.stride, op.pad, op.groups};
}

template <typename Pool>
PoolShape pool_shape(const Pool& op, const Shape& src) {
  const auto [n, h, w, c] = Nhwc::of(src);
  return {n, h, w, c, op.window, op.stride, op.pad};
}

class Differentiator {
 public:
  Differentiator(Graph graph, const std::vector<ValueId>& wanted, float loss_scale)
      : graph_(std::move(graph)),
        loss_scale_(loss_scale),
        needed_(graph_.values.size()),
        parts_(graph_.values.size()) {
    for (ValueId id : wanted) need(id);
    for (size_t id = 0; id < graph_.values.size(); ++id) {
      if (graph_.values[id].kind == ValueKind::kParameter) need(static_cast<ValueId>(id));
    }
    for (const Node& node : graph_.nodes) {
      const bool any =
          std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) { return needs(id); });
      for (ValueId id : node.outputs) needed_[static_cast<size_t>(id)] = any || needs(id);
    }
  }

  Graph run(const std::vector<ValueId>& wanted) {
    const ValueId loss = graph_.output("loss");
    for (NodeId id = graph_.value(loss).producer; id >= 0; --id) {
      current_ = graph_.node(id);  // a copy: appending nodes moves the originals
      if (const auto* loss_op = std::get_if<SoftmaxCrossEntropy>(&current_.op)) {
        loss_gradient(*loss_op);
      } else if (const ValueId d_dst = gradient(current_.outputs[0]); d_dst != kNone) {
        std::visit([&](const auto& op) { rule(op, d_dst); }, current_.op);
      }
    }
    for (size_t id = 0; id < parts_.size(); ++id) {
      const auto value = static_cast<ValueId>(id);
      const bool keep = graph_.value(value).kind == ValueKind::kParameter ||
                        std::find(wanted.begin(), wanted.end(), value) != wanted.end();
      if (!keep) continue;
      current_ = Node{graph_.value(value).name, Add{}, {}, {},
                      Phase::kBackward,         kNone};  // owns the sum of several uses
      if (const ValueId d = gradient(value); d != kNone) graph_.gradients[value] = d;
    }
    return std::move(graph_);
  }

 private:
  void need(ValueId id) { needed_.at(static_cast<size_t>(id)) = true; }
  bool needs(ValueId id) const { return needed_[static_cast<size_t>(id)]; }
  ValueId in(size_t i) const { return current_.inputs[i]; }
  const Shape& in_shape(size_t i) const { return graph_.desc(in(i)).shape; }

  std::vector<ValueId> emit(Op op, std::vector<ValueId> inputs) {
    return graph_.add_node(current_.name, std::move(op), std::move(inputs), Phase::kBackward, current_.block);
  }
  /// The whole gradient of a value: its parts summed, in the order in which they came; kNone when it has
  /// none.
  ValueId gradient(ValueId id) {
    std::vector<ValueId>& parts = parts_[static_cast<size_t>(id)];
    while (parts.size() > 1) {
      const ValueId sum = emit(Add{}, {parts[0], parts[1]})[0];
      parts.erase(parts.begin());
      parts[0] = sum;
    }
    return parts.empty() ? kNone : parts[0];
  }
  void give(ValueId id, ValueId part) {
    if (needs(id)) parts_[static_cast<size_t>(id)].push_back(part);
  }
  /// Emits `op` for the gradient of input `i` when that input needs one.
  void give_node(size_t i, Op op, std::vector<ValueId> inputs) {
    if (needs(in(i))) give(in(i), emit(std::move(op), std::move(inputs))[0]);
  }

  void loss_gradient(const SoftmaxCrossEntropy& op) {
    give_node(0, SoftmaxCrossEntropyBackward{op.smoothing, loss_scale_}, {in(0), in(1)});
  }

  void rule(const Conv& op, ValueId d) {
    const ConvShape shape = conv_shape(op, in_shape(0));
    give_node(0, ConvBackwardData{shape}, {d, in(1)});
    give_node(1, ConvBackwardFilter{shape}, {d, in(0)});
  }
  void rule(const Bias&, ValueId d) {
    give_node(1, BiasBackward{}, {d});
    give(in(0), d);
  }
  void rule(const BatchNormApply& op, ValueId d) {
    const std::vector<ValueId> sums = emit(BatchNormBackwardReduce{op.epsilon}, {d, in(0), in(1), in(2)});
    give(in(3), sums[0]);
    give(in(4), sums[1]);
    if (graph_.value(in(1)).persistent()) {
      give_node(0, BatchNormFrozenBackward{op.epsilon}, {d, in(1), in(2), in(3)});
    } else {
      give_node(0, BatchNormBackwardApply{op.epsilon}, {d, in(0), in(1), in(2), in(3), sums[0], sums[1]});
    }
  }
  void rule(const Activation& op, ValueId d) {
    give_node(0, ActivationBackward{op.kind}, {d, current_.outputs[0]});
  }
  void rule(const ReluMask&, ValueId d) { give_node(0, ReluMaskBackward{}, {d, current_.outputs[1]}); }
  void rule(const Add&, ValueId d) {
    give(in(0), d);
    give(in(1), d);
  }
  void rule(const Multiply&, ValueId d) {
    give_node(0, Multiply{}, {d, in(1)});
    give_node(1, Multiply{}, {d, in(0)});
  }
  void rule(const Scale& op, ValueId d) { give_node(0, Scale{op.factor, 0}, {d}); }
  void rule(const ShortcutA& op, ValueId d) { give_node(0, ShortcutABackward{op, in_shape(0)}, {d}); }
  void rule(const Concat&, ValueId d) {
    int64_t first = 0;
    for (size_t i = 0; i < current_.inputs.size(); ++i) {
      const int64_t channels = Nhwc::of(in_shape(i)).c;
      give_node(i, Slice{first, channels}, {d});
      first += channels;
    }
  }
  void rule(const Slice& op, ValueId d) { give_node(0, SliceBackward{op, in_shape(0)}, {d}); }
  void rule(const MaxPool& op, ValueId d) {
    give_node(0, MaxPoolBackward{pool_shape(op, in_shape(0))}, {d, current_.outputs[1]});
  }
  void rule(const AvgPool& op, ValueId d) { give_node(0, AvgPoolBackward{pool_shape(op, in_shape(0))}, {d}); }
  void rule(const GlobalAvgPool&, ValueId d) { give_node(0, GlobalAvgPoolBackward{in_shape(0)}, {d}); }
  void rule(const Linear&, ValueId d) {
    give_node(1, LinearBackwardFilter{}, {d, in(0)});
    give_node(0, LinearBackwardData{graph_.desc(in(0))}, {d, in(1)});
  }
  void rule(const Dropout& op, ValueId d) { give_node(0, op, {d}); }
  void rule(const BlockGate& op, ValueId d) { give_node(0, op, {d}); }
  /// Normalize and BatchNormStats end the chain: images need no gradient, and the statistics' part is in
  /// BatchNormApply's.
  template <typename Other>
  void rule(const Other&, ValueId) {}

  Graph graph_;
  float loss_scale_;
  std::vector<bool> needed_;
  std::vector<std::vector<ValueId>> parts_;
  Node current_;  ///< whose gradient rule is at work
};

}  // namespace

Graph differentiate(Graph forward, const std::vector<ValueId>& wanted, float loss_scale) {
  return Differentiator(std::move(forward), wanted, loss_scale).run(wanted);
}

}  // namespace residuum
