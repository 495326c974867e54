// Batch normalisation (Ioffe and Szegedy 2015) both ways. Statistics are reduced per shard in double and
// combined in shard order; applying them is one multiply-add per element with coefficients computed once per
// run, in double.
#include <array>
#include <cmath>

#include "engine/backend/cpu/channel_partials.h"
#include "engine/backend/cpu/kernel.h"
#include "engine/backend/cpu/simd.h"
#include "engine/core/check.h"
#include "engine/core/overloaded.h"

namespace residuum::cpu {
namespace {

using Addresses = std::span<std::byte* const>;

const float* floats(std::byte* p) {
  return reinterpret_cast<const float*>(p);
}

double inverse_deviation(float variance, float epsilon) {
  return 1.0 / std::sqrt(static_cast<double>(variance) + static_cast<double>(epsilon));
}

/// What every kernel here knows of the activation it works on.
struct Rows {
  explicit Rows(const KernelSource& source)
      : simd(cpu::simd(source.in(0).dtype)),
        per_image(KernelSource::rows_per_image(source.in(0))),
        batch(source.batch),
        channels(KernelSource::channels(source.in(0))) {}

  int64_t of(const ShardRange& range) const { return range.count * per_image; }

  const Simd& simd;
  int64_t per_image, batch, channels;
};

class StatsKernel final : public Kernel {
 public:
  explicit StatsKernel(const KernelSource& source)
      : rows_(source), partials_(rows_.channels, source.shards, 2) {}

  size_t shared_scratch_bytes() const override { return partials_.bytes(); }
  void bind(Addresses, Addresses out, std::byte* shared_scratch) override {
    partials_.bind(shared_scratch);
    mean_ = reinterpret_cast<float*>(out[0]);
    variance_ = reinterpret_cast<float*>(out[1]);
  }
  void shard(const ShardContext& context) override {
    const int index = context.range.index;
    rows_.simd.moments(context.in[0], rows_.of(context.range), rows_.channels, partials_.part(index, 0),
                       partials_.part(index, 1));
  }
  int finish_tasks() const override { return partials_.tasks(); }
  /// Chan, Golub and LeVeque 1979: moments of a union from the moments of its parts.
  void finish(int task, const StepParams&) override {
    partials_.for_channels(task, [&](int64_t c) {
      double n = 0, mean = 0, m2 = 0;
      for (int s = 0; s < partials_.shards(); ++s) {
        const double more = static_cast<double>(rows_.of(shard_range(rows_.batch, partials_.shards(), s)));
        if (more == 0) continue;
        const double delta = partials_.part(s, 0)[c] - mean;
        m2 += partials_.part(s, 1)[c] + delta * delta * (n * more / (n + more));
        mean += delta * (more / (n + more));
        n += more;
      }
      mean_[c] = static_cast<float>(mean);
      variance_[c] = static_cast<float>(m2 / n);
    });
  }

 private:
  Rows rows_;
  ChannelPartials partials_;
  float *mean_ = nullptr, *variance_ = nullptr;
};

/// Sums of a batch norm's backward pass; with `relu` the ReLU before them too (StepKind::kReluReduce): inputs
/// d_a, src, mean, variance, z [, d_b], outputs d_gamma, d_beta, g.
class BackwardReduceKernel final : public Kernel {
 public:
  BackwardReduceKernel(const KernelSource& source, float epsilon, bool relu)
      : rows_(source), partials_(rows_.channels, source.shards, 2), epsilon_(epsilon), relu_(relu) {}

  size_t shared_scratch_bytes() const override { return partials_.bytes(); }
  void bind(Addresses in, Addresses out, std::byte* shared_scratch) override {
    partials_.bind(shared_scratch);
    variance_ = floats(in[3]);
    d_gamma_ = reinterpret_cast<float*>(out[0]);
    d_beta_ = reinterpret_cast<float*>(out[1]);
  }
  void shard(const ShardContext& context) override {
    const int index = context.range.index;
    const int64_t rows = rows_.of(context.range);
    if (relu_) {
      rows_.simd.relu_backward_sums(context.in[0], context.in.size() > 5 ? context.in[5] : nullptr,
                                    context.in[4], context.in[1], rows, rows_.channels, floats(context.in[2]),
                                    context.out[2], partials_.part(index, 0), partials_.part(index, 1));
    } else {
      rows_.simd.backward_sums(context.in[0], context.in[1], rows, rows_.channels, floats(context.in[2]),
                               partials_.part(index, 0), partials_.part(index, 1));
    }
  }
  int finish_tasks() const override { return partials_.tasks(); }
  void finish(int task, const StepParams&) override {
    partials_.for_channels(task, [&](int64_t c) {
      d_beta_[c] = static_cast<float>(partials_.total(0, c));
      d_gamma_[c] = static_cast<float>(partials_.total(1, c) * inverse_deviation(variance_[c], epsilon_));
    });
  }

 private:
  Rows rows_;
  ChannelPartials partials_;
  float epsilon_;
  bool relu_;
  const float* variance_ = nullptr;
  float *d_gamma_ = nullptr, *d_beta_ = nullptr;
};

/// A kernel whose shards apply kVectors coefficients per channel, which `Rule` computes from the vectors
/// among the inputs: Rule::coefficients(in, c, batch rows) and Rule::apply(rows, context, coefficients).
template <typename Rule>
class CoefficientKernel final : public Kernel {
 public:
  CoefficientKernel(const KernelSource& source, Rule rule) : rows_(source), rule_(rule) {}

