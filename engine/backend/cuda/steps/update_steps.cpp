// The optimizer's part of a step: many tensors in one launch. Which pieces of which tensors a launch works on
// is a table in device memory (the step's constants), made once when the addresses are known.
#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "engine/backend/cuda/steps/steps.h"
#include "engine/core/check.h"

namespace residuum::cuda {
namespace {

using kernels::Chunk;

template <typename Number>
std::vector<std::byte> bytes_of(const std::vector<Number>& numbers) {
  std::vector<std::byte> bytes(numbers.size() * sizeof(Number));
  std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes;
}

/// Which input of the node is tensor i of a role: positions[role * tensors + i].
using Positions = std::vector<size_t>;

/// The lists of a node as they stand in its inputs from `first` on.
Positions all_inputs(const StepSource& source, size_t first) {
  Positions positions(source.node.inputs.size() - first);
  std::iota(positions.begin(), positions.end(), first);
  return positions;
}

/// The tables of one launch, one behind the other: chunks, addresses, one number a tensor.
class Tables {
 public:
  /// `numbers` may be empty.
  Tables(const StepSource& source, size_t tensors, Positions positions, std::vector<std::byte> numbers = {})
      : tensors_(tensors), positions_(std::move(positions)), numbers_(std::move(numbers)) {
    for (size_t i = 0; i < tensors; ++i) {
      const int64_t elements = source.in(positions_[i]).elements();
      for (int64_t begin = 0; begin < elements; begin += kernels::kChunkElements) {
        const int64_t count = std::min<int64_t>(kernels::kChunkElements, elements - begin);
        chunks_.push_back({static_cast<int32_t>(i), static_cast<int32_t>(count), begin});
      }
    }
  }

  /// A launch reads all of the tables.
  Cost cost() const {
    const size_t bytes = pointers_offset() + positions_.size() * sizeof(void*) + numbers_.size();
    return also_read(static_cast<int64_t>(bytes));
  }
  int32_t chunk_count() const { return static_cast<int32_t>(chunks_.size()); }

  std::vector<std::byte> bytes(const Bound& bound) const {
    std::vector<void*> pointers;
    for (const size_t position : positions_)
      pointers.push_back(position == kAbsent ? nullptr : bound.in[position]);
    std::vector<std::byte> result = bytes_of(chunks_);
    for (const std::vector<std::byte>& table : {bytes_of(pointers), numbers_})
      result.insert(result.end(), table.begin(), table.end());
    return result;
  }
  size_t byte_count() const {
    return pointers_offset() + positions_.size() * sizeof(void*) + numbers_.size();
  }
  kernels::TensorLists lists(const Bound& bound) const {
    return {reinterpret_cast<const Chunk*>(bound.constants),
            reinterpret_cast<void* const*>(bound.constants + pointers_offset()), chunk_count(),
            static_cast<int32_t>(tensors_)};
  }
  template <typename Number>
  const Number* numbers(const Bound& bound) const {
    return reinterpret_cast<const Number*>(bound.constants + pointers_offset() +
                                           positions_.size() * sizeof(void*));
  }

 private:
  size_t pointers_offset() const { return chunks_.size() * sizeof(Chunk); }

  size_t tensors_;
  Positions positions_;
  std::vector<Chunk> chunks_;
  std::vector<std::byte> numbers_;
};

/// The bytes of inputs [first, last).
int64_t bytes_of_inputs(const StepSource& source, size_t first, size_t last) {
  size_t bytes = 0;
  for (size_t i = first; i < last; ++i) bytes += source.in(i).bytes();
  return static_cast<int64_t>(bytes);
}

constexpr int64_t kWord = 4;  ///< bytes of one of the norm's floats, or of one of the step's values

/// A step whose constants are the tables and whose launch is `enqueue(tables, bound)`.
template <typename Enqueue>
Step table_step(const StepSource& source, Tables tables, const Cost& beside, const Enqueue& enqueue,
                size_t scratch_bytes = 0) {
  const auto shared = std::make_shared<const Tables>(std::move(tables));
  Step step =
      source.step([=](const Bound& b) { enqueue(*shared, b); }, scratch_bytes, shared->cost() + beside);
  step.constants = [shared](const Bound& b) { return shared->bytes(b); };
  return step;
}

/// A node's tables, its cost beside them, and what its kernel wants to know.
struct SgdPlan {
  SgdPlan(const StepSource& source, const SgdUpdate& op)
      : tables(source, op.weight_decay.size(), sgd_positions(source, op), bytes_of(op.weight_decay)) {
    args.momentum = op.momentum;
    args.clip_norm = op.clip_norm;
    args.gradient_scale = op.gradient_scale;
    args.nesterov = op.nesterov;
    const size_t inputs = source.node.inputs.size(), tensors = op.weight_decay.size();
    if (!op.copy_of.empty()) args.copy_type = source.element(source.in(inputs - 1));
    const int64_t copied = bytes_of_inputs(source, 1 + 3 * tensors, inputs);
    beside = also_written(bytes_of_inputs(source, 1, 1 + 2 * tensors) + copied) +
             also_read(kWord - copied - (op.clip_norm > 0 ? 0 : kWord));
  }
  /// weights, momenta, gradients; then each weight's copy, or none.
  static Positions sgd_positions(const StepSource& source, const SgdUpdate& op) {
    const size_t tensors = op.weight_decay.size(), copies = 3 * tensors;
    Positions positions = all_inputs(source, 1);
    positions.resize(copies);
    positions.resize(copies + tensors, kAbsent);
    for (size_t k = 0; k < op.copy_of.size(); ++k)
      positions[copies + static_cast<size_t>(op.copy_of[k])] = 1 + copies + k;
    return positions;
  }
  kernels::SgdArgs bind(const Bound& b) const {
    kernels::SgdArgs bound = args;
    bound.weight_decay = tables.numbers<float>(b);
    bound.norm = as<float>(b.in[0]);
    bound.step = b.step;
    return bound;
  }

