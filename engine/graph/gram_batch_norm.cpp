// The pass that takes the batch norm of a wide 1x1 convolution from sums over the convolution's input, so
// that its result has one reader and need not be kept. Every value that others read keeps its id, only its
// producer changes; that is why this can run after the optimizer was appended.
#include <algorithm>
#include <map>
#include <optional>

#include "engine/graph/passes.h"
#include "engine/graph/readers.h"

namespace residuum {
namespace {

/// The nodes around the result y = W z of one convolution.
struct Place {
  NodeId conv = kNone, stats = kNone, apply = kNone, reduce = kNone, backward_apply = kNone,
         backward_filter = kNone;
  NodeId backward_data = kNone;  ///< kNone: nobody wants the gradient of z
};

/// Output channels for each input channel from which on not storing y pays for the larger products.
constexpr int64_t kLeastExpansion = 2;

class Finder {
 public:
  explicit Finder(const Graph& graph) : graph_(graph), readers_(graph) {}

  std::vector<Place> places() const {
    std::vector<Place> found;
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      if (const auto place = place_of(static_cast<NodeId>(n))) found.push_back(*place);
    }
    return found;
  }

 private:
  template <typename T>
  bool is(NodeId id) const {
    return std::holds_alternative<T>(graph_.node(id).op);
  }
  const std::vector<ValueId>& in(NodeId id) const { return graph_.node(id).inputs; }

  bool is_wide(NodeId id) const {
    const auto* op = std::get_if<Conv>(&graph_.node(id).op);
    return op != nullptr && op->kernel_h == 1 && op->kernel_w == 1 && op->stride == 1 && op->pad == 0 &&
           op->groups == 1 && graph_.node(id).phase == Phase::kForward &&
           op->out_channels >= kLeastExpansion * Nhwc::of(graph_.desc(in(id)[0]).shape).c;
  }

  /// The one reader of `value` with operation T whose input `input` it is; kNone when there is none or are
  /// several.
  template <typename T>
  NodeId reader(ValueId value, size_t input) const {
    NodeId found = kNone;
    for (const NodeId id : readers_.of(value)) {
      if (!is<T>(id) || in(id)[input] != value) continue;
      if (found != kNone) return kNone;
      found = id;
    }
    return found;
  }

  std::optional<Place> place_of(NodeId conv) const {
    if (!is_wide(conv)) return std::nullopt;
    const ValueId y = graph_.node(conv).outputs[0];
    const Place place{conv, reader<BatchNormStats>(y, 0), reader<BatchNormApply>(y, 0),
                      reader<BatchNormBackwardReduce>(y, 1), reader<BatchNormBackwardApply>(y, 1)};
    const bool whole = place.stats != kNone && place.apply != kNone && place.reduce != kNone &&
                       place.backward_apply != kNone;
    if (!whole || readers_.of(y).size() != 4 || readers_.is_output(y)) return std::nullopt;
    if (!is_one_norm(place)) return std::nullopt;
    return with_gradients(place);
  }

  /// Whether the four nodes use one set of statistics, y's own, and one incoming gradient.
  bool is_one_norm(const Place& place) const {
    const std::vector<ValueId>& statistics = graph_.node(place.stats).outputs;
    const auto uses = [&](NodeId id, size_t first) {
      return in(id)[first] == statistics[0] && in(id)[first + 1] == statistics[1];
    };
    return uses(place.apply, 1) && uses(place.reduce, 2) && uses(place.backward_apply, 2) &&
           in(place.reduce)[0] == in(place.backward_apply)[0];
  }

  /// Adds the convolution's own backward nodes, which must be all that reads the gradient of y.
  std::optional<Place> with_gradients(Place place) const {
    const ValueId d_y = graph_.node(place.backward_apply).outputs[0];
    place.backward_filter = reader<ConvBackwardFilter>(d_y, 0);
    place.backward_data = reader<ConvBackwardData>(d_y, 0);
    const size_t known = place.backward_data == kNone ? 1 : 2;
    const bool wanted =
        readers_.is_output(d_y) || std::any_of(graph_.gradients.begin(), graph_.gradients.end(),
                                               [&](const auto& gradient) { return gradient.second == d_y; });
    if (place.backward_filter == kNone || wanted || readers_.of(d_y).size() != known) return std::nullopt;
    return place;
  }

  const Graph& graph_;
  Readers readers_;
};

/// Writes the node list anew with the nodes of each place replaced.
class Rewriter {
 public:
  Rewriter(Graph graph, const std::vector<Place>& places)
      : graph_(std::move(graph)), originals_(std::move(graph_.nodes)), parts_(places.size()) {
    graph_.nodes.clear();
    for (size_t p = 0; p < places.size(); ++p) {
      const Place& place = places[p];
      for (const NodeId id : {place.conv, place.stats, place.reduce, place.backward_apply,
                              place.backward_filter, place.backward_data}) {
        if (id != kNone) place_of_[id] = p;
      }
      parts_[p] = parts_of(place);
    }
  }

