#include "bench/problem.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <sstream>

#include "engine/core/check.h"
#include "engine/core/file.h"

namespace residuum::bench {
namespace {

struct KindRule {
  ProblemKind kind;
  std::string_view name;
  std::vector<std::string_view> needed, allowed;
  std::vector<std::string> operations;
};

const std::vector<KindRule>& rules() {
  static const std::vector<KindRule> kRules = {
      {ProblemKind::kConv,
       "conv",
       {"n", "h", "w", "c", "k"},
       {"r", "s", "stride", "pad", "groups", "first"},
       {"conv", "conv_backward_data", "conv_backward_filter"}},
      {ProblemKind::kLinear,
       "linear",
       {"n", "c", "k"},
       {"first"},
       {"linear", "linear_backward_data", "linear_backward_filter"}},
      {ProblemKind::kBatchNorm,
       "batch_norm",
       {"n", "h", "w", "c"},
       {},
       {"batch_norm_stats", "batch_norm_apply", "batch_norm_backward_reduce", "batch_norm_backward_apply"}},
      {ProblemKind::kMaxPool,
       "max_pool",
       {"n", "h", "w", "c", "r"},
       {"stride", "pad"},
       {"max_pool", "max_pool_backward"}},
      {ProblemKind::kGlobalAvgPool,
       "global_avg_pool",
       {"n", "h", "w", "c"},
       {},
       {"global_avg_pool", "global_avg_pool_backward"}},
  };
  return kRules;
}

const KindRule& rule_of(ProblemKind kind) {
  return *std::find_if(rules().begin(), rules().end(),
                       [&](const KindRule& rule) { return rule.kind == kind; });
}

constexpr int64_t kLargest = int64_t{1} << 24;  ///< of any extent

int64_t number(const std::string& text, const std::string& where, std::string_view key) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const int64_t least = key == "pad" || key == "first" ? 0 : 1;
  check(error == std::errc() && end == text.data() + text.size() && value >= least && value <= kLargest,
        ErrorKind::kConfig, "{}: {} is '{}', must be an integer {} to {}", where, key, text, least, kLargest);
  return value;
}

using Keys = std::map<std::string, int64_t, std::less<>>;

Problem problem_from(const KindRule& rule, std::string name, const Keys& keys) {
  const auto value = [&](const char* key, int64_t otherwise) {
    const auto found = keys.find(key);
    return found == keys.end() ? otherwise : found->second;
  };
  Problem problem{rule.kind, std::move(name), {}, value("times", 1), value("first", 0) != 0};
  ConvShape& shape = problem.shape;
  shape.n = value("n", 1);
  shape.h = value("h", 1);
  shape.w = value("w", 1);
  shape.c = value("c", 1);
  shape.k = value("k", shape.c);
  shape.r = value("r", 1);
  shape.s = value("s", shape.r);
  shape.stride = value("stride", 1);
  shape.pad = value("pad", 0);
  shape.groups = value("groups", 1);
  return problem;
}

Problem parse_line(const std::string& line, const std::string& where) {
  std::istringstream words(line);
  std::string kind, name;
  words >> kind >> name;
  const auto rule =
      std::find_if(rules().begin(), rules().end(), [&](const KindRule& r) { return r.name == kind; });
  if (rule == rules().end()) {
    std::vector<std::string_view> names;
    for (const KindRule& r : rules()) names.push_back(r.name);
    fail(ErrorKind::kConfig, "{}: there is no kind '{}'; allowed are {}", where, kind,
         fmt::join(names, ", "));
  }
  check(!name.empty() && name.find('=') == std::string::npos, ErrorKind::kConfig,
        "{}: the name of the layer is missing after '{}'", where, kind);
  Keys keys;
  for (std::string word; words >> word;) {
    const std::string key = word.substr(0, word.find('='));
    const auto is = [&](std::string_view text) { return text == key; };
    const bool known = key == "times" || std::any_of(rule->needed.begin(), rule->needed.end(), is) ||
                       std::any_of(rule->allowed.begin(), rule->allowed.end(), is);
    check(known && key.size() < word.size(), ErrorKind::kConfig,
          "{}: '{}' is no KEY=VALUE of a {}; its keys are {}, {}, times", where, word, kind,
          fmt::join(rule->needed, ", "), fmt::join(rule->allowed, ", "));
    check(keys.emplace(key, number(word.substr(key.size() + 1), where, key)).second, ErrorKind::kConfig,
          "{}: {} stands there twice", where, key);
  }
  for (const std::string_view key : rule->needed) {
    check(keys.contains(key), ErrorKind::kConfig, "{}: a {} needs {}", where, kind, key);
  }
  const Problem problem = problem_from(*rule, std::move(name), keys);
  const ConvShape& shape = problem.shape;
  check(shape.p() > 0 && shape.q() > 0, ErrorKind::kConfig,
        "{}: a window of {}x{} is larger than {}x{} with padding", where, shape.r, shape.s, shape.h, shape.w);
  check(shape.c % shape.groups == 0 && shape.k % shape.groups == 0, ErrorKind::kConfig,
        "{}: {} groups do not divide {} and {} channels", where, shape.groups, shape.c, shape.k);
  return problem;
}

/// The problem a forward node is, if any; its name is the node's. `first`: no gradient of its input is
/// wanted.
std::optional<Problem> problem_of(const Graph& graph, const Node& node, bool first) {
  const TensorDesc& desc = graph.desc(node.inputs[0]);
  Problem problem{ProblemKind::kLinear, node.name, {}, 1, false};
  ConvShape& shape = problem.shape;
  if (const auto* linear = std::get_if<Linear>(&node.op)) {
    const int64_t n = desc.shape[0];
    shape = {n, 1, 1, desc.elements() / n, linear->out_features};
    problem.first = first;
    return problem;
  }
  if (desc.shape.rank() != 4) return std::nullopt;
  const Nhwc in = Nhwc::of(desc.shape);
  shape = {in.n, in.h, in.w, in.c, in.c};
  if (const auto* conv = std::get_if<Conv>(&node.op)) {
    problem.kind = ProblemKind::kConv;
    shape = {in.n,           in.h,           in.w,         in.c,      conv->out_channels,
             conv->kernel_h, conv->kernel_w, conv->stride, conv->pad, conv->groups};
    problem.first = first;
  } else if (std::holds_alternative<BatchNormStats>(node.op)) {
    problem.kind = ProblemKind::kBatchNorm;
  } else if (const auto* pool = std::get_if<MaxPool>(&node.op)) {
    problem.kind = ProblemKind::kMaxPool;
    shape.r = shape.s = pool->window;
    shape.stride = pool->stride;
    shape.pad = pool->pad;
  } else if (std::holds_alternative<GlobalAvgPool>(node.op)) {
    problem.kind = ProblemKind::kGlobalAvgPool;
  } else {
    return std::nullopt;
  }
  return problem;
}

/// Which values depend on a parameter, and so have a gradient in a training step.
std::vector<bool> learned_values(const Graph& graph) {
  std::vector<bool> learned(graph.values.size());
  for (const Node& node : graph.nodes) {
    const bool any = std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) {
      return graph.value(id).kind == ValueKind::kParameter || learned[static_cast<size_t>(id)];
    });
    for (const ValueId id : node.outputs) learned[static_cast<size_t>(id)] = any;
  }
  return learned;
}

}  // namespace

