// Convolutions and linear layers. Tensor cores multiply factors of one type: what comes as f32 beside 16-bit
// activations (master weights, the gradient of f32 logits) is first rounded to their type in the step's
// scratch.
#include "engine/backend/cuda/steps/factor.h"
#include "engine/core/check.h"
#include "kernels/conv_backward_filter/tiles.h"

namespace residuum::cuda {
namespace {

using kernels::ConvProblem;
using kernels::Element;

/// Where the vectors of a batch norm stand in a step's inputs.
struct VectorPositions {
  size_t mean = kAbsent, variance = kAbsent, gamma = kAbsent, beta = kAbsent;
  float epsilon = 0;

  kernels::BatchNormVectors bind(const Bound& b) const {
    return {as<float>(at(b.in, mean)), as<float>(at(b.in, variance)), as<float>(at(b.in, gamma)),
            as<float>(at(b.in, beta)), epsilon};
  }
};

/// Mean, variance, gamma and, where it has one, beta of a batch_norm_apply or batch_norm_backward_apply whose
/// mean is input `first`.
template <typename Op>
VectorPositions add_vectors(Operands& in, const Node* node, size_t first) {
  if (node == nullptr) return {};
  VectorPositions positions{.mean = in.add(node, first),
                            .variance = in.add(node, first + 1),
                            .gamma = in.add(node, first + 2),
                            .epsilon = std::get<Op>(node->op).epsilon};
  if constexpr (std::is_same_v<Op, BatchNormApply>) positions.beta = in.add(node, first + 3);
  return positions;
}

/// A ConvSource whose addresses come when the step is bound.
struct SourcePlan {
  kernels::Form form = kernels::Form::kStored;
  size_t a = kAbsent, b = kAbsent, d_gamma = kAbsent, d_beta = kAbsent;
  VectorPositions vectors = {}, b_vectors = {};
  bool relu = false;
  size_t dst = kAbsent, mask = kAbsent;  ///< outputs

  kernels::ConvSource bind(const Bound& bound) const {
    return {.a = at(bound.in, a),
            .form = form,
            .b = at(bound.in, b),
            .vectors = vectors.bind(bound),
            .b_vectors = b_vectors.bind(bound),
            .d_gamma = as<float>(at(bound.in, d_gamma)),
            .d_beta = as<float>(at(bound.in, d_beta)),
            .relu = relu,
            .dst = at(bound.out, dst),
            .mask = as<uint8_t>(at(bound.out, mask))};
  }
};

SourcePlan plan_gradient(const Node& gradient, Operands& in) {
  SourcePlan plan{.form = kernels::Form::kGradient};
  plan.a = in.add(&gradient, 0);
  plan.b = in.add(&gradient, 1);
  plan.vectors = add_vectors<BatchNormBackwardApply>(in, &gradient, 2);
  plan.d_gamma = in.add(&gradient, 5);
  plan.d_beta = in.add(&gradient, 6);
  return plan;
}

/// The tensor that parts.apply, shortcut, join and relu form.
SourcePlan plan_activation(const ConvParts& parts, Operands& in, Operands& out) {
  SourcePlan plan{.form = parts.join == nullptr ? kernels::Form::kApply : kernels::Form::kJoin};
  plan.a = in.add(parts.apply, 0);
  plan.vectors = add_vectors<BatchNormApply>(in, parts.apply, 1);
  if (parts.join != nullptr) {
    plan.b_vectors = add_vectors<BatchNormApply>(in, parts.shortcut, 1);
    const size_t other = parts.join->inputs[0] == parts.apply->outputs[0] ? 1 : 0;
    plan.b = parts.shortcut != nullptr ? in.add(parts.shortcut, 0) : in.add(parts.join, other);
  }
  plan.relu = parts.relu != nullptr;
  if (parts.concat != nullptr) {
    plan.form = kernels::Form::kConcat;
    plan.b = plan.a;
    plan.a = in.add(parts.concat, 0);
  }
  if (std::holds_alternative<Conv>(parts.conv->op)) {
    plan.dst = out.add(parts.formed());
    if (parts.relu != nullptr && std::holds_alternative<ReluMask>(parts.relu->op))
      plan.mask = out.add_output(parts.relu, 1);
  }
  return plan;
}

/// A ConvResult whose addresses come when the step is bound.
struct ResultPlan {
  struct Norm {
    size_t src = kAbsent, d_gamma = kAbsent, d_beta = kAbsent;
    VectorPositions vectors;
  };
  Element type = Element::kF32;
  size_t dst = kAbsent, bias = kAbsent, addend = kAbsent, gate_tensor = kAbsent, gate_mask = kAbsent;
  VectorPositions apply = {}, addend_apply = {};
  bool relu = false;
  size_t mask = kAbsent, mean = kAbsent, variance = kAbsent;
  kernels::Gate gate = kernels::Gate::kOpen;
  std::array<Norm, 2> norms = {};

