// A batch norm after a wide 1x1 convolution from sums over the convolution's input (Gram... of
// engine/graph/op.h). Differences of large sums (the covariance) are formed in double per element, products
// over channels in f32, other sums in double. Every piece of a node writes rows of its own, whose number
// depends on the pieces alone, so threads do not change the bits.
#include <algorithm>
#include <array>
#include <cmath>

#include "engine/backend/cpu/gemm.h"
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

/// Items [first, end) of piece `index` of `pieces`.
struct Piece {
  Piece(int64_t items, int index, int pieces)
      : first(items * index / pieces), end(items * (index + 1) / pieces) {}
  int64_t count() const { return end - first; }
  int64_t first, end;
};

double inverse_deviation(float variance, float epsilon) {
  return 1.0 / std::sqrt(static_cast<double>(variance) + static_cast<double>(epsilon));
}

// ---- Gram ----

/// The filter gradient of a 1x1 convolution whose two operands are src, and the sums of a bias gradient.
class GramKernel final : public Kernel {
 public:
  explicit GramKernel(const KernelSource& source)
      : product_(make_part(source, product_op(source.in(0).shape), 2, 0)),
        sum_(make_part(source, BiasBackward{}, 1, 1)) {}

  size_t thread_scratch_bytes() const override { return product_->thread_scratch_bytes(); }
  size_t shared_scratch_bytes() const override { return sum_offset() + sum_->shared_scratch_bytes(); }
  void bind(Addresses in, Addresses out, std::byte* shared_scratch) override {
    const std::array both = {in[0], in[0]};
    product_->bind(both, out.first(1), shared_scratch);
    sum_->bind(in, out.subspan(1), shared_scratch + sum_offset());
  }
  void shard(const ShardContext& context) override {
    const std::array both = {context.in[0], context.in[0]};
    ShardContext part = context;
    part.out = context.out.subspan(1);
    sum_->shard(part);
    part.out = context.out.first(1);
    part.in = both;
    product_->shard(part);
  }
  int finish_tasks() const override { return product_->finish_tasks() + sum_->finish_tasks(); }
  void finish(int task, const StepParams& params) override {
    const int products = product_->finish_tasks();
    if (task < products) {
      product_->finish(task, params);
    } else {
      sum_->finish(task - products, params);
    }
  }

 private:
  static Op product_op(const Shape& src) {
    const auto [n, h, w, c] = Nhwc::of(src);
    return ConvBackwardFilter{{n, h, w, c, c, 1, 1, 1, 0, 1}};
  }
  /// The kernel of a node that reads src `times` times and makes output `output`.
  static std::unique_ptr<Kernel> make_part(const KernelSource& source, Op op, size_t times, size_t output) {
    const Node node{source.node.name,
                    std::move(op),
                    std::vector<ValueId>(times, source.node.inputs[0]),
                    {source.node.outputs[output]}};
    return make_kernel({source.graph, node, source.batch, source.shards});
  }
  size_t sum_offset() const { return (product_->shared_scratch_bytes() + 63) / 64 * 64; }

  std::unique_ptr<Kernel> product_, sum_;
};

// ---- algebra on the weight K,1,1,C ----

struct WeightShape {
  explicit WeightShape(const TensorDesc& weight)
      : k(weight.shape[0]), c(weight.shape[3]), type(weight.dtype) {}
  int64_t elements() const { return k * c; }
  int64_t k, c;
  DType type;
};

constexpr int kPrepareTasks = 16;

/// The weight in f32: in place when it is f32 already, else in scratch.
class WeightView {
 public:
  explicit WeightView(const TensorDesc& weight) : shape_(weight) {}
  const WeightShape& shape() const { return shape_; }
  int64_t scratch_floats() const { return shape_.type == DType::kF32 ? 0 : shape_.elements(); }
  void bind(std::byte* stored, float* scratch) {
    stored_ = stored;
    values_ = shape_.type == DType::kF32 ? floats(stored) : scratch;
  }
  /// Makes the rows [piece.first, piece.end) ready to be read.
  void convert(const Piece& rows) const {
    if (shape_.type == DType::kF32) return;
    const int64_t first = rows.first * shape_.c;
    simd(shape_.type)
        .to_float(stored_ + static_cast<size_t>(first) * size_of(shape_.type), rows.count() * shape_.c,
                  values_ + first);
  }
  const float* row(int64_t k) const { return values_ + k * shape_.c; }