std::string to_string(const Problem& problem) {
  const KindRule& rule = rule_of(problem.kind);
  const ConvShape& shape = problem.shape;
  const std::vector<std::pair<std::string_view, int64_t>> values = {{"n", shape.n},
                                                                    {"h", shape.h},
                                                                    {"w", shape.w},
                                                                    {"c", shape.c},
                                                                    {"k", shape.k},
                                                                    {"r", shape.r},
                                                                    {"s", shape.s},
                                                                    {"stride", shape.stride},
                                                                    {"pad", shape.pad},
                                                                    {"groups", shape.groups},
                                                                    {"first", problem.first ? 1 : 0},
                                                                    {"times", problem.times}};
  std::string text = fmt::format("{} {}", rule.name, problem.name);
  const auto contains = [](const auto& keys, std::string_view key) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  };
  for (const auto& [key, value] : values) {
    const bool needed = contains(rule.needed, key);
    const bool allowed = key == "times" || contains(rule.allowed, key);
    const int64_t usual = key == "s" ? shape.r : key == "pad" || key == "first" ? 0 : 1;
    if (needed || (allowed && value != usual)) text += fmt::format(" {}={}", key, value);
  }
  return text;
}

std::vector<Problem> parse_problems(std::string_view text, const std::string& file) {
  std::vector<Problem> problems;
  std::istringstream lines{std::string(text)};
  std::string line;
  for (int at = 1; std::getline(lines, line); ++at) {
    line = line.substr(0, line.find('#'));
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    problems.push_back(parse_line(line, fmt::format("{}:{}", file, at)));
  }
  check(!problems.empty(), ErrorKind::kConfig, "{} names no problem", file);
  return problems;
}

