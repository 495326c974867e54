#include "engine/graph/graph.h"

#include "engine/core/check.h"

namespace residuum {

Graph::Graph() = default;
Graph::Graph(const Graph&) = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(const Graph&) = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::~Graph() = default;

ValueId Graph::add_persistent(std::string name, TensorDesc desc, ValueKind kind, Init init) {
  check(kind != ValueKind::kTensor, ErrorKind::kInternal, "value '{}' without a producer must be persistent",
        name);
  check(!find(name), ErrorKind::kInternal, "the graph already has a persistent value '{}'", name);
  const auto id = static_cast<ValueId>(values.size());
  persistent_names[name] = id;
  values.push_back({std::move(name), desc, kind, kNone});
  if (kind != ValueKind::kInput) inits[id] = init;
  return id;
}

std::vector<ValueId> Graph::add_node(std::string name, Op op, std::vector<ValueId> inputs, Phase phase,
                                     int block) {
  const auto id = static_cast<NodeId>(nodes.size());
  std::vector<TensorDesc> outs;
  try {
    outs = infer_outputs(op, descs(inputs));
  } catch (const Error& error) {
    fail(error.kind(), "node '{}' ({}): {}", name, op_name(op), error.what());
  }
  std::vector<ValueId> outputs_of_node;
  for (size_t i = 0; i < outs.size(); ++i) {
    outputs_of_node.push_back(static_cast<ValueId>(values.size()));
    values.push_back({fmt::format("{}.{}{}", name, op_name(op), i == 0 ? "" : fmt::format(".{}", i)), outs[i],
                      ValueKind::kTensor, id});
  }
  nodes.push_back({std::move(name), std::move(op), std::move(inputs), outputs_of_node, phase, block});
  return outputs_of_node;
}

void Graph::set_nodes(std::vector<Node> list) {
  nodes = std::move(list);
  for (Value& value : values) value.producer = kNone;
  for (size_t n = 0; n < nodes.size(); ++n) {
    for (ValueId id : nodes[n].outputs) values.at(static_cast<size_t>(id)).producer = static_cast<NodeId>(n);
  }
}

std::vector<TensorDesc> Graph::descs(std::span<const ValueId> ids) const {
  std::vector<TensorDesc> result;
  for (ValueId id : ids) result.push_back(desc(id));
  return result;
}

std::optional<ValueId> Graph::find(std::string_view name) const {
  const auto found = persistent_names.find(name);
  return found == persistent_names.end() ? std::nullopt : std::optional(found->second);
}

ValueId Graph::output(const std::string& name) const {
  const auto found = outputs.find(name);
  if (found != outputs.end()) return found->second;
  std::string names;
  for (const auto& [key, id] : outputs) names += (names.empty() ? "" : ", ") + key;
  fail(ErrorKind::kInternal, "the graph has no output '{}'; it has: {}", name, names);
}

void Graph::validate(std::string_view after_pass) const {
  const auto broken = [&](const std::string& what) {
    fail(ErrorKind::kInternal, "graph broken after pass '{}': {}", after_pass, what);
  };
  const auto known = [&](ValueId id) { return id >= 0 && static_cast<size_t>(id) < values.size(); };
  std::vector<NodeId> produced(values.size(), kNone);
  for (size_t n = 0; n < nodes.size(); ++n) {
    const Node& node = nodes[n];
    for (ValueId id : node.inputs) {
      if (!known(id)) broken(fmt::format("node '{}' reads unknown value {}", node.name, id));
      if (!value(id).persistent() && produced[static_cast<size_t>(id)] == kNone) {
        broken(fmt::format("node '{}' ({}) reads '{}' before it is produced", node.name, op_name(node.op),
                           value(id).name));
      }
    }
    const std::vector<TensorDesc> expected = infer_outputs(node.op, descs(node.inputs));
    if (expected != descs(node.outputs)) {
      broken(
          fmt::format("outputs of node '{}' ({}) do not follow its shape rule", node.name, op_name(node.op)));
    }
    for (ValueId id : node.outputs) {
      if (produced[static_cast<size_t>(id)] != kNone)
        broken(fmt::format("'{}' has two producers", value(id).name));
      produced[static_cast<size_t>(id)] = static_cast<NodeId>(n);
    }
  }
  for (size_t id = 0; id < values.size(); ++id) {
    if (values[id].producer != produced[id])
      broken(fmt::format("'{}' names a wrong producer", values[id].name));
  }
  for (const auto& [name, id] : outputs) {
    if (!known(id)) broken(fmt::format("output '{}' is value {}", name, id));
  }
}

}  // namespace residuum