 private:
  WeightShape shape_;
  std::byte* stored_ = nullptr;
  float* values_ = nullptr;
};

class GramStatsKernel final : public Kernel {
 public:
  GramStatsKernel(const KernelSource& source, const GramStats& op)
      : weight_(source.in(2)), pixels_(static_cast<double>(op.pixels)), pieces_(source.shards) {}

  size_t shared_scratch_bytes() const override {
    return static_cast<size_t>(weight_.scratch_floats() + c() * c()) * sizeof(float);
  }
  void bind(Addresses in, Addresses out, std::byte* shared_scratch) override {
    gram_ = floats(in[0]), sum_ = floats(in[1]);
    weight_.bind(in[2], floats(shared_scratch));
    covariance_ = floats(shared_scratch) + weight_.scratch_floats();
    mean_ = floats(out[0]), variance_ = floats(out[1]), weighted_ = floats(out[2]);
  }
  int prepare_tasks() const override { return kPrepareTasks; }
  void prepare(int task, const StepParams&) override {
    weight_.convert(Piece(weight_.shape().k, task, kPrepareTasks));
    const Piece rows(c(), task, kPrepareTasks);
    for (int64_t i = rows.first; i < rows.end; ++i) {
      for (int64_t j = 0; j < c(); ++j) {
        const double second = static_cast<double>(gram_[i * c() + j]) / pixels_;
        covariance_[i * c() + j] = static_cast<float>(second - mean_of_source(i) * mean_of_source(j));
      }
    }
  }
  void shard(const ShardContext& context) override {
    const Piece rows(weight_.shape().k, context.range.index, pieces_);
    if (rows.count() == 0) return;
    gemm('N', 'N', rows.count(), c(), c(), weight_.row(rows.first), covariance_,
         weighted_ + rows.first * c());
    for (int64_t k = rows.first; k < rows.end; ++k) {
      const float *const w = weight_.row(k), *const weighted = weighted_ + k * c();
      double mean = 0, variance = 0;
      for (int64_t i = 0; i < c(); ++i) {
        mean += static_cast<double>(w[i]) * mean_of_source(i);
        variance += static_cast<double>(w[i]) * static_cast<double>(weighted[i]);
      }
      mean_[k] = static_cast<float>(mean);
      variance_[k] = static_cast<float>(variance < 0 ? 0 : variance);
    }
  }

 private:
  int64_t c() const { return weight_.shape().c; }
  double mean_of_source(int64_t channel) const { return static_cast<double>(sum_[channel]) / pixels_; }

  WeightView weight_;
  double pixels_;
  int pieces_;
  const float *gram_ = nullptr, *sum_ = nullptr;
  float *covariance_ = nullptr, *mean_ = nullptr, *variance_ = nullptr, *weighted_ = nullptr;
};

class GramBackwardReduceKernel final : public Kernel {
 public:
  GramBackwardReduceKernel(const KernelSource& source, const GramBackwardReduce& op)
      : weight_(source.in(1)), epsilon_(op.epsilon), pieces_(source.shards) {}

  size_t shared_scratch_bytes() const override {
    return static_cast<size_t>(weight_.scratch_floats()) * sizeof(float);
  }
  void bind(Addresses in, Addresses out, std::byte* shared_scratch) override {
    in_.assign(in.begin(), in.end());
    weight_.bind(in[1], floats(shared_scratch));
    d_gamma_ = floats(out[0]);
  }
  int prepare_tasks() const override { return weight_.scratch_floats() > 0 ? kPrepareTasks : 0; }
  void prepare(int task, const StepParams&) override {
    weight_.convert(Piece(weight_.shape().k, task, kPrepareTasks));
  }
  void shard(const ShardContext& context) override {
    const WeightShape& shape = weight_.shape();
    const Piece rows(shape.k, context.range.index, pieces_);
    const float* const mean = floats(in_[2]);
    for (int64_t k = rows.first; k < rows.end; ++k) {
      const float *const product = floats(in_[0]) + k * shape.c, *const w = weight_.row(k);
      double sum = -static_cast<double>(mean[k]) * static_cast<double>(floats(in_[4])[k]);
      for (int64_t c = 0; c < shape.c; ++c)
        sum += static_cast<double>(w[c]) * static_cast<double>(product[c]);
      d_gamma_[k] = static_cast<float>(sum * inverse_deviation(floats(in_[3])[k], epsilon_));
    }
  }