std::vector<Problem> read_problems(const std::filesystem::path& file) {
  constexpr uint64_t kLargestFile = 1 << 20;
  return parse_problems(read_text_file(file, kLargestFile), file.string());
}

std::vector<Problem> problems_of(const Graph& graph) {
  const std::vector<bool> learned = learned_values(graph);
  std::vector<Problem> problems;
  for (const Node& node : graph.nodes) {
    const auto found = problem_of(graph, node, !learned[static_cast<size_t>(node.inputs[0])]);
    if (!found) continue;
    const auto same = std::find_if(problems.begin(), problems.end(), [&](const Problem& other) {
      return other.kind == found->kind && other.shape == found->shape && other.first == found->first;
    });
    if (same != problems.end()) {
      ++same->times;
    } else {
      problems.push_back(*found);
    }
  }
  return problems;
}

std::vector<std::string> operations_of(const Problem& problem) {
  std::vector<std::string> operations = rule_of(problem.kind).operations;
  if (problem.first) operations.erase(operations.begin() + 1);  // the data gradient
  return operations;
}

std::vector<std::string> all_operations() {
  std::vector<std::string> all;
  for (const KindRule& rule : rules()) all.insert(all.end(), rule.operations.begin(), rule.operations.end());
  return all;
}

Graph graph_of(const Problem& problem, const std::string& operation, DType activation, DType weights) {
  const ConvShape& s = problem.shape;
  const bool linear = problem.kind == ProblemKind::kLinear;
  const TensorDesc src{activation, linear ? Shape{s.n, s.c} : Shape{s.n, s.h, s.w, s.c}};
  const TensorDesc dst{activation, linear ? Shape{s.n, s.k} : Shape{s.n, s.p(), s.q(), s.k}};
  const TensorDesc pooled{activation, {s.n, 1, 1, s.c}};
  const TensorDesc weight{weights, linear ? Shape{s.k, s.c} : Shape{s.k, s.r, s.s, s.c / s.groups}};
  const TensorDesc vector{DType::kF32, {s.c}};
  const TensorDesc argmax{DType::kU8, dst.shape};
  const PoolShape pool{s.n, s.h, s.w, s.c, s.r, s.stride, s.pad};
  struct Case {
    Op op;
    std::vector<TensorDesc> inputs;
  };
  const std::map<std::string, Case> cases = {
      {"conv", {Conv{s.k, s.r, s.s, s.stride, s.pad, s.groups}, {src, weight}}},
      {"conv_backward_data", {ConvBackwardData{s}, {dst, weight}}},
      {"conv_backward_filter", {ConvBackwardFilter{s}, {dst, src}}},
      {"linear", {Linear{s.k, activation}, {src, weight}}},
      {"linear_backward_data", {LinearBackwardData{src}, {dst, weight}}},
      {"linear_backward_filter", {LinearBackwardFilter{}, {dst, src}}},
      {"batch_norm_stats", {BatchNormStats{}, {src}}},
      {"batch_norm_apply", {BatchNormApply{}, {src, vector, vector, vector, vector}}},
      {"batch_norm_backward_reduce", {BatchNormBackwardReduce{}, {src, src, vector, vector}}},
      {"batch_norm_backward_apply",
       {BatchNormBackwardApply{}, {src, src, vector, vector, vector, vector, vector}}},
      {"max_pool", {MaxPool{s.r, s.stride, s.pad}, {src}}},
      {"max_pool_backward", {MaxPoolBackward{pool}, {dst, argmax}}},
      {"global_avg_pool", {GlobalAvgPool{}, {src}}},
      {"global_avg_pool_backward", {GlobalAvgPoolBackward{src.shape}, {pooled}}},
  };
  const Case& found = cases.at(operation);
  Graph graph;
  std::vector<ValueId> inputs;
  for (const TensorDesc& desc : found.inputs) {
    inputs.push_back(graph.add_persistent(fmt::format("in{}", inputs.size()), desc, ValueKind::kInput));
  }
  for (const ValueId id : graph.add_node(problem.name, found.op, inputs)) {
    graph.outputs[fmt::format("out{}", graph.outputs.size())] = id;
  }
  return graph;
}

}  // namespace residuum::bench