  Graph run() {
    for (size_t n = 0; n < originals_.size(); ++n) {
      current_ = &originals_[n];
      const auto found = place_of_.find(static_cast<NodeId>(n));
      if (found == place_of_.end()) {
        graph_.nodes.push_back(*current_);
      } else {
        std::visit([&](const auto& op) { replace(op, parts_[found->second]); }, current_->op);
      }
    }
    graph_.set_nodes(std::move(graph_.nodes));
    return std::move(graph_);
  }

 private:
  /// What the replacements of one place share.
  struct Parts {
    ValueId z = kNone, weight = kNone, sum = kNone, weighted = kNone, product = kNone;
    ValueId d_dst = kNone, mean = kNone, variance = kNone, gamma = kNone, d_gamma = kNone, d_beta = kNone;
    int64_t pixels = 0, channels = 0;
    float epsilon = 0;
    const Node* stats = nullptr;
  };

  Parts parts_of(const Place& place) const {
    const auto node = [&](NodeId id) -> const Node& { return originals_[static_cast<size_t>(id)]; };
    const Node &conv = node(place.conv), &norm = node(place.backward_apply);
    const TensorDesc& src = graph_.desc(conv.inputs[0]);
    Parts parts{.z = conv.inputs[0], .weight = conv.inputs[1]};
    parts.d_dst = norm.inputs[0];
    parts.mean = norm.inputs[2], parts.variance = norm.inputs[3], parts.gamma = norm.inputs[4];
    parts.d_gamma = node(place.reduce).outputs[0], parts.d_beta = node(place.reduce).outputs[1];
    parts.channels = Nhwc::of(src.shape).c;
    parts.pixels = src.elements() / parts.channels;
    parts.epsilon = std::get<BatchNormBackwardApply>(norm.op).epsilon;
    parts.stats = &node(place.stats);
    return parts;
  }

  /// A node in place of the current one, with new results.
  std::vector<ValueId> add(Op op, std::vector<ValueId> inputs) {
    return graph_.add_node(current_->name, std::move(op), std::move(inputs), current_->phase,
                           current_->block);
  }
  /// A node with results that have an id.
  void make(const std::string& name, Op op, std::vector<ValueId> inputs, std::vector<ValueId> outputs) {
    graph_.nodes.push_back(
        {name, std::move(op), std::move(inputs), std::move(outputs), current_->phase, current_->block});
  }

  /// Before the convolution, so that the batch norm's coefficients are there when y is.
  void replace(const Conv&, Parts& p) {
    const std::vector<ValueId> sums = add(Gram{}, {p.z});
    p.sum = sums[1];
    p.weighted = static_cast<ValueId>(graph_.values.size());
    graph_.values.push_back({current_->name + ".weighted",
                             {DType::kF32, graph_.desc(p.weight).shape},
                             ValueKind::kTensor,
                             kNone});
    make(p.stats->name, GramStats{p.pixels}, {sums[0], p.sum, p.weight}, {p.mean, p.variance, p.weighted});
    graph_.nodes.push_back(*current_);
  }
  void replace(const BatchNormStats&, Parts&) {}
  void replace(const BatchNormBackwardReduce&, Parts& p) {
    const Shape& z = graph_.desc(p.z).shape;
    const ConvShape shape{z[0], z[1], z[2], p.channels, graph_.desc(p.mean).shape[0], 1, 1, 1, 0, 1};
    p.product = add(ConvBackwardFilter{shape}, {p.d_dst, p.z})[0];
    make(current_->name, BiasBackward{}, {p.d_dst}, {p.d_beta});
    make(current_->name, GramBackwardReduce{p.epsilon}, {p.product, p.weight, p.mean, p.variance, p.d_beta},
         {p.d_gamma});
  }
  void replace(const BatchNormBackwardApply&, Parts&) {}
  void replace(const ConvBackwardFilter&, Parts& p) {
    make(current_->name, GramBackwardFilter{p.pixels, p.epsilon},
         {p.product, p.weighted, p.sum, p.variance, p.gamma, p.d_gamma, p.d_beta}, current_->outputs);
  }
  void replace(const ConvBackwardData& op, Parts& p) {
    const std::vector<ValueId> folded = add(GramBackwardWeight{p.pixels, p.epsilon, graph_.desc(p.z).dtype},
                                            {p.weight, p.sum, p.variance, p.gamma, p.d_gamma, p.d_beta});
    const ValueId both = add(Concat{}, {p.d_dst, p.z})[0];
    ConvShape shape = op.shape;
    shape.k += shape.c;
    const ValueId d_src = add(ConvBackwardData{shape}, {both, folded[0]})[0];
    make(current_->name, Bias{}, {d_src, folded[1]}, current_->outputs);
  }
  /// Places have no other nodes.
  template <typename Other>
  void replace(const Other&, Parts&) {}

  Graph graph_;
  const std::vector<Node> originals_;
  std::vector<Parts> parts_;
  std::map<NodeId, size_t> place_of_;
  const Node* current_ = nullptr;  ///< the original node whose turn it is
};

}  // namespace

Graph gram_batch_norm(Graph graph) {
  const std::vector<Place> places = Finder(graph).places();
  if (places.empty()) return graph;
  return Rewriter(std::move(graph), places).run();
}

}  // namespace residuum