  size_t shared_scratch_bytes() const override {
    return Rule::kVectors * static_cast<size_t>(rows_.channels) * sizeof(float);
  }
  void bind(Addresses in, Addresses, std::byte* shared_scratch) override {
    in_.assign(in.begin(), in.end());
    for (size_t k = 0; k < Rule::kVectors; ++k) {
      coefficients_[k] = reinterpret_cast<float*>(shared_scratch) + static_cast<int64_t>(k) * rows_.channels;
    }
  }
  int prepare_tasks() const override { return 1; }
  void prepare(int, const StepParams&) override {
    const double rows = static_cast<double>(rows_.batch * rows_.per_image);
    for (int64_t c = 0; c < rows_.channels; ++c) {
      const auto values = rule_.coefficients(in_, c, rows);
      for (size_t k = 0; k < Rule::kVectors; ++k) coefficients_[k][c] = static_cast<float>(values[k]);
    }
  }
  void shard(const ShardContext& context) override {
    rule_.apply(rows_.simd, context, rows_.of(context.range), rows_.channels, coefficients_);
  }

 private:
  Rows rows_;
  Rule rule_;
  std::vector<std::byte*> in_;
  std::array<float*, Rule::kVectors> coefficients_{};
};

/// (src, mean, variance, gamma, beta [, addend]) -> f(gamma inv_std src + (beta - gamma inv_std mean) [+
/// addend]); f is ReLU or nothing.
struct ApplyRule {
  static constexpr size_t kVectors = 2;
  float epsilon;
  bool relu;

  std::array<double, 2> coefficients(Addresses in, int64_t c, double) const {
    const double scale = static_cast<double>(floats(in[3])[c]) * inverse_deviation(floats(in[2])[c], epsilon);
    return {scale, static_cast<double>(floats(in[4])[c]) - scale * static_cast<double>(floats(in[1])[c])};
  }
  void apply(const Simd& simd, const ShardContext& context, int64_t rows, int64_t c,
             const std::array<float*, 2>& v) const {
    const std::byte* const addend = context.in.size() > 5 ? context.in[5] : nullptr;
    simd.affine(context.in[0], addend, rows, c, v[0], v[1], relu, context.out[0]);
  }
};

/// (d_dst, src, mean, variance, gamma, d_gamma, d_beta) -> gamma inv_std (d_dst - d_beta / m - xhat d_gamma /
/// m).
struct BackwardApplyRule {
  static constexpr size_t kVectors = 3;
  float epsilon;

  std::array<double, 3> coefficients(Addresses in, int64_t c, double rows) const {
    const double inv_std = inverse_deviation(floats(in[3])[c], epsilon);
    const double of_dy = static_cast<double>(floats(in[4])[c]) * inv_std;
    const double of_x = -of_dy * inv_std * static_cast<double>(floats(in[5])[c]) / rows;
    const double mean = static_cast<double>(floats(in[2])[c]);
    return {of_dy, of_x, -of_dy * static_cast<double>(floats(in[6])[c]) / rows - of_x * mean};
  }
  static void apply(const Simd& simd, const ShardContext& context, int64_t rows, int64_t c,
                    const std::array<float*, 3>& v) {
    simd.affine2(context.in[0], context.in[1], rows, c, v[0], v[1], v[2], context.out[0]);
  }
};

/// (d_dst, mean, variance, gamma) -> gamma inv_std d_dst.
struct FrozenBackwardRule {
  static constexpr size_t kVectors = 2;
  float epsilon;

  std::array<double, 2> coefficients(Addresses in, int64_t c, double) const {
    return {static_cast<double>(floats(in[3])[c]) * inverse_deviation(floats(in[2])[c], epsilon), 0};
  }
  static void apply(const Simd& simd, const ShardContext& context, int64_t rows, int64_t c,
                    const std::array<float*, 2>& v) {
    simd.affine(context.in[0], nullptr, rows, c, v[0], v[1], false, context.out[0]);
  }
};

}  // namespace

std::unique_ptr<Kernel> make_batch_norm(const KernelSource& source) {
  using Made = std::unique_ptr<Kernel>;
  return std::visit(
      overloaded{
          [&](const BatchNormStats&) -> Made { return std::make_unique<StatsKernel>(source); },
          [&](const BatchNormApply& op) -> Made {
            return std::make_unique<CoefficientKernel<ApplyRule>>(source, ApplyRule{op.epsilon, source.relu});
          },
          [&](const BatchNormBackwardReduce& op) -> Made {
            return std::make_unique<BackwardReduceKernel>(source, op.epsilon, source.relu);
          },
          [&](const BatchNormBackwardApply& op) -> Made {
            return std::make_unique<CoefficientKernel<BackwardApplyRule>>(source,
                                                                          BackwardApplyRule{op.epsilon});
          },
          [&](const BatchNormFrozenBackward& op) -> Made {
            return std::make_unique<CoefficientKernel<FrozenBackwardRule>>(source,
                                                                           FrozenBackwardRule{op.epsilon});
          },
          [&](const auto&) -> Made {
            fail(ErrorKind::kInternal, "make_batch_norm: {} is not a batch normalisation",
                 op_name(source.node.op));
          },
      },
      source.node.op);
}

}  // namespace residuum::cpu
