// Updates over lists of parameters at the end of a training step. A list is one long row of elements cut into
// equal pieces, whatever the tensors' sizes; every update is element-wise and the norm is summed over fixed
// chunks, so the bits depend neither on the pieces nor on the threads.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/backend/cpu/kernel.h"
#include "engine/backend/cpu/simd.h"
#include "engine/core/check.h"
#include "engine/core/overloaded.h"

namespace residuum::cpu {
namespace {

using Addresses = std::span<std::byte* const>;

float* floats(std::byte* p) {
  return reinterpret_cast<float*>(p);
}

/// `count` tensors laid end to end.
class TensorList {
 public:
  /// The inputs [first, first + count) of the node.
  TensorList(const KernelSource& source, size_t first, size_t count) : ends_(count) {
    int64_t end = 0;
    for (size_t i = 0; i < count; ++i) ends_[i] = end += source.in(first + i).elements();
  }
  size_t count() const { return ends_.size(); }
  int64_t elements() const { return ends_.empty() ? 0 : ends_.back(); }

  /// Calls body(tensor, offset, n) for the runs within one tensor that make up the elements [begin, end).
  template <typename Body>
  void for_runs(int64_t begin, int64_t end, Body body) const {
    size_t i = static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end(), begin) - ends_.begin());
    while (begin < end) {
      const int64_t tensor_begin = i == 0 ? 0 : ends_[i - 1];
      const int64_t n = std::min(end, ends_[i]) - begin;
      if (n > 0) body(i, begin - tensor_begin, n);
      begin += n;
      ++i;
    }
  }

 private:
  std::vector<int64_t> ends_;  ///< index after each tensor's last element
};

/// body(context, tensor, offset, n) over this piece of the list.
template <typename Body>
class ListKernel final : public Kernel {
 public:
  ListKernel(const KernelSource& source, TensorList list, Body body)
      : list_(std::move(list)), pieces_(source.shards), body_(std::move(body)) {}

  void bind(Addresses, Addresses, std::byte*) override {}
  void shard(const ShardContext& context) override {
    const int64_t n = list_.elements();
    list_.for_runs(
        n * context.range.index / pieces_, n * (context.range.index + 1) / pieces_,
        [&](size_t tensor, int64_t offset, int64_t count) { body_(context, tensor, offset, count); });
  }

 private:
  TensorList list_;
  int64_t pieces_;
  Body body_;
};

template <typename Body>
std::unique_ptr<Kernel> over_list(const KernelSource& source, TensorList list, Body body) {
  return std::make_unique<ListKernel<Body>>(source, std::move(list), std::move(body));
}

class NormKernel final : public Kernel {
 public:
  explicit NormKernel(const KernelSource& source)
      : list_(source, 0, source.node.inputs.size()),
        pieces_(source.shards),
        chunks_((list_.elements() + kChunk - 1) / kChunk) {}

  size_t shared_scratch_bytes() const override { return static_cast<size_t>(chunks_) * sizeof(double); }
  void bind(Addresses, Addresses out, std::byte* shared_scratch) override {
    norm_ = floats(out[0]);
    squares_ = reinterpret_cast<double*>(shared_scratch);
  }
  void shard(const ShardContext& context) override {
    const Simd& loops = simd(DType::kF32);
    for (int64_t chunk = chunks_ * context.range.index / pieces_;
         chunk < chunks_ * (context.range.index + 1) / pieces_; ++chunk) {
      double sum = 0;
      const int64_t end = std::min(list_.elements(), (chunk + 1) * kChunk);
      list_.for_runs(chunk * kChunk, end, [&](size_t tensor, int64_t offset, int64_t n) {
        sum += loops.sum_squares(floats(context.in[tensor]) + offset, n);
      });
      squares_[chunk] = sum;
    }
  }
  int finish_tasks() const override { return 1; }
  /// Squares of finite floats cannot overflow a double, so the sum tells whether all were finite.
  void finish(int, const StepParams&) override {
    double sum = 0;
    for (int64_t chunk = 0; chunk < chunks_; ++chunk) sum += squares_[chunk];
    norm_[0] = static_cast<float>(std::sqrt(sum));
    norm_[1] = std::isfinite(sum) ? 1.0f : 0.0f;
  }

 private:
  static constexpr int64_t kChunk =
      16384;  // 64 KB: many pieces even for small nets, few partials for large ones

  TensorList list_;
  int64_t pieces_, chunks_;
  float* norm_ = nullptr;
  double* squares_ = nullptr;
};