  int sums() const {
    return mean != kAbsent || norms[1].src != kAbsent ? 3 : norms[0].src != kAbsent ? 2 : 0;
  }
  kernels::ConvResult bind(const Bound& b, std::byte* workspace) const {
    kernels::ConvResult result{.dst = at(b.out, dst),
                               .type = type,
                               .bias = as<float>(at(b.in, bias)),
                               .apply = apply.bind(b),
                               .addend = at(b.in, addend),
                               .addend_apply = addend_apply.bind(b),
                               .relu = relu,
                               .mask = as<uint8_t>(at(b.out, mask)),
                               .gate = gate,
                               .gate_tensor = at(b.in, gate_tensor),
                               .gate_mask = as<uint8_t>(at(b.in, gate_mask)),
                               .mean = as<float>(at(b.out, mean)),
                               .variance = as<float>(at(b.out, variance)),
                               .norms = {},
                               .workspace = workspace,
                               .counters = b.counter};
    for (size_t i = 0; i < norms.size(); ++i) {
      result.norms[i] = {at(b.in, norms[i].src), norms[i].vectors.bind(b),
                         as<float>(at(b.out, norms[i].d_gamma)), as<float>(at(b.out, norms[i].d_beta))};
    }
    return result;
  }
};

ResultPlan plan_result(const ConvParts& parts, Element type, Operands& in, Operands& out) {
  ResultPlan plan{.type = type, .dst = out.add(parts.result())};
  plan.bias = in.add(parts.bias, 1);
  plan.apply = add_vectors<BatchNormApply>(in, parts.result_apply, 1);
  plan.addend_apply = add_vectors<BatchNormApply>(in, parts.addend_apply, 1);
  if (parts.addend_apply != nullptr) {
    plan.addend = in.add(parts.addend_apply, 0);
  } else if (parts.addend != nullptr) {
    plan.addend = in.add(parts.addend, parts.addend->inputs[0] == parts.before_addend() ? 1 : 0);
  }
  plan.relu = parts.result_relu != nullptr;
  if (plan.relu && std::holds_alternative<ReluMask>(parts.result_relu->op))
    plan.mask = out.add_output(parts.result_relu, 1);
  plan.mean = out.add_output(parts.stats, 0);
  plan.variance = out.add_output(parts.stats, 1);
  if (parts.gate != nullptr) {
    const bool masked = std::holds_alternative<ReluMaskBackward>(parts.gate->op);
    plan.gate = masked                       ? kernels::Gate::kMask
                : parts.gate_relu != nullptr ? kernels::Gate::kNormalised
                                             : kernels::Gate::kTensor;
    if (plan.gate != kernels::Gate::kNormalised)
      (masked ? plan.gate_mask : plan.gate_tensor) = in.add(parts.gate, 1);
  }
  for (size_t i = 0; i < plan.norms.size(); ++i) {
    const Node* reduce = parts.reduces[i];
    if (reduce == nullptr) break;
    ResultPlan::Norm& norm = plan.norms[i];
    norm.src = in.add(reduce, 1);
    norm.vectors = {.mean = in.add(reduce, 2),
                    .variance = in.add(reduce, 3),
                    .epsilon = std::get<BatchNormBackwardReduce>(reduce->op).epsilon};
    norm.d_gamma = out.add_output(reduce, 0);
    norm.d_beta = out.add_output(reduce, 1);
  }
  plan.norms[0].vectors.gamma = in.add(parts.gate_apply, 3);
  plan.norms[0].vectors.beta = in.add(parts.gate_apply, 4);
  return plan;
}

/// What every kind of step starts from: the first convolution of its run.
struct ConvNode {
  ConvNode(const Graph& graph, const std::vector<ConvParts>& run, const StepOptions& options)
      : source{graph, *run[0].conv, options} {
    const auto known = conv_problem(graph, source.node, options.f32_math);
    check(known.has_value(), ErrorKind::kDevice,
          "node '{}' ({}): CUDA computes in f32, bf16 and f16, found inputs {} and {}", source.node.name,
          op_name(source.node.op), to_string(source.in(0).dtype),
          to_string(source.in(source.node.inputs.size() - 1).dtype));
    problem = *known;
    problem.tile = options.conv_tile;
    problem.layers = static_cast<int>(run.size());
  }

