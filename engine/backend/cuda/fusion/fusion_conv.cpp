#include "engine/backend/cuda/fusion/fusion_conv.h"

#include <algorithm>

#include "engine/backend/cuda/fusion/fusion.h"
#include "engine/core/overloaded.h"
#include "kernels/conv_backward_filter/tiles.h"

namespace residuum::cuda {
namespace {

using kernels::ConvProblem;

// Names of conv_fusion_kinds().
constexpr const char *kSource = "conv_source", *kSourceGradient = "conv_source_gradient",
                     *kFilterGradient = "conv_filter_gradient", *kSourceConcat = "conv_source_concat",
                     *kFilterLayers = "conv_filter_layers", *kBias = "conv_bias",
                     *kLinearBias = "linear_bias", *kApply = "conv_apply", *kResidual = "conv_residual",
                     *kStatistics = "conv_statistics", *kGradientSums = "conv_gradient_sums",
                     *kBiasGradient = "conv_bias_gradient";

template <typename Op>
bool is(const Node* node) {
  return node != nullptr && std::holds_alternative<Op>(node->op);
}

/// Whether backward-data of `problem` can read the two inputs of `concat` where they are.
bool is_concat_of(const Graph& graph, const Node& concat, const ConvProblem& problem) {
  return concat.inputs.size() == 2 && concat.inputs[0] != concat.inputs[1] && conv_can_concat(problem) &&
         Nhwc::of(graph.desc(concat.inputs[1]).shape).c == problem.shape.c;
}

/// Builds the parts of one run.
class Parser {
 public:
  Parser(const Matching& m, NodeId first, size_t limit)
      : m_(m), first_(first), cursor_(m.graph, first, limit) {}

  ConvParts run() {
    take_source();
    p_.conv = cursor_.take<Conv, Linear, ConvBackwardData, LinearBackwardData, ConvBackwardFilter,
                           LinearBackwardFilter, Gram>();
    if (p_.conv == nullptr || !source_fits()) return {};
    if (m_.allows(is<Linear>(p_.conv) ? kLinearBias : kBias) && !is_filter(p_.conv->op))
      p_.bias = after<Bias>(0);
    if (is<Conv>(p_.conv)) take_forward_result();
    if (is<ConvBackwardData>(p_.conv)) take_gradient_result();
    if (is<ConvBackwardFilter>(p_.conv)) take_bias_gradient();
    p_.length = static_cast<size_t>(cursor_.next() - first_);
    return p_;
  }

 private:
  void take_source() {
    p_.gradient = cursor_.take<BatchNormBackwardApply>();
    p_.apply = cursor_.take<BatchNormApply>();
    if (p_.apply != nullptr) {
      p_.shortcut = cursor_.take<BatchNormApply>();
      p_.join = cursor_.take<Add>();
      p_.relu = take_relu();
    }
    p_.concat = cursor_.take<Concat>();
  }
  const Node* take_relu() {
    return cursor_.peek<ReluMask>() != nullptr ? cursor_.take<ReluMask>() : cursor_.take_relu();
  }

