#include "engine/exec/plan.h"

#include <algorithm>

#include "engine/exec/all_reduce_launch.h"

namespace residuum {
namespace {

/// When each value that lives in the arena is needed, in steps of groups. What a group touches stays until
/// nothing can run beside it any more.
void find_lifetimes(Plan& plan) {
  const Graph& graph = plan.graph;
  const int last_group = static_cast<int>(plan.groups.size()) - 1;
  std::vector<Lifetime> lives(graph.values.size(), {0, -1, -1});
  const std::vector<size_t> done = done_before(plan.places);
  const auto last_beside = [&](int group) { return static_cast<int>(done[static_cast<size_t>(group)]) - 1; };
  const auto touch = [&](ValueId id, int group) {
    Lifetime& life = lives[static_cast<size_t>(place_of(graph, id))];
    if (life.first < 0) life.first = group;
    life.last = std::max(life.last, last_beside(group));
  };
  for (size_t id = 0; id < graph.values.size(); ++id) {
    if (graph.values[id].kind != ValueKind::kInput) continue;
    lives[id] = {0, 0, std::max(last_group, 0)};
  }
  for (int g = 0; g <= last_group; ++g) {
    for (NodeId node : plan.groups[static_cast<size_t>(g)].nodes) {
      for (ValueId id : graph.node(node).inputs) touch(id, g);
      for (ValueId id : graph.node(node).outputs) touch(id, g);
    }
  }
  for (const auto& [name, id] : graph.outputs) {
    Lifetime& life = lives[static_cast<size_t>(place_of(graph, id))];
    life.last = std::max(life.last, last_group);
  }
  for (const Group& group : plan.groups) {
    for (ValueId id : group.internal) lives[static_cast<size_t>(id)].first = -1;
  }
  for (size_t id = 0; id < lives.size(); ++id) {
    const Value& value = graph.values[id];
    const bool in_arena = value.kind == ValueKind::kTensor || value.kind == ValueKind::kInput;
    if (!in_arena || lives[id].first < 0) continue;
    plan.placed.push_back(static_cast<ValueId>(id));
    plan.lifetimes.push_back({value.desc.bytes(), lives[id].first, lives[id].last});
  }
  for (int g = 0; g <= last_group; ++g) {
    plan.lifetimes.push_back({plan.launches[static_cast<size_t>(g)]->scratch_bytes(), g, last_beside(g)});
  }
}

}  // namespace

Cost Plan::cost() const {
  Cost total;
  for (const auto& launch : launches) total += launch->cost();
  return total;
}

bool is_all_reduce(const Graph& graph, const Group& group) {
  return std::holds_alternative<AllReduce>(graph.node(group.nodes.front()).op);
}

ValueId place_of(const Graph& graph, ValueId id) {
  for (NodeId producer = graph.value(id).producer;
       producer != kNone && std::holds_alternative<AllReduce>(graph.node(producer).op);
       producer = graph.value(id).producer) {
    const Node& node = graph.node(producer);
    const auto position = std::find(node.outputs.begin(), node.outputs.end(), id) - node.outputs.begin();
    id = node.inputs[static_cast<size_t>(position)];
  }
  return id;
}

bool reads_sums(const Graph& graph, const Group& group) {
  return std::any_of(group.nodes.begin(), group.nodes.end(), [&](NodeId id) {
    const std::vector<ValueId>& inputs = graph.node(id).inputs;
    return std::any_of(inputs.begin(), inputs.end(),
                       [&](ValueId input) { return place_of(graph, input) != input; });
  });
}

std::vector<RecordedLaunch> recorded_launches(const Plan& plan, size_t begin, size_t end) {
  std::vector<RecordedLaunch> recorded;
  for (size_t g = begin; g < end; ++g) {
    const StreamPlace& place = plan.places[g];
    recorded.push_back({plan.launches[g].get(), place.stream, std::nullopt});
    if (!place.wait) continue;
    if (*place.wait >= begin) {
      recorded.back().wait = *place.wait - begin;
    } else {
      recorded.back().stream = kMainStream;
    }
  }
  return recorded;
}

Plan make_plan(Graph graph, Backend& backend, const PlanOptions& options) {
  Plan plan;
  plan.graph = std::move(graph);
  plan.groups = options.group ? backend.groups(plan.graph) : single_groups(plan.graph);
  const auto is_update = [&](const Group& group) {
    return plan.graph.node(group.nodes.front()).phase == Phase::kUpdate;
  };
  plan.update_begin = static_cast<size_t>(std::find_if(plan.groups.begin(), plan.groups.end(), is_update) -
                                          plan.groups.begin());
  for (const Group& group : plan.groups) {
    plan.launches.push_back(is_all_reduce(plan.graph, group)
                                ? std::make_unique<AllReduceLaunch>(plan.graph, group, options.exchange)
                                : backend.prepare(plan.graph, group));
  }
  plan.places.resize(plan.groups.size());
  if (options.second_stream && backend.streams() > 1) {
    plan.places = assign_streams(group_uses(plan.graph, plan.groups));
  }
  find_lifetimes(plan);
  plan.memory = plan_memory(plan.lifetimes, options.reuse);
  for (const Value& value : plan.graph.values) {
    if (value.persistent() && value.kind != ValueKind::kInput) plan.persistent_bytes += value.desc.bytes();
  }
  return plan;
}

}  // namespace residuum
