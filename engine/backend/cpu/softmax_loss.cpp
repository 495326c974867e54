// Softmax cross-entropy with label smoothing, in double: there are few logits, and the loss is what people
// compare. A row with a negative label is masked: it counts in nothing and gets no gradient.
#include <algorithm>
#include <cmath>

#include "engine/backend/cpu/kernel.h"
#include "engine/core/check.h"
#include "engine/core/overloaded.h"

namespace residuum::cpu {
namespace {

using Addresses = std::span<std::byte* const>;

void check_label(int32_t label, int64_t classes) {
  check(label < classes, ErrorKind::kData, "label {} is out of range: the model has {} classes (0 to {})",
        label, classes, classes - 1);
}

/// log(sum(exp(z))) of one row, without overflow; NaN when a logit is NaN.
double log_sum_exp(const float* z, int64_t classes) {
  const double highest = static_cast<double>(*std::max_element(z, z + classes));
  double sum = 0;
  for (int64_t k = 0; k < classes; ++k) sum += std::exp(static_cast<double>(z[k]) - highest);
  return highest + std::log(sum);
}

/// How many classes rank above the label: a larger (or NaN) logit, or an equal one with a lower number; not 0
/// when the label's own is NaN.
int64_t classes_above(const float* z, int64_t classes, int32_t label) {
  const float own = z[label];
  int64_t above = 0;
  for (int64_t k = 0; k < classes; ++k) above += !(z[k] <= own) || (z[k] == own && k < label);
  return above;
}

/// What one shard adds to the loss.
struct LossPartial {
  double loss;
  int64_t valid, top1, top5;
};

class LossKernel final : public Kernel {
 public:
  LossKernel(const KernelSource& source, float smoothing)
      : classes_(source.in(0).shape[1]), shards_(source.shards), smoothing_(static_cast<double>(smoothing)) {}

  size_t shared_scratch_bytes() const override { return static_cast<size_t>(shards_) * sizeof(LossPartial); }
  void bind(Addresses, Addresses out, std::byte* shared_scratch) override {
    partials_ = reinterpret_cast<LossPartial*>(shared_scratch);
    loss_ = reinterpret_cast<float*>(out[0]);
    counts_ = reinterpret_cast<int32_t*>(out[1]);
  }
  void shard(const ShardContext& context) override {
    const float* z = reinterpret_cast<const float*>(context.in[0]);
    const int32_t* labels = reinterpret_cast<const int32_t*>(context.in[1]);
    LossPartial partial{};
    for (int64_t row = 0; row < context.range.count; ++row, z += classes_) {
      if (labels[row] >= 0) add_row(z, labels[row], partial);
    }
    partials_[context.range.index] = partial;
  }
  int finish_tasks() const override { return 1; }
  /// Without a valid row the loss is 0.
  void finish(int, const StepParams&) override {
    LossPartial total{};
    for (int s = 0; s < shards_; ++s) {
      total.loss += partials_[s].loss;
      total.valid += partials_[s].valid;
      total.top1 += partials_[s].top1;
      total.top5 += partials_[s].top5;
    }
    loss_[0] = total.valid > 0 ? static_cast<float>(total.loss / static_cast<double>(total.valid)) : 0.0f;
    counts_[0] = static_cast<int32_t>(total.valid);
    counts_[1] = static_cast<int32_t>(total.top1);
    counts_[2] = static_cast<int32_t>(total.top5);
  }

 private:
  /// Loss of a row: lse - (1 - eps) z_label - eps mean(z).
  void add_row(const float* z, int32_t label, LossPartial& partial) const {
    check_label(label, classes_);
    double sum = 0;
    for (int64_t k = 0; k < classes_; ++k) sum += static_cast<double>(z[k]);
    const double smooth = smoothing_ == 0 ? 0 : smoothing_ * sum / static_cast<double>(classes_);
    partial.loss += log_sum_exp(z, classes_) - (1 - smoothing_) * static_cast<double>(z[label]) - smooth;
    partial.valid += 1;
    const bool is_number = !std::isnan(z[label]);
    const int64_t above = classes_above(z, classes_, label);
    partial.top1 += is_number && above < 1;
    partial.top5 += is_number && above < 5;
  }

  int64_t classes_;
  int shards_;
  double smoothing_;
  LossPartial* partials_ = nullptr;
  float* loss_ = nullptr;
  int32_t* counts_ = nullptr;
};

class LossBackwardKernel final : public Kernel {
 public:
  LossBackwardKernel(const KernelSource& source, const SoftmaxCrossEntropyBackward& op)
      : classes_(source.in(0).shape[1]),
        batch_(source.batch),
        smoothing_(static_cast<double>(op.smoothing)),
        scale_(static_cast<double>(op.scale)) {}

  size_t shared_scratch_bytes() const override { return sizeof(int64_t); }
  void bind(Addresses in, Addresses, std::byte* shared_scratch) override {
    labels_ = reinterpret_cast<const int32_t*>(in[1]);
    valid_ = reinterpret_cast<int64_t*>(shared_scratch);
  }
  int prepare_tasks() const override { return 1; }
  void prepare(int, const StepParams&) override {
    *valid_ = std::count_if(labels_, labels_ + batch_, [](int32_t label) { return label >= 0; });
  }
  void shard(const ShardContext& context) override {
    const float* z = reinterpret_cast<const float*>(context.in[0]);
    const int32_t* labels = reinterpret_cast<const int32_t*>(context.in[1]);
    float* d = reinterpret_cast<float*>(context.out[0]);
    for (int64_t row = 0; row < context.range.count; ++row, z += classes_, d += classes_) {
      if (labels[row] < 0) {
        std::fill_n(d, classes_, 0.0f);
      } else {
        write_row(z, labels[row], d);
      }
    }
  }

 private:
  void write_row(const float* z, int32_t label, float* d) const {
    check_label(label, classes_);
    const double lse = log_sum_exp(z, classes_), share = scale_ / static_cast<double>(*valid_);
    const double everywhere = smoothing_ / static_cast<double>(classes_);
    for (int64_t k = 0; k < classes_; ++k) {
      const double target = everywhere + (k == label ? 1 - smoothing_ : 0);
      d[k] = static_cast<float>((std::exp(static_cast<double>(z[k]) - lse) - target) * share);
    }
  }

  int64_t classes_, batch_;
  double smoothing_, scale_;
  const int32_t* labels_ = nullptr;
  int64_t* valid_ = nullptr;
};

}  // namespace

std::unique_ptr<Kernel> make_softmax_loss(const KernelSource& source) {
  using Made = std::unique_ptr<Kernel>;
  return std::visit(overloaded{
                        [&](const SoftmaxCrossEntropy& op) -> Made {
                          return std::make_unique<LossKernel>(source, op.smoothing);
                        },
                        [&](const SoftmaxCrossEntropyBackward& op) -> Made {
                          return std::make_unique<LossBackwardKernel>(source, op);
                        },
                        [&](const auto&) -> Made {
                          fail(ErrorKind::kInternal, "make_softmax_loss: {} is not a loss",
                               op_name(source.node.op));
                        },
                    },
                    source.node.op);
}

}  // namespace residuum::cpu
