// The pass that adds gradients over ranks. A tensor is summed where it lies, so its bucket goes after every
// node that reads it besides the update.
#include <algorithm>
#include <map>

#include "engine/core/check.h"
#include "engine/graph/buckets.h"
#include "engine/graph/passes.h"
#include "engine/graph/readers.h"

namespace residuum {
namespace {

/// Values of the update whose sum over ranks is wanted, each once: what the norm is of, and the statistics.
std::vector<ValueId> shared_values(const Graph& graph) {
  std::vector<ValueId> values;
  for (const Node& node : graph.nodes) {
    if (node.phase != Phase::kUpdate) continue;
    if (std::holds_alternative<GradientNorm>(node.op)) {
      values.insert(values.end(), node.inputs.begin(), node.inputs.end());
    } else if (const auto* commit = std::get_if<BatchNormCommit>(&node.op)) {
      const auto begin = node.inputs.begin() + 1;
      values.insert(values.end(), begin, begin + static_cast<std::ptrdiff_t>(2 * commit->counts.size()));
    }
  }
  return values;
}

class Communication {
 public:
  Communication(Graph graph, size_t bucket_bytes, const GroupRule& groups)
      : graph_(std::move(graph)), readers_(graph_), asked_bytes_(bucket_bytes) {
    for (const Group& group : groups(graph_)) {
      const auto end = static_cast<size_t>(group.nodes.back()) + 1;
      for (size_t i = 0; i < group.nodes.size(); ++i) end_of_group_.push_back(end);
    }
    update_ = static_cast<size_t>(std::find_if(graph_.nodes.begin(), graph_.nodes.end(),
                                               [](const Node& n) { return n.phase == Phase::kUpdate; }) -
                                  graph_.nodes.begin());
  }

  Graph run() {
    std::vector<Shared> values;
    for (const ValueId id : shared_values(graph_)) values.push_back({id, place_of(id)});
    std::stable_sort(values.begin(), values.end(),
                     [](const Shared& a, const Shared& b) { return a.place < b.place; });
    std::vector<size_t> bytes;
    size_t total = 0;
    for (const Shared& value : values) total += bytes.emplace_back(graph_.desc(value.id).bytes());
    for (const Bucket& bucket : make_buckets(bytes, bucket_bytes_for(total, asked_bytes_))) {
      add({values.begin() + static_cast<std::ptrdiff_t>(bucket.begin),
           values.begin() + static_cast<std::ptrdiff_t>(bucket.end)});
    }
    return ordered();
  }

 private:
  struct Shared {
    ValueId id = kNone;
    size_t place = 0;  ///< the node before which it can be summed
  };

  size_t place_of(ValueId id) const {
    const NodeId producer = graph_.value(id).producer;
    if (producer == kNone) return update_;  // a sum over micro-steps
    size_t place = end_of_group_[static_cast<size_t>(producer)];
    for (const NodeId reader : readers_.of(id)) {
      if (graph_.node(reader).phase == Phase::kUpdate) continue;
      place = std::max(place, end_of_group_[static_cast<size_t>(reader)]);
    }
    return place;
  }

  void add(const std::vector<Shared>& bucket) {
    std::vector<ValueId> inputs;
    for (const Shared& value : bucket) inputs.push_back(value.id);
    const bool sums = graph_.value(inputs.back()).persistent();
    const std::string name = fmt::format("bucket{}", added_.size());
    const std::vector<ValueId> outputs =
        graph_.add_node(name, AllReduce{}, inputs, sums ? Phase::kUpdate : Phase::kBackward);
    for (size_t i = 0; i < inputs.size(); ++i) sum_of_[inputs[i]] = outputs[i];
    added_.emplace(bucket.back().place, std::move(graph_.nodes.back()));
    graph_.nodes.pop_back();
  }

  Graph ordered() {
    std::vector<Node> nodes;
    for (size_t n = 0; n <= graph_.nodes.size(); ++n) {
      for (auto [added, end] = added_.equal_range(n); added != end; ++added) nodes.push_back(added->second);
      if (n == graph_.nodes.size()) break;
      Node& node = nodes.emplace_back(std::move(graph_.nodes[n]));
      if (node.phase != Phase::kUpdate) continue;
      for (ValueId& id : node.inputs) {
        if (const auto sum = sum_of_.find(id); sum != sum_of_.end()) id = sum->second;
      }
    }
    graph_.set_nodes(std::move(nodes));
    return std::move(graph_);
  }

  Graph graph_;
  Readers readers_;
  size_t asked_bytes_;
  std::vector<size_t> end_of_group_;  ///< of each node: the node after its group
  size_t update_ = 0;                 ///< the first node of the update
  std::multimap<size_t, Node> added_;
  std::map<ValueId, ValueId> sum_of_;
};

}  // namespace

Graph communicate(Graph graph, size_t bucket_bytes, const GroupRule& groups) {
  check(groups != nullptr, ErrorKind::kInternal, "communicate needs the backend's rule of groups");
  return Communication(std::move(graph), bucket_bytes, groups).run();
}

}  // namespace residuum