  Tables tables;
  kernels::SgdArgs args;
  Cost beside;
};
struct CommitPlan {
  CommitPlan(const StepSource& source, const BatchNormCommit& op)
      : tables(source, op.counts.size(), all_inputs(source, 1), bytes_of(op.counts)) {
    args.momentum = op.momentum;
    args.scale = op.scale;
    beside = also_written(bytes_of_inputs(source, 1 + 2 * op.counts.size(), source.node.inputs.size())) +
             also_read(-kWord);
  }
  kernels::CommitArgs bind(const Bound& b) const {
    kernels::CommitArgs bound = args;
    bound.counts = tables.numbers<int64_t>(b);
    bound.norm = as<float>(b.in[0]);
    return bound;
  }

  Tables tables;
  kernels::CommitArgs args;
  Cost beside;
};

}  // namespace

Step make_step(const StepSource& source, const GradientNorm&) {
  Tables tables(source, source.node.inputs.size(), all_inputs(source, 0));
  const size_t workspace = kernels::gradient_norm_workspace(tables.chunk_count());
  return table_step(
      source, std::move(tables), ordered_sum(workspace),
      [](const Tables& t, const Bound& b) {
        kernels::gradient_norm(t.lists(b), as<float>(b.out[0]), b.scratch, b.counter, b.stream);
      },
      workspace);
}

Step make_step(const StepSource& source, const AccumulateGradient& op) {
  const size_t inputs = source.node.inputs.size();
  // The first micro-step of each step, which starts the sums, does not read them.
  const Cost beside = also_written(bytes_of_inputs(source, inputs / 2, inputs)) + also_read(kWord);
  return table_step(source, Tables(source, inputs / 2, all_inputs(source, 0)), beside,
                    [op](const Tables& t, const Bound& b) {
                      kernels::accumulate_gradient(t.lists(b), {op.restart, op.when, b.step}, b.stream);
                    });
}

Step make_step(const StepSource& source, const AllReduce&) {
  fail(ErrorKind::kInternal, "node '{}': an all_reduce is the executor's", source.node.name);
}

Step make_step(const StepSource& source, const SgdUpdate& op) {
  const SgdPlan plan(source, op);
  return table_step(source, plan.tables, plan.beside, [plan](const Tables& t, const Bound& b) {
    kernels::sgd_update(t.lists(b), plan.bind(b), b.stream);
  });
}

Step make_step(const StepSource& source, const EmaUpdate& op) {
  const size_t inputs = source.node.inputs.size(), tensors = (inputs - 1) / 2;
  const Cost beside = also_written(bytes_of_inputs(source, 1 + tensors, inputs)) + also_read(-kWord);
  return table_step(source, Tables(source, tensors, all_inputs(source, 1)), beside,
                    [decay = op.decay](const Tables& t, const Bound& b) {
                      kernels::ema_update(t.lists(b), decay, as<float>(b.in[0]), b.stream);
                    });
}

Step make_step(const StepSource& source, const BatchNormCommit& op) {
  const CommitPlan plan(source, op);
  return table_step(source, plan.tables, plan.beside, [plan](const Tables& t, const Bound& b) {
    kernels::batch_norm_commit(t.lists(b), plan.bind(b), b.stream);
  });
}

Step make_fused_update(const Graph& graph, const Fused& fused, const StepOptions& options) {
  const StepSource weights{graph, *part<SgdUpdate>(graph, fused), options},
      norms{graph, *part<BatchNormCommit>(graph, fused), options};
  const SgdPlan sgd(weights, std::get<SgdUpdate>(weights.node.op));
  const CommitPlan commit(norms, std::get<BatchNormCommit>(norms.node.op));
  const size_t inputs = weights.node.inputs.size();
  const size_t second_at = aligned(sgd.tables.byte_count());
  // Each half sees its own node's inputs and its own tables.
  const auto halves = [=](const Bound& b) {
    std::array<Bound, 2> half{b, b};
    half[0].in.resize(inputs);
    half[1].in.assign(b.in.begin() + static_cast<std::ptrdiff_t>(inputs), b.in.end());
    if (b.constants != nullptr) half[1].constants += second_at;
    return half;
  };
  Step step = weights.step(
      [=](const Bound& b) {
        const auto [first, second] = halves(b);
        kernels::sgd_update_and_commit(sgd.tables.lists(first), sgd.bind(first), commit.tables.lists(second),
                                       commit.bind(second), b.stream);
      },
      0, sgd.tables.cost() + sgd.beside + commit.tables.cost() + commit.beside + also_read(kWord));
  step.inputs.insert(step.inputs.end(), norms.node.inputs.begin(), norms.node.inputs.end());
  step.constants = [=](const Bound& b) {
    const auto [first, second] = halves(b);
    std::vector<std::byte> bytes = sgd.tables.bytes(first);
    bytes.resize(second_at);
    const std::vector<std::byte> more = commit.tables.bytes(second);
    bytes.insert(bytes.end(), more.begin(), more.end());
    return bytes;
  };
  return step;
}

}  // namespace residuum::cuda
