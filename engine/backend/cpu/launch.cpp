#include "engine/backend/cpu/launch.h"

#include <algorithm>
#include <map>

#include "engine/core/check.h"
#include "engine/graph/memory_plan.h"

namespace residuum::cpu {
namespace {

size_t row_bytes(const TensorDesc& desc) {
  return desc.shape[0] == 0 ? 0 : desc.bytes() / static_cast<size_t>(desc.shape[0]);
}

}  // namespace

int64_t batch_of(const Graph& graph, const Node& node) {
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (reads_batch(node.op, i)) return graph.desc(node.inputs[i]).shape[0];
  }
  return 1;
}

int pieces_of(const Graph& graph, const Node& node) {
  if (op_domain(node.op) == OpDomain::kWhole) return 64;
  const int shards = shard_count(batch_of(graph, node));
  const bool weight_gradient = std::holds_alternative<ConvBackwardFilter>(node.op) ||
                               std::holds_alternative<LinearBackwardFilter>(node.op) ||
                               std::holds_alternative<Gram>(node.op);
  if (!weight_gradient) return shards;
  // Partials beyond 16 MB leave the caches for memory: fewer, larger pieces, but at least two.
  constexpr size_t kPartialBytes = 16 << 20;
  const size_t weight_bytes = graph.desc(node.outputs[0]).bytes();
  int pieces = shards;
  while (pieces > 2 && static_cast<size_t>(pieces) * weight_bytes > kPartialBytes) pieces = (pieces + 1) / 2;
  return pieces;
}

namespace {

void refuse_f16(const Graph& graph, const Group& group) {
  for (const NodeId id : group.nodes) {
    for (const auto* ids : {&graph.node(id).inputs, &graph.node(id).outputs}) {
      for (const ValueId value : *ids) {
        check(graph.desc(value).dtype != DType::kF16, ErrorKind::kDevice,
              "train.precision fp16 needs --device cuda; the CPU computes in fp32 or bf16");
      }
    }
  }
}

}  // namespace

CpuLaunch::CpuLaunch(const Graph& graph, const Group& group, ThreadPool& pool)
    : pool_(pool), cost_(group_cost(graph, group)), batch_(batch_of(graph, graph.node(group.nodes[0]))) {
  refuse_f16(graph, group);
  shards_ = shard_count(batch_);
  if (group.nodes.size() == 1) shards_ = pieces_of(graph, graph.node(group.nodes[0]));
  size_t most_operands = 0;
  for (const Step& fused : fuse_steps(graph, group)) {
    steps_.push_back(make_step(graph, fused));
    const BoundStep& step = steps_.back();
    kernel_scratch_bytes_ =
        std::max(kernel_scratch_bytes_, arena_aligned(step.kernel->thread_scratch_bytes()));
    shared_bytes_ += arena_aligned(step.kernel->shared_scratch_bytes());
    most_operands = std::max(most_operands, step.in.size() + step.out.size());
    for (int task = 0; task < step.kernel->prepare_tasks(); ++task)
      prepare_.push_back({step.kernel.get(), task});
    for (int task = 0; task < step.kernel->finish_tasks(); ++task)
      finish_.push_back({step.kernel.get(), task});
  }
  onednn_ = std::any_of(group.nodes.begin(), group.nodes.end(),
                        [&](NodeId id) { return node_macs(graph, graph.node(id)) > 0; });
  plan_internals(graph, group);
  pointers_.assign(static_cast<size_t>(pool.threads()), std::vector<std::byte*>(most_operands));
}

CpuLaunch::BoundStep CpuLaunch::make_step(const Graph& graph, const Step& step) const {
  const Node& node = graph.node(step.node);
  BoundStep bound;
  bound.kernel = make_kernel({graph, node, batch_, shards_, step.relu});
  // What a step reads beyond its node's inputs, or writes beyond its outputs, is a batch.
  const auto operand = [&](ValueId id, bool batch) {
    return Operand{id, nullptr, batch ? row_bytes(graph.desc(id)) : 0, 0, false};
  };
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    bound.in.push_back(operand(step.inputs[i], i >= node.inputs.size() || reads_batch(node.op, i)));
  }
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    bound.out.push_back(
        operand(step.outputs[i], i >= node.outputs.size() || op_domain(node.op) == OpDomain::kBatchMap));
  }
  return bound;
}