 private:
  WeightView weight_;
  float epsilon_;
  int pieces_;
  std::vector<std::byte*> in_;
  float* d_gamma_ = nullptr;
};

/// a and what follows from it of one output channel; the vectors variance, gamma, d_gamma and d_beta stand at
/// positions `first` to `first` + 3 of the inputs.
struct Channel {
  Channel(Addresses in, size_t first, int64_t k, float epsilon) {
    const auto at = [&](size_t i) { return floats(in[first + i])[k]; };
    const double inverse = inverse_deviation(at(0), epsilon);
    a = static_cast<double>(at(1)) * inverse;
    of_normalised = inverse * static_cast<double>(at(2));
    d_beta = static_cast<double>(at(3));
  }
  double a, of_normalised, d_beta;  ///< b pixels = -a of_normalised
};

class GramBackwardFilterKernel final : public Kernel {
 public:
  GramBackwardFilterKernel(const KernelSource& source, const GramBackwardFilter& op)
      : shape_(source.in(1)), op_(op), pieces_(source.shards) {}

  void bind(Addresses in, Addresses out, std::byte*) override {
    in_.assign(in.begin(), in.end());
    d_weight_ = floats(out[0]);
  }
  void shard(const ShardContext& context) override {
    const Piece rows(shape_.k, context.range.index, pieces_);
    const float* const sum = floats(in_[2]);
    for (int64_t k = rows.first; k < rows.end; ++k) {
      const Channel channel(in_, 3, k, op_.epsilon);
      const double mean_gradient = channel.d_beta / static_cast<double>(op_.pixels);
      const float *const product = floats(in_[0]) + k * shape_.c, *const weighted =
                                                                      floats(in_[1]) + k * shape_.c;
      for (int64_t c = 0; c < shape_.c; ++c) {
        const double centred = static_cast<double>(product[c]) - mean_gradient * static_cast<double>(sum[c]);
        d_weight_[k * shape_.c + c] = static_cast<float>(
            channel.a * (centred - channel.of_normalised * static_cast<double>(weighted[c])));
      }
    }
  }

 private:
  WeightShape shape_;
  GramBackwardFilter op_;
  int pieces_;
  std::vector<std::byte*> in_;
  float* d_weight_ = nullptr;
};

class GramBackwardWeightKernel final : public Kernel {
 public:
  GramBackwardWeightKernel(const KernelSource& source, const GramBackwardWeight& op)
      : weight_(source.in(0)), op_(op), pieces_(source.shards) {}

