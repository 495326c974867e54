#include "engine/exec/all_reduce_launch.h"

namespace residuum {

AllReduceLaunch::AllReduceLaunch(const Graph& graph, const Group& group, Exchange* exchange)
    : node_(graph.node(group.nodes.front())), exchange_(exchange), cost_(group_cost(graph, group)) {
  for (const ValueId id : node_.inputs) {
    memory_.push_back({nullptr, static_cast<size_t>(graph.desc(id).elements())});
  }
}

void AllReduceLaunch::bind(std::span<std::byte* const> addresses, std::byte*) {
  for (size_t i = 0; i < memory_.size(); ++i) {
    memory_[i].data = addresses[static_cast<size_t>(node_.inputs[i])];
  }
}

void AllReduceLaunch::run(const StepParams&) {
  check(exchange_ != nullptr, ErrorKind::kInternal, "'{}' sums over ranks, but the plan has no exchange",
        node_.name);
  exchange_->start(memory_, std::get<AllReduce>(node_.op).factor, node_.name);
}

}  // namespace residuum