  StepSource source;
  ConvProblem problem;
};

bool is_linear(const Op& op) {
  return std::holds_alternative<Linear>(op) || std::holds_alternative<LinearBackwardData>(op) ||
         std::holds_alternative<LinearBackwardFilter>(op);
}
/// Of what is no filter.
kernels::ConvPass pass_of(const Op& op) {
  const bool forward = std::holds_alternative<Conv>(op) || std::holds_alternative<Linear>(op);
  return forward ? kernels::ConvPass::kForward : kernels::ConvPass::kBackwardData;
}

/// Input `input` as it is in memory; nothing when the kernel forms it.
std::optional<Factor> stored_factor(const ConvNode& node, bool formed, size_t input) {
  if (formed) return std::nullopt;
  return Factor(node.source, node.source.in(input), node.problem.type);
}
size_t scratch_bytes(const std::optional<Factor>& factor) {
  return factor ? factor->scratch_bytes() : 0;
}
Cost cost(const std::optional<Factor>& factor) {
  return factor ? factor->cost() : Cost{};
}
/// `count` counters, each added to and set back.
Cost counted(int count) {
  return written_and_read(static_cast<size_t>(count) * sizeof(unsigned));
}

/// Whether no launch but a step's update, far from any convolution, writes the value.
bool is_written_by_updates(const Graph& graph, ValueId id) {
  return graph.value(id).persistent() && graph.value(id).producer == kNone;
}

/// conv, linear (kForward) and their backward passes by data.
Step product_step(const Graph& graph, const ConvParts& parts, const StepOptions& options,
                  kernels::ConvPass pass) {
  const ConvNode node(graph, {parts}, options);
  const Factor weight(node.source, node.source.in(1), node.problem.type);
  ConvProblem problem = node.problem;
  problem.early_weights = weight.scratch_bytes() == 0 && is_written_by_updates(graph, parts.conv->inputs[1]);
  const Element dst_type = node.source.element(graph.desc(parts.result()));
  check(dst_type == problem.type || dst_type == Element::kF32, ErrorKind::kDevice,
        "node '{}' ({}): CUDA makes {} or f32 of {}, not {}", node.source.node.name,
        op_name(node.source.node.op), to_string(node.source.in(0).dtype), to_string(node.source.in(0).dtype),
        to_string(graph.desc(parts.result()).dtype));
  Operands in, out;
  const size_t weight_at = in.add(parts.conv, 1);
  SourcePlan src;
  if (parts.gradient != nullptr) {
    src = plan_gradient(*parts.gradient, in);
    src.dst = out.add(parts.gradient->outputs[0]);
  } else if (parts.apply != nullptr) {
    src = plan_activation(parts, in, out);
  } else if (parts.concat != nullptr) {
    src = {.form = kernels::Form::kConcat, .a = in.add(parts.concat, 0), .b = in.add(parts.concat, 1)};
  } else {
    src.a = in.add(parts.conv, 0);
  }
  const ResultPlan result = plan_result(parts, dst_type, in, out);
  const bool formed = src.form != kernels::Form::kStored;
  const std::optional<Factor> factor = stored_factor(node, formed, 0);
  const size_t workspace = kernels::conv_workspace(problem, pass, src.form, result.sums());
  const size_t sums = aligned(workspace), element = kernels::size_of(problem.type);
  const int counters = kernels::conv_counters(problem, pass, src.form);
  const Cost unread = pass == kernels::ConvPass::kForward ? unread_src(problem.shape, element)
                                                          : unread_d_dst_and_weight(problem.shape, element);
  const Cost summed = workspace > 0 ? written_and_read(workspace) + counted(counters) : Cost{};
  Step step = node.source.step(
      [=](const Bound& b) {
        std::byte* const casts = b.scratch + sums;
        const void* const w = weight.ready(at(b.in, weight_at), casts, b.stream);
        kernels::ConvSource bound = src.bind(b);
        if (factor) bound.a = factor->ready(at(b.in, src.a), casts + weight.scratch_bytes(), b.stream);
        const kernels::ConvResult dst = result.bind(b, b.scratch);
        if (pass == kernels::ConvPass::kForward) {
          kernels::conv_forward(problem, bound, w, dst, b.stream);
        } else {
          kernels::conv_backward_data(problem, bound, w, dst, b.stream);
        }
      },
      sums + weight.scratch_bytes() + scratch_bytes(factor), weight.cost() + cost(factor) + unread + summed);
  step.inputs = in.ids();
  step.outputs = out.ids();
  step.counters = counters;
  return step;
}

/// A kernels::FilterLayer whose addresses come when the step is bound.
struct LayerPlan {
  SourcePlan d_dst = {}, src = {};
  size_t d_weight = kAbsent, sum = kAbsent;

