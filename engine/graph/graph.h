// The graph: values and nodes in execution order. Every value has one producer (or is persistent), nodes are
// stored in a valid order, and shapes are inferred when a node is added, so an existing graph is always well
// formed.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/core/tensor.h"
#include "engine/graph/op.h"

namespace residuum {

using ValueId = int32_t;
using NodeId = int32_t;
inline constexpr int32_t kNone = -1;

enum class ValueKind : uint8_t {
  kInput,      ///< written from outside before each step
  kParameter,  ///< learned; persistent
  kBuffer,     ///< running statistics; persistent
  kOptimizer,  ///< momentum, EMA; persistent
  kSum,        ///< over a step's micro-steps; persistent, of no use between two steps
  kCopy,       ///< "copy.NAME": parameter NAME rounded to the activations' type; persistent, follows NAME
  kTensor,     ///< produced by a node, lives in the arena
};

/// Before a parameter's name: its kCopy value.
inline constexpr std::string_view kCopyPrefix = "copy.";

struct Value {
  std::string name;
  TensorDesc desc;
  ValueKind kind = ValueKind::kTensor;
  NodeId producer = kNone;  ///< index into nodes(), kNone unless kind is kTensor

  bool persistent() const { return kind != ValueKind::kTensor; }
};

enum class Phase : uint8_t { kForward, kRecompute, kBackward, kAccumulate, kUpdate };

struct Node {
  std::string name;  ///< "layer1.0.conv1"; the same for a forward node and the nodes derived from it
  Op op;
  std::vector<ValueId> inputs, outputs;
  Phase phase = Phase::kForward;
  int block = kNone;  ///< index into Graph::blocks
};

/// How a persistent value starts.
struct Init {
  enum class Kind : uint8_t { kConstant, kNormal, kUniform } kind = Kind::kConstant;
  double value = 0;  ///< the constant, the normal's standard deviation or the uniform's half width
};

/// A residual (or highway, or plain) building block, for recompute and for the laboratory.
struct Block {
  std::string name;  ///< "layer1.0"
  ValueId input = kNone, output = kNone;
};

class Graph {
 public:
  // Compiled in graph.cpp alone, as the copies of Op are.
  Graph();
  Graph(const Graph&);
  Graph(Graph&&) noexcept;
  Graph& operator=(const Graph&);
  Graph& operator=(Graph&&) noexcept;
  ~Graph();

  std::vector<Value> values;
  std::vector<Node> nodes;
  std::vector<Block> blocks;
  std::map<ValueId, Init> inits;           ///< of every persistent value but inputs
  std::map<ValueId, ValueId> gradients;    ///< parameter (or requested value) -> its gradient, after autodiff
  std::map<std::string, ValueId> outputs;  ///< named results: "logits", "loss", "counts", "norm", ...
  /// Of every persistent value, kept by add_persistent.
  std::map<std::string, ValueId, std::less<>> persistent_names;

  /// Adds a value no node produces. `name` must be new among persistent values.
  ValueId add_persistent(std::string name, TensorDesc desc, ValueKind kind, Init init = {});
  /// Appends a node, infers its outputs and adds them; returns their ids.
  /// Throws Error(kShape) naming the node, its operation and the shapes found when they do not fit.
  std::vector<ValueId> add_node(std::string name, Op op, std::vector<ValueId> inputs,
                                Phase phase = Phase::kForward, int block = kNone);

  /// Replaces the node list (in execution order) and makes every value's producer follow it.
  void set_nodes(std::vector<Node> list);

  const Value& value(ValueId id) const { return values.at(static_cast<size_t>(id)); }
  const Node& node(NodeId id) const { return nodes.at(static_cast<size_t>(id)); }
  const TensorDesc& desc(ValueId id) const { return value(id).desc; }
  std::vector<TensorDesc> descs(std::span<const ValueId> ids) const;
  /// The persistent value of that name, or nothing.
  std::optional<ValueId> find(std::string_view name) const;
  /// The value of outputs[name]; throws Error(kInternal) naming the outputs there are.
  ValueId output(const std::string& name) const;

  /// Re-infers every shape and checks order, single producers, producers' indices and ids.
  /// Throws Error(kInternal) naming the pass after which the graph broke.
  void validate(std::string_view after_pass) const;
};

/// Output descriptors of `op`; throws Error(kShape) with the reason (not the node) when the inputs do not
/// fit.
std::vector<TensorDesc> infer_outputs(const Op& op, std::span<const TensorDesc> inputs);

}  // namespace residuum