  /// Each node of the source leads to the next and on to the convolution.
  bool source_fits() const {
    if (p_.gradient == nullptr && p_.apply == nullptr && p_.concat == nullptr) return true;
    const std::optional<ConvProblem> problem = conv_problem(m_.graph, *p_.conv);
    if (!problem) return false;
    if (p_.concat != nullptr) return p_.gradient == nullptr && concat_fits(*problem);
    if (is<Conv>(p_.conv)) return p_.gradient == nullptr && m_.allows(kSource) && forward_fits(*problem);
    if (is<Gram>(p_.conv)) return p_.gradient == nullptr && m_.allows(kSource) && chain_feeds(p_.conv, 0);
    if (!m_.allows(kSourceGradient)) return false;
    if (is<ConvBackwardData>(p_.conv))
      return p_.apply == nullptr && conv_can_form(*problem) && gradient_fits(*problem);
    if (!is<ConvBackwardFilter>(p_.conv)) return false;
    const bool d_dst =
        p_.gradient == nullptr || (m_.allows(kFilterGradient) && feeds(p_.gradient, p_.conv, 0));
    return d_dst && (p_.apply == nullptr || chain_feeds(p_.conv, 1));
  }
  /// Whether a batch norm, with or without ReLU, is all that forms input `input` of `reader`.
  bool chain_feeds(const Node* reader, size_t input) const {
    if (p_.shortcut != nullptr || p_.join != nullptr || is<ReluMask>(p_.relu)) return false;
    if (p_.relu != nullptr && !feeds(p_.apply, p_.relu, 0)) return false;
    return feeds(p_.relu != nullptr ? p_.relu : p_.apply, reader, input);
  }
  bool concat_fits(const ConvProblem& problem) const {
    return m_.allows(kSourceConcat) && is<ConvBackwardData>(p_.conv) && feeds(p_.concat, p_.conv, 0) &&
           is_concat_of(m_.graph, *p_.concat, problem) && (p_.apply == nullptr || chain_feeds(p_.concat, 1));
  }

  bool forward_fits(const ConvProblem& problem) const {
    if (!conv_can_form(problem)) return false;
    const Node* last = p_.apply;
    if (p_.join != nullptr) {
      if (!joins(p_.apply) || (p_.shortcut != nullptr && !joins(p_.shortcut))) return false;
      last = p_.join;
    } else if (p_.shortcut != nullptr) {
      return false;
    }
    if (p_.relu != nullptr) {
      if (!feeds(last, p_.relu, 0)) return false;
      last = p_.relu;
    }
    if (p_.conv->inputs[0] != last->outputs[0]) return false;
    const NodeId conv = cursor_.next() - 1;
    const bool stored = m_.escapes(last->outputs[0], conv, conv + 1, false);
    const bool masked = is<ReluMask>(last) && m_.escapes(last->outputs[1], conv, conv, false);
    return (!stored && !masked) || conv_can_store(problem, masked);
  }
  /// The gradient may have other readers where the kernel can store it for them.
  bool gradient_fits(const ConvProblem& problem) const {
    const ValueId value = p_.gradient->outputs[0];
    const NodeId conv = cursor_.next() - 1;
    return p_.conv->inputs[0] == value &&
           (!m_.escapes(value, conv, conv + 1, false) || conv_can_store(problem, false));
  }
  bool joins(const Node* side) const {
    const ValueId value = side->outputs[0];
    return (p_.join->inputs[0] == value) != (p_.join->inputs[1] == value) && m_.only(value, id_of(p_.join));
  }
  /// Whether `reader` reads `node`'s result as its input `input`, and nobody else does.
  bool feeds(const Node* node, const Node* reader, size_t input) const {
    const ValueId value = node->outputs[0];
    return reader->inputs[input] == value && m_.only(value, id_of(reader));
  }
  NodeId id_of(const Node* node) const { return static_cast<NodeId>(node - m_.graph.nodes.data()); }

  /// Takes the next node if it is an Op whose input `input` is the result so far, which nobody else reads.
  template <typename... Op>
  const Node* after(size_t input) {
    const Node* node = cursor_.peek<Op...>();
    if (node == nullptr || node->inputs[input] != p_.result() || !m_.only(p_.result(), cursor_.next()))
      return nullptr;
    return cursor_.take<Op...>();
  }
  const Node* take_addend() {
    if (!m_.allows(kResidual)) return nullptr;
    const Node* add = after<Add>(0);
    return add != nullptr ? add : after<Add>(1);
  }