void CpuLaunch::plan_internals(const Graph& graph, const Group& group) {
  const size_t largest_shard = static_cast<size_t>((batch_ + shards_ - 1) / shards_);
  std::map<ValueId, size_t> index;
  std::vector<Lifetime> lifetimes;
  for (size_t s = 0; s < steps_.size(); ++s) {
    const int now = static_cast<int>(s);
    for (const Operand& out : steps_[s].out) {
      if (std::find(group.internal.begin(), group.internal.end(), out.id) == group.internal.end()) continue;
      index[out.id] = lifetimes.size();
      const size_t bytes = out.row_bytes > 0 ? out.row_bytes * largest_shard : graph.desc(out.id).bytes();
      lifetimes.push_back({bytes, now, now});
    }
    for (const Operand& in : steps_[s].in) {
      const auto found = index.find(in.id);
      if (found != index.end()) lifetimes[found->second].last = now;
    }
  }
  const MemoryPlan plan = plan_memory(lifetimes);
  internal_bytes_ = plan.arena_bytes;
  for (BoundStep& step : steps_) {
    for (std::vector<Operand>* operands : {&step.in, &step.out}) {
      for (Operand& operand : *operands) {
        const auto found = index.find(operand.id);
        if (found == index.end()) continue;
        operand.internal = true;
        operand.internal_offset = plan.offsets[found->second];
      }
    }
  }
}

size_t CpuLaunch::scratch_bytes() const {
  return shared_bytes_ + static_cast<size_t>(pool_.threads()) * (internal_bytes_ + kernel_scratch_bytes_);
}

void CpuLaunch::bind(std::span<std::byte* const> addresses, std::byte* scratch) {
  const auto look_up = [&](std::vector<Operand>& operands) {
    std::vector<std::byte*> result;
    for (Operand& operand : operands) {
      if (!operand.internal) operand.base = addresses[static_cast<size_t>(operand.id)];
      result.push_back(operand.base);
    }
    return result;
  };
  for (BoundStep& step : steps_) {
    const std::vector<std::byte*> in = look_up(step.in), out = look_up(step.out);
    step.kernel->bind(in, out, scratch);
    scratch += arena_aligned(step.kernel->shared_scratch_bytes());
  }
  thread_scratch_ = scratch;
}

void CpuLaunch::run(const StepParams& params) {
  const auto tasks = [](const std::vector<Task>& list) { return static_cast<int>(list.size()); };
  pool_.run(tasks(prepare_), [&](int i, int) {
    const Task& task = prepare_[static_cast<size_t>(i)];
    task.kernel->prepare(task.task, params);
  });
  pool_.run(shards_, [&](int shard, int thread) { run_shard(shard, thread, params); });
  pool_.run(tasks(finish_), [&](int i, int) {
    const Task& task = finish_[static_cast<size_t>(i)];
    task.kernel->finish(task.task, params);
  });
}

void CpuLaunch::run_shard(int shard, int thread, const StepParams& params) {
  const ShardRange range = shard_range(batch_, shards_, shard);
  std::byte* const internals =
      thread_scratch_ + static_cast<size_t>(thread) * (internal_bytes_ + kernel_scratch_bytes_);
  std::vector<std::byte*>& pointers = pointers_[static_cast<size_t>(thread)];
  const auto address = [&](const Operand& operand) {
    if (operand.internal) return internals + operand.internal_offset;
    return operand.base + operand.row_bytes * static_cast<size_t>(range.first);
  };
  for (BoundStep& step : steps_) {
    std::transform(step.in.begin(), step.in.end(), pointers.begin(), address);
    std::transform(step.out.begin(), step.out.end(),
                   pointers.begin() + static_cast<std::ptrdiff_t>(step.in.size()), address);
    const std::span<std::byte* const> all(pointers);
    step.kernel->shard({range, &params, all.first(step.in.size()),
                        all.subspan(step.in.size(), step.out.size()), internals + internal_bytes_});
  }
}

}  // namespace residuum::cpu