  kernels::FilterLayer bind(const Bound& b) const {
    return {d_dst.bind(b), src.bind(b), as<float>(at(b.out, d_weight)), as<float>(at(b.out, sum))};
  }
};
/// Of a backward-filter pass, or of a Gram matrix, of whose two operands, one tensor, the sum is made too.
LayerPlan plan_layer(const ConvParts& parts, Operands& in, Operands& out) {
  const bool gram = std::holds_alternative<Gram>(parts.conv->op);
  LayerPlan plan{.d_weight = out.add_output(parts.conv, 0)};
  plan.src = parts.apply != nullptr ? plan_activation(parts, in, out)
                                    : SourcePlan{.a = in.add(parts.conv, gram ? 0 : 1)};
  plan.d_dst = gram                        ? plan.src
               : parts.gradient != nullptr ? plan_gradient(*parts.gradient, in)
                                           : SourcePlan{.a = in.add(parts.conv, 0)};
  plan.sum = gram ? out.add_output(parts.conv, 1) : out.add_output(parts.bias_backward, 0);
  return plan;
}

/// The backward-filter passes of equal layers, or one Gram matrix.
Step filter_step(const Graph& graph, const std::vector<ConvParts>& run, const StepOptions& options) {
  const ConvNode node(graph, run, options);
  const ConvProblem problem = node.problem;
  Operands in, out;
  std::vector<LayerPlan> layers;
  for (const ConvParts& parts : run) layers.push_back(plan_layer(parts, in, out));
  const bool sums = layers[0].sum != kAbsent, formed = layers[0].d_dst.form != kernels::Form::kStored;
  const std::optional<Factor> factor = stored_factor(node, formed, 0);
  const kernels::WorkspaceTraffic partials = kernels::conv_backward_filter_traffic(problem, sums);
  const int counters = kernels::conv_backward_filter_counters(problem);
  Cost beside = cost(factor) + also_read(partials.read) + also_written(partials.written) + counted(counters);
  for (size_t i = 0; i < run.size(); ++i) beside += unread_src(problem.shape, kernels::size_of(problem.type));
  Step step = node.source.step(
      [=](const Bound& b) {
        std::vector<kernels::FilterLayer> bound;
        for (const LayerPlan& layer : layers) bound.push_back(layer.bind(b));
        // Only of one layer it may have to be rounded first.
        if (factor) bound[0].d_dst.a = factor->ready(at(b.in, layers[0].d_dst.a), b.scratch, b.stream);
        kernels::conv_backward_filter(problem, bound, b.scratch + scratch_bytes(factor), b.counter, b.stream);
      },
      scratch_bytes(factor) + kernels::conv_backward_filter_workspace(problem, sums), beside);
  step.inputs = in.ids();
  step.outputs = out.ids();
  step.counters = counters;
  return step;
}

/// The product of a linear layer or its backward passes, row-major.
MatrixProduct matrix_product(const ConvNode& node, const TensorDesc& dst) {
  const ConvShape& s = node.problem.shape;
  MatrixProduct p{
      .type = node.problem.type, .dst_type = node.source.element(dst), .f32_math = node.problem.math};
  if (std::holds_alternative<Linear>(node.source.node.op)) {
    p.rows = s.n, p.columns = s.k, p.depth = s.c, p.b_transposed = true;
  } else if (std::holds_alternative<LinearBackwardData>(node.source.node.op)) {
    p.rows = s.n, p.columns = s.c, p.depth = s.k;
  } else {
    p.rows = s.k, p.columns = s.c, p.depth = s.n, p.a_transposed = true;
  }
  return p;
}

Step cublas_step(const Graph& graph, const ConvParts& parts, const StepOptions& options) {
  const ConvNode node(graph, {parts}, options);
  const Cublas& cublas = *options.cublas;
  const MatrixProduct p = matrix_product(node, graph.desc(parts.conv->outputs[0]));
  const Factor left(node.source, node.source.in(0), p.type), right(node.source, node.source.in(1), p.type);
  return node.source.step(
      [=, &cublas](const Bound& b) {
        const void* l = left.ready(b.in[0], b.scratch, b.stream);
        const void* r = right.ready(b.in[1], b.scratch + left.scratch_bytes(), b.stream);
        cublas.multiply(p, l, r, b.out[0], b.stream);
      },
      left.scratch_bytes() + right.scratch_bytes(), left.cost() + right.cost());
}

}  // namespace

Step make_conv_step(const Graph& graph, const std::vector<ConvParts>& run, const StepOptions& options) {
  const Op& op = run[0].conv->op;
  if (is_linear(op) && options.cublas != nullptr) return cublas_step(graph, run[0], options);
  if (is_filter(op)) return filter_step(graph, run, options);
  return product_step(graph, run[0], options, pass_of(op));
}

std::vector<kernels::TileName> other_tiles(const Graph& graph, const std::vector<ConvParts>& run,
                                           const StepOptions& options) {
  using kernels::TileName;
  const ConvProblem problem = ConvNode(graph, run, options).problem;
  const ConvParts& parts = run[0];
  const Op& op = parts.conv->op;
  const kernels::Form form = parts.gradient != nullptr ? kernels::Form::kGradient
                             : parts.concat != nullptr ? kernels::Form::kConcat
                             : parts.join != nullptr   ? kernels::Form::kJoin
                             : parts.apply != nullptr  ? kernels::Form::kApply
                                                       : kernels::Form::kStored;
  const auto suits = [&](TileName name) {
    if (!is_filter(op)) return kernels::conv_tile_suits(problem, pass_of(op), form, name);
    const bool packed = name == TileName::kFilterPacked || name == TileName::kFilterPackedColumns;
    return kernels::filter_tile_suits(problem, name) && !(packed && kernels::is_aligned(problem));
  };
  const TileName usual =
      is_filter(op) ? kernels::filter_tile(problem) : kernels::conv_tile(problem, pass_of(op), form);
  const auto area = [](TileName name) {
    return kernels::tile_of(name).rows * kernels::tile_of(name).columns;
  };
  std::vector<TileName> others;
  for (int i = 0; i <= static_cast<int>(TileName::kFilterF32); ++i) {
    const auto name = static_cast<TileName>(i);
    // A smaller one would read its operands more than twice as often.
    if (name != usual && suits(name) && 2 * area(name) >= area(usual)) others.push_back(name);
  }
  return others;
}

}  // namespace residuum::cuda