  /// A batch norm of statistics that are known before, what is added to it, and ReLU.
  void take_forward_result() {
    if (m_.allows(kApply)) p_.result_apply = after<BatchNormApply>(0);
    if (p_.result_apply != nullptr) take_applied_addend();
    if (p_.addend == nullptr) p_.addend = take_addend();
    if (m_.allows(kApply)) take_result_relu();
    if (p_.result_apply != nullptr || p_.result_relu != nullptr) return;
    const Node* stats = cursor_.peek<BatchNormStats>();
    if (stats != nullptr && stats->inputs[0] == p_.result() && can_sum(kStatistics))
      p_.stats = cursor_.take<BatchNormStats>();
  }
  /// batch_norm_apply, add: the shortcut's batch norm.
  void take_applied_addend() {
    if (!m_.allows(kResidual)) return;
    const NodeId before = cursor_.next();
    p_.addend_apply = cursor_.take<BatchNormApply>();
    const Node* add = p_.addend_apply == nullptr ? nullptr : cursor_.peek<Add>();
    const bool joined = add != nullptr && add->inputs[0] != add->inputs[1] &&
                        (feeds(p_.addend_apply, add, 0) || feeds(p_.addend_apply, add, 1));
    if (joined) p_.addend = take_addend();
    if (p_.addend != nullptr) return;
    p_.addend_apply = nullptr;
    cursor_.go_back_to(before);
  }
  void take_result_relu() {
    if (const Node* next = cursor_.peek<Activation>();
        next != nullptr && std::get<Activation>(next->op).kind != ActivationKind::kRelu)
      return;
    const ConvShape shape = conv_problem(m_.graph, *p_.conv).value_or(ConvProblem{}).shape;
    if (cursor_.peek<ReluMask>() != nullptr && !has_whole_mask_bytes(shape.k, shape.groups)) return;
    p_.result_relu = after<Activation, ReluMask>(0);
  }
  /// Whether no byte of a mask of `channels` belongs to two groups, which have blocks of their own.
  static bool has_whole_mask_bytes(int64_t channels, int64_t groups) {
    return groups == 1 || channels / groups % 8 == 0;
  }
  bool can_sum(const char* kind) const {
    const std::optional<ConvProblem> problem = conv_problem(m_.graph, *p_.conv);
    return m_.allows(kind) && problem;
  }

  void take_gradient_result() {
    p_.addend = take_addend();
    if (!can_sum(kGradientSums)) return;
    const NodeId before_gate = cursor_.next();
    if (!take_repeated_gate()) {
      p_.gate_apply = p_.gate_relu = nullptr;
      cursor_.go_back_to(before_gate);
      if (gate_fits()) p_.gate = after<ActivationBackward, ReluMaskBackward>(0);
    }
    take_reduces();
  }
  /// d_dst must be multiplied as it is stored: not where it is rounded first.
  void take_bias_gradient() {
    if (!m_.allows(kBiasGradient)) return;
    const Node* next = cursor_.peek<BiasBackward>();
    if (next == nullptr || next->inputs[0] != p_.conv->inputs[0] || p_.gradient != nullptr) return;
    const std::optional<ConvProblem> problem = conv_problem(m_.graph, *p_.conv);
    if (problem && element_of(m_.graph.desc(next->inputs[0]).dtype) == problem->type)
      p_.bias_backward = cursor_.take<BiasBackward>();
  }
  /// Whether the kernel has the gate that is next: ReLU's, and no mask of which groups share bytes.
  bool gate_fits() const {
    if (const Node* next = cursor_.peek<ActivationBackward>())
      return std::get<ActivationBackward>(next->op).kind == ActivationKind::kRelu;
    const ConvShape& shape = std::get<ConvBackwardData>(p_.conv->op).shape;
    return has_whole_mask_bytes(shape.c, shape.groups);
  }
  /// batch_norm_apply, relu, relu_backward, and the reduction over the same batch norm: the gate follows from
  /// what that reads.
  bool take_repeated_gate() {
    p_.gate_apply = cursor_.take<BatchNormApply>();
    p_.gate_relu = p_.gate_apply == nullptr ? nullptr : cursor_.take_relu();
    if (p_.gate_relu == nullptr || !feeds(p_.gate_apply, p_.gate_relu, 0)) return false;
    const Node* gate = cursor_.peek<ActivationBackward>();
    if (gate == nullptr || !feeds(p_.gate_relu, gate, 1) || after<ActivationBackward>(0) == nullptr)
      return false;
    const Node* reduce = cursor_.peek<BatchNormBackwardReduce>();
    if (reduce == nullptr || reduce->inputs[0] != gate->outputs[0] ||
        normalised_by(m_.graph, p_.gate_relu->outputs[0], *reduce) != p_.gate_apply)
      return false;
    p_.gate = gate;
    return true;
  }
  /// Whether the result has a reader that needs it in memory.
  bool is_read_elsewhere() const {
    if (m_.readers == nullptr || m_.readers->is_output(p_.result())) return true;
    const std::vector<NodeId>& readers = m_.readers->of(p_.result());
    return std::any_of(readers.begin(), readers.end(),
                       [&](NodeId id) { return !is<BatchNormBackwardReduce>(&m_.graph.node(id)); });
  }
  void take_reduces() {
    if (!is_read_elsewhere()) return;
    for (const Node*& reduce : p_.reduces) {
      const Node* next = cursor_.peek<BatchNormBackwardReduce>();
      if (next == nullptr || next->inputs[0] != p_.result()) return;
      reduce = cursor_.take<BatchNormBackwardReduce>();
    }
  }