std::unique_ptr<Kernel> make_accumulate(const KernelSource& source, const AccumulateGradient& op) {
  const size_t count = source.node.inputs.size() / 2;
  return over_list(source, TensorList(source, 0, count),
                   [op, count](const ShardContext& context, size_t i, int64_t offset, int64_t n) {
                     const uint32_t micro_step = context.params->micro_step;
                     if ((micro_step & op.when) != op.when) return;
                     const float* g = floats(context.in[i]) + offset;
                     float* sum = floats(context.in[count + i]) + offset;
                     if ((micro_step & op.restart) == 0) {
                       std::memcpy(sum, g, static_cast<size_t>(n) * sizeof(float));
                     } else {
                       simd(DType::kF32).add(sum, g, n, sum);
                     }
                   });
}

/// gradient_scale * min(1, clip_norm / (norm * gradient_scale)).
float gradient_factor(const SgdUpdate& op, float norm) {
  if (op.clip_norm <= 0) return op.gradient_scale;
  const float scaled = norm * op.gradient_scale;
  return scaled > op.clip_norm ? op.gradient_scale * (op.clip_norm / scaled) : op.gradient_scale;
}

/// Which input is the 16-bit copy of each weight; 0: it has none.
std::vector<size_t> copy_inputs(const SgdUpdate& op) {
  const size_t weights = op.weight_decay.size();
  std::vector<size_t> inputs(weights);
  for (size_t k = 0; k < op.copy_of.size(); ++k)
    inputs[static_cast<size_t>(op.copy_of[k])] = 1 + 3 * weights + k;
  return inputs;
}

std::unique_ptr<Kernel> make_sgd(const KernelSource& source, const SgdUpdate& op) {
  const size_t count = op.weight_decay.size();
  const DType copy_type = op.copy_of.empty() ? DType::kF32 : source.in(1 + 3 * count).dtype;
  return over_list(source, TensorList(source, 1, count),
                   [op, count, copies = copy_inputs(op), copy_type](const ShardContext& context, size_t i,
                                                                    int64_t offset, int64_t n) {
                     const float* norm = floats(context.in[0]);
                     if (norm[1] == 0) return;
                     const SgdFactors factors{gradient_factor(op, norm[0]), op.weight_decay[i], op.momentum,
                                              context.params->learning_rate, op.nesterov};
                     float* const weight = floats(context.in[1 + i]) + offset;
                     simd(DType::kF32)
                         .sgd(weight, floats(context.in[1 + count + i]) + offset,
                              floats(context.in[1 + 2 * count + i]) + offset, n, factors);
                     if (copies[i] == 0) return;
                     std::byte* const copy = context.in[copies[i]];
                     simd(copy_type).from_float(weight, n,
                                                copy + static_cast<size_t>(offset) * size_of(copy_type));
                   });
}

std::unique_ptr<Kernel> make_ema(const KernelSource& source, const EmaUpdate& op) {
  const size_t count = (source.node.inputs.size() - 1) / 2;
  return over_list(
      source, TensorList(source, 1, count),
      [decay = op.decay, count](const ShardContext& context, size_t i, int64_t offset, int64_t n) {
        if (floats(context.in[0])[1] == 0) return;
        float* average = floats(context.in[1 + count + i]) + offset;
        simd(DType::kF32).blend(average, decay, floats(context.in[1 + i]) + offset, 1.0f - decay, n, average);
      });
}

std::unique_ptr<Kernel> make_commit(const KernelSource& source, const BatchNormCommit& op) {
  const size_t count = op.counts.size();
  return over_list(source, TensorList(source, 1, count),
                   [op, count](const ShardContext& context, size_t i, int64_t offset, int64_t n) {
                     if (floats(context.in[0])[1] == 0) return;
                     const auto at = [&](size_t list) {
                       return floats(context.in[1 + list * count + i]) + offset;
                     };
                     const double samples = static_cast<double>(op.counts[i]);
                     const double unbiased = samples > 1 ? samples / (samples - 1) : 1;
                     const float of_mean = op.momentum * op.scale;
                     const float of_variance = static_cast<float>(static_cast<double>(of_mean) * unbiased);
                     const Simd& loops = simd(DType::kF32);
                     loops.blend(at(2), 1.0f - op.momentum, at(0), of_mean, n, at(2));
                     loops.blend(at(3), 1.0f - op.momentum, at(1), of_variance, n, at(3));
                   });
}

}  // namespace

std::unique_ptr<Kernel> make_update(const KernelSource& source) {
  using Made = std::unique_ptr<Kernel>;
  return std::visit(overloaded{
                        [&](const GradientNorm&) -> Made { return std::make_unique<NormKernel>(source); },
                        [&](const AccumulateGradient& op) -> Made { return make_accumulate(source, op); },
                        [&](const SgdUpdate& op) -> Made { return make_sgd(source, op); },
                        [&](const EmaUpdate& op) -> Made { return make_ema(source, op); },
                        [&](const BatchNormCommit& op) -> Made { return make_commit(source, op); },
                        [&](const auto&) -> Made {
                          fail(ErrorKind::kInternal, "make_update: {} is not an update",
                               op_name(source.node.op));
                        },
                    },
                    source.node.op);
}

}  // namespace residuum::cpu