  size_t shared_scratch_bytes() const override {
    const int64_t c = weight_.shape().c;
    return static_cast<size_t>(weight_.scratch_floats() + 3 * weight_.shape().elements() + c * c) *
           sizeof(float);
  }
  void bind(Addresses in, Addresses out, std::byte* shared_scratch) override {
    in_.assign(in.begin(), in.end());
    const int64_t elements = weight_.shape().elements();
    weight_.bind(in[0], floats(shared_scratch));
    transposed_ = floats(shared_scratch) + weight_.scratch_floats();
    of_gradient_ = transposed_ + elements;
    of_result_ = of_gradient_ + elements;
    square_ = of_result_ + elements;
    folded_ = out[0];
    offset_ = floats(out[1]);
  }
  int prepare_tasks() const override { return kPrepareTasks; }
  /// W^T, diag(a) W and diag(b) W.
  void prepare(int task, const StepParams&) override {
    const WeightShape& shape = weight_.shape();
    const Piece rows(shape.k, task, kPrepareTasks);
    weight_.convert(rows);
    for (int64_t k = rows.first; k < rows.end; ++k) {
      const Channel channel(in_, 2, k, op_.epsilon);
      const double b = -channel.a * channel.of_normalised / static_cast<double>(op_.pixels);
      const float* const w = weight_.row(k);
      for (int64_t c = 0; c < shape.c; ++c) {
        transposed_[c * shape.k + k] = w[c];
        of_gradient_[k * shape.c + c] = static_cast<float>(channel.a * static_cast<double>(w[c]));
        of_result_[k * shape.c + c] = static_cast<float>(b * static_cast<double>(w[c]));
      }
    }
  }
  void shard(const ShardContext& context) override {
    const WeightShape& shape = weight_.shape();
    store(of_gradient_, 0, Piece(shape.k, context.range.index, pieces_));
    const Piece rows(shape.c, context.range.index, pieces_);
    if (rows.count() == 0) return;
    gemm('N', 'N', rows.count(), shape.c, shape.k, transposed_ + rows.first * shape.k, of_result_,
         square_ + rows.first * shape.c);
    store(square_, shape.k, rows);
  }
  int finish_tasks() const override {
    return static_cast<int>((weight_.shape().c + kColumns - 1) / kColumns);
  }
  void finish(int task, const StepParams&) override {
    const WeightShape& shape = weight_.shape();
    const int64_t first = task * kColumns, count = std::min(kColumns, shape.c - first);
    const float *const sum = floats(in_[1]), *const d_beta = floats(in_[5]);
    std::array<double, kColumns> totals{};
    std::array<float, kColumns> row{};
    for (int64_t r = 0; r < shape.k + shape.c; ++r) {
      simd(op_.dtype).to_float(folded_row(r) + static_cast<size_t>(first) * size_of(op_.dtype), count,
                               row.data());
      const auto factor = static_cast<double>(r < shape.k ? d_beta[r] : sum[r - shape.k]);
      for (size_t i = 0; i < static_cast<size_t>(count); ++i)
        totals[i] += factor * static_cast<double>(row[i]);
    }
    for (int64_t i = 0; i < count; ++i) {
      offset_[first + i] =
          static_cast<float>(-totals[static_cast<size_t>(i)] / static_cast<double>(op_.pixels));
    }
  }

 private:
  static constexpr int64_t kColumns = 64;

  std::byte* folded_row(int64_t row) const {
    return folded_ + static_cast<size_t>(row * weight_.shape().c) * size_of(op_.dtype);
  }
  /// The rows of `part`, which begins at row `first` of the folded weight.
  void store(const float* part, int64_t first, const Piece& rows) const {
    const int64_t c = weight_.shape().c;
    simd(op_.dtype).from_float(part + rows.first * c, rows.count() * c, folded_row(first + rows.first));
  }

  WeightView weight_;
  GramBackwardWeight op_;
  int pieces_;
  std::vector<std::byte*> in_;
  float *transposed_ = nullptr, *of_gradient_ = nullptr, *of_result_ = nullptr, *square_ = nullptr;
  std::byte* folded_ = nullptr;
  float* offset_ = nullptr;
};

}  // namespace

std::unique_ptr<Kernel> make_gram(const KernelSource& source) {
  using Made = std::unique_ptr<Kernel>;
  return std::visit(
      overloaded{
          [&](const Gram&) -> Made { return std::make_unique<GramKernel>(source); },
          [&](const GramStats& op) -> Made { return std::make_unique<GramStatsKernel>(source, op); },
          [&](const GramBackwardReduce& op) -> Made {
            return std::make_unique<GramBackwardReduceKernel>(source, op);
          },
          [&](const GramBackwardFilter& op) -> Made {
            return std::make_unique<GramBackwardFilterKernel>(source, op);
          },
          [&](const GramBackwardWeight& op) -> Made {
            return std::make_unique<GramBackwardWeightKernel>(source, op);
          },
          [&](const auto&) -> Made {
            fail(ErrorKind::kInternal, "make_gram: {} is not about a Gram matrix", op_name(source.node.op));
          },
      },
      source.node.op);
}

}  // namespace residuum::cpu