  const Matching& m_;
  NodeId first_;
  NodeCursor cursor_;
  ConvParts p_;
};

ConvShape conv_shape(const Conv& op, const Shape& src) {
  const auto [n, h, w, c] = Nhwc::of(src);
  return {n, h, w, c, op.out_channels, op.kernel_h, op.kernel_w, op.stride, op.pad, op.groups};
}

/// The Gram matrix of a tensor is the weight gradient of a 1x1 convolution both of whose operands it is.
/// Products of f32 are never rounded to TF32: differences of their sums are taken.
std::optional<ConvProblem> gram_product(const TensorDesc& src) {
  const std::optional<kernels::Element> type = element_of(src.dtype);
  if (!type) return std::nullopt;
  const auto [n, h, w, c] = Nhwc::of(src.shape);
  return ConvProblem{{n, h, w, c, c, 1, 1, 1, 0, 1}, *type, kernels::F32Math::kTf32x3};
}

/// Whether one launch can compute both of two runs: operands multiplied as they are stored, or formed in the
/// same way, and no bias.
bool equal_filters(const Graph& graph, const ConvParts& one, const ConvParts& other) {
  if (!is<ConvBackwardFilter>(other.conv)) return false;
  const auto same = [&](const Node* a, const Node* b) { return (a == nullptr) == (b == nullptr); };
  const bool forms =
      same(one.gradient, other.gradient) && same(one.apply, other.apply) && same(one.relu, other.relu);
  const auto& [a, b] = std::pair(one.conv, other.conv);
  return forms && one.bias_backward == nullptr && other.bias_backward == nullptr &&
         std::get<ConvBackwardFilter>(a->op).shape == std::get<ConvBackwardFilter>(b->op).shape &&
         graph.desc(a->inputs[0]) == graph.desc(b->inputs[0]) &&
         graph.desc(a->inputs[1]) == graph.desc(b->inputs[1]);
}

/// A linear layer between a batch `src` (its extents behind the first are the features) and `features`
/// results.
ConvShape linear_shape(const TensorDesc& src, int64_t features) {
  const int64_t n = src.shape[0];
  return kernels::linear_as_conv(n, n == 0 ? 0 : src.elements() / n, features);
}

}  // namespace

bool is_filter(const Op& op) {
  return std::holds_alternative<ConvBackwardFilter>(op) || std::holds_alternative<LinearBackwardFilter>(op) ||
         std::holds_alternative<Gram>(op);
}

ValueId ConvParts::formed() const {
  const Node* last = relu != nullptr ? relu : join != nullptr ? join : apply;
  return last == nullptr ? kNone : last->outputs[0];
}

ValueId ConvParts::before_addend() const {
  for (const Node* node : {result_apply, bias}) {
    if (node != nullptr) return node->outputs[0];
  }
  return conv->outputs[0];
}

ValueId ConvParts::result() const {
  for (const Node* node : {gate, result_relu, addend}) {
    if (node != nullptr) return node->outputs[0];
  }
  return before_addend();
}

std::vector<ConvParts> conv_parts(const Matching& matching, NodeId first, size_t limit) {
  std::vector<ConvParts> run;
  size_t length = 0;
  const auto take = [&](const ConvParts& parts) {
    run.push_back(parts);
    length += parts.length;
  };
  const auto next = [&] {
    return Parser(matching, first + static_cast<NodeId>(length), limit - length).run();
  };
  if (const ConvParts parts = next(); parts.length > 0) take(parts);
  if (run.empty() || !is<ConvBackwardFilter>(run[0].conv)) return run;
  const NodeId filter = static_cast<NodeId>(run[0].conv - matching.graph.nodes.data());
  const auto most = static_cast<size_t>(filter_layers(matching.graph, filter, matching.off));
  while (run.size() < most) {
    const ConvParts parts = next();
    if (parts.length == 0 || !equal_filters(matching.graph, run[0], parts)) break;
    take(parts);
  }
  return run;
}

size_t length_of(const std::vector<ConvParts>& run) {
  size_t length = 0;
  for (const ConvParts& parts : run) length += parts.length;
  return length;
}

std::optional<kernels::Element> element_of(DType type) {
  switch (type) {
    case DType::kF32:
      return kernels::Element::kF32;
    case DType::kBF16:
      return kernels::Element::kBF16;
    case DType::kF16:
      return kernels::Element::kF16;
    default:
      return std::nullopt;
  }
}

std::optional<ConvProblem> conv_problem(const Graph& graph, const Node& node, kernels::F32Math math) {
  const auto in = [&](size_t i) { return graph.desc(node.inputs[i]); };
  const auto problem = [&](const ConvShape& shape, DType type) -> std::optional<ConvProblem> {
    const std::optional<kernels::Element> known = element_of(type);
    if (!known) return std::nullopt;
    return ConvProblem{shape, *known, math};
  };
  return std::visit(
      overloaded{
          [&](const Conv& op) { return problem(conv_shape(op, in(0).shape), in(0).dtype); },
          [&](const Linear& op) { return problem(linear_shape(in(0), op.out_features), in(0).dtype); },
          [&](const ConvBackwardData& op) { return problem(op.shape, graph.desc(node.outputs[0]).dtype); },
          [&](const LinearBackwardData& op) {
            return problem(linear_shape(op.src, in(0).shape[1]), op.src.dtype);
          },
          [&](const ConvBackwardFilter& op) { return problem(op.shape, in(1).dtype); },
          [&](const Gram&) { return gram_product(in(0)); },
          [&](const LinearBackwardFilter&) {
            return problem(linear_shape(in(1), in(0).shape[1]), in(1).dtype);
          },
          [](const auto&) -> std::optional<ConvProblem> { return std::nullopt; },
      },
      node.op);
}

namespace {

/// Whether backward-filter rather reads d_dst as backward-data stores it: with a larger kernel its blocks
/// would form the same pixels many times. `d_dst` is made by a batch_norm_backward_apply, for these two
/// alone.
bool reads_stored_gradient(const Graph& graph, ValueId d_dst, const ConvProblem& problem) {
  if (problem.shape.r * problem.shape.s == 1 || !conv_can_store(problem, false)) return false;
  bool by_data = false;
  for (const Node& node : graph.nodes) {
    if (std::find(node.inputs.begin(), node.inputs.end(), d_dst) == node.inputs.end()) continue;
    if (!is<ConvBackwardData>(&node) && !is<ConvBackwardFilter>(&node)) return false;
    by_data = by_data || is<ConvBackwardData>(&node);
  }
  return by_data;
}

/// Whether a backward-data pass alone reads the result of `concat`, and can read its inputs in its place.
bool is_read_side_by_side(const Graph& graph, const Node& concat) {
  const Node* reader = nullptr;
  for (const Node& node : graph.nodes) {
    if (std::find(node.inputs.begin(), node.inputs.end(), concat.outputs[0]) == node.inputs.end()) continue;
    if (reader != nullptr || !is<ConvBackwardData>(&node)) return false;
    reader = &node;
  }
  if (reader == nullptr) return false;
  const std::optional<ConvProblem> problem = conv_problem(graph, *reader);
  return problem && is_concat_of(graph, concat, *problem);
}

}  // namespace

bool absorbs(const Graph& graph, NodeId reader, size_t input, const std::set<std::string>& off) {
  const Node& node = graph.node(reader);
  const NodeId producer = graph.value(node.inputs[input]).producer;
  if (producer == kNone) return false;
  const bool gradient = std::holds_alternative<BatchNormBackwardApply>(graph.node(producer).op);
  if (std::holds_alternative<ActivationBackward>(node.op)) return input == 1 && !gradient;
  if (std::holds_alternative<Gram>(node.op)) return !gradient && !off.contains(kSource);
  if (std::holds_alternative<Concat>(node.op))
    return input == 1 && !gradient && !off.contains(kSourceConcat) && is_read_side_by_side(graph, node);
  const std::optional<ConvProblem> problem = conv_problem(graph, node);
  if (!problem) return false;
  if (std::holds_alternative<Conv>(node.op))
    return input == 0 && !gradient && !off.contains(kSource) && conv_can_form(*problem);
  if (off.contains(kSourceGradient)) return false;
  if (std::holds_alternative<ConvBackwardData>(node.op))
    return input == 0 && gradient && conv_can_form(*problem);
  if (!std::holds_alternative<ConvBackwardFilter>(node.op) || gradient != (input == 0)) return false;
  return !gradient ||
         (!off.contains(kFilterGradient) && !reads_stored_gradient(graph, node.inputs[0], *problem));
}

int filter_layers(const Graph& graph, NodeId filter, const std::set<std::string>& off) {
  const Node& node = graph.node(filter);
  const std::optional<ConvProblem> problem = conv_problem(graph, node);
  if (off.contains(kFilterLayers) || !problem || problem->type == kernels::Element::kF32) return 1;
  return graph.desc(node.inputs[0]).dtype == graph.desc(node.inputs[1]).dtype
             ? kernels::filter_layers(*problem)
             : 1;
}

std::vector<FusionKind> conv_fusion_kinds() {
  return {
      {kSource, "convolutions normalise, join and rectify the tensor they read"},
      {kSourceGradient, "backward convolutions form batch norm's gradient, and the activations they read"},
      {kFilterGradient,
       "backward convolutions form batch norm's gradient once for the weights, once for the data"},
      {kFilterLayers, "one launch makes the weight gradients of several equal layers"},
      {kSourceConcat, "backward convolutions read two tensors as one"},
      {kBias, "convolutions add their bias"},
      {kLinearBias, "linear layers add their bias"},
      {kApply, "convolutions normalise their result by known statistics, and rectify it"},
      {kResidual, "convolutions add the residual branch or gradient to their result"},
      {kStatistics, "convolutions make the statistics of their result"},
      {kGradientSums, "backward convolutions gate their result and make batch norm's sums of it"},
      {kBiasGradient, "backward convolutions sum the gradient of a bias"}};
}

}  // namespace residuum::cuda
