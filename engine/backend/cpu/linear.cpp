// Fully connected layers in f32 whatever the activation type: they are small in residual nets and the logits
// want the precision. One GEMM per shard; the weight gradient is one partial per shard, added in shard order.
#include <algorithm>

#include "engine/backend/cpu/gemm.h"
#include "engine/backend/cpu/kernel.h"
#include "engine/backend/cpu/simd.h"

namespace residuum::cpu {
namespace {

const float* floats(const std::byte* p) {
  return reinterpret_cast<const float*>(p);
}
float* floats(std::byte* p) {
  return reinterpret_cast<float*>(p);
}

struct LinearShape {
  int64_t c, k;        ///< inputs, outputs
  int64_t shard_rows;  ///< of the largest shard
  DType src, dst;
};

/// A batch operand in f32: in place when it is f32 already, else through scratch.
class FloatView {
 public:
  FloatView(DType type, float* scratch) : type_(type), scratch_(scratch) {}
  const float* read(const std::byte* values, int64_t count) const {
    if (type_ == DType::kF32) return floats(values);
    simd(type_).to_float(values, count, scratch_);
    return scratch_;
  }
  float* target(std::byte* values) const { return type_ == DType::kF32 ? floats(values) : scratch_; }
  void commit(std::byte* values, int64_t count) const {
    if (type_ != DType::kF32) simd(type_).from_float(scratch_, count, values);
  }

 private:
  DType type_;
  float* scratch_;
};

class LinearBase : public Kernel {
 public:
  explicit LinearBase(const LinearShape& shape) : s_(shape) {}
  size_t thread_scratch_bytes() const override {
    return static_cast<size_t>(s_.shard_rows * (s_.c + s_.k)) * sizeof(float);
  }

 protected:
  FloatView src(const ShardContext& context) const { return {s_.src, floats(context.thread_scratch)}; }
  FloatView dst(const ShardContext& context) const {
    return {s_.dst, floats(context.thread_scratch) + s_.shard_rows * s_.c};
  }
  LinearShape s_;
};

/// Forward dst = src weight^T, backward d_src = d_dst weight.
class LinearByWeight : public LinearBase {
 public:
  LinearByWeight(const LinearShape& shape, DType weight, bool forward)
      : LinearBase(shape), weight_type_(weight), forward_(forward) {}
  size_t shared_scratch_bytes() const override {
    return weight_type_ == DType::kF32 ? 0 : static_cast<size_t>(s_.c * s_.k) * sizeof(float);
  }
  void bind(std::span<std::byte* const> in, std::span<std::byte* const>, std::byte* shared_scratch) override {
    stored_ = in[1];
    weight_ = floats(weight_type_ == DType::kF32 ? in[1] : shared_scratch);
  }
  int prepare_tasks() const override { return weight_type_ == DType::kF32 ? 0 : 1; }
  void prepare(int, const StepParams&) override {
    simd(weight_type_).to_float(stored_, s_.c * s_.k, weight_);
  }
  void shard(const ShardContext& context) override {
    const int64_t rows = context.range.count, reads = forward_ ? s_.c : s_.k, writes = forward_ ? s_.k : s_.c;
    const FloatView from = forward_ ? src(context) : dst(context),
                    to = forward_ ? dst(context) : src(context);
    const float* const x = from.read(context.in[0], rows * reads);
    gemm('N', forward_ ? 'T' : 'N', rows, writes, reads, x, weight_, to.target(context.out[0]));
    to.commit(context.out[0], rows * writes);
  }

 private:
  DType weight_type_;
  bool forward_;
  const std::byte* stored_ = nullptr;
  float* weight_ = nullptr;  ///< the stored weight, or its f32 values in scratch
};

class LinearBackwardFilterKernel : public LinearBase {
 public:
  LinearBackwardFilterKernel(const LinearShape& shape, int shards) : LinearBase(shape), shards_(shards) {}
  size_t shared_scratch_bytes() const override {
    return static_cast<size_t>(shards_ * s_.c * s_.k) * sizeof(float);
  }
  void bind(std::span<std::byte* const>, std::span<std::byte* const> out,
            std::byte* shared_scratch) override {
    d_weight_ = floats(out[0]);
    partials_ = floats(shared_scratch);
  }
  void shard(const ShardContext& context) override {
    const int64_t rows = context.range.count;
    const float* const d_dst = dst(context).read(context.in[0], rows * s_.k);
    const float* const x = src(context).read(context.in[1], rows * s_.c);
    gemm('T', 'N', s_.k, s_.c, rows, d_dst, x, partials_ + context.range.index * s_.k * s_.c);
  }
  int finish_tasks() const override {
    return static_cast<int>(std::clamp<int64_t>(s_.k * s_.c / 16384, 1, 16));
  }
  void finish(int task, const StepParams&) override {
    const int64_t n = s_.k * s_.c, first = n * task / finish_tasks(), end = n * (task + 1) / finish_tasks();
    std::copy(partials_ + first, partials_ + end, d_weight_ + first);
    for (int shard = 1; shard < shards_; ++shard) {
      for (int64_t i = first; i < end; ++i) d_weight_[i] += partials_[shard * n + i];
    }
  }

 private:
  int shards_;
  float* d_weight_ = nullptr;
  float* partials_ = nullptr;
};

}  // namespace

std::unique_ptr<Kernel> make_linear(const KernelSource& source) {
  const auto shape = [&](const TensorDesc& src, const TensorDesc& dst) {
    const int64_t rows = (source.batch + source.shards - 1) / source.shards;
    return LinearShape{src.elements() / source.batch, dst.shape[1], rows, src.dtype, dst.dtype};
  };
  if (std::holds_alternative<Linear>(source.node.op)) {
    return std::make_unique<LinearByWeight>(shape(source.in(0), source.out(0)), source.in(1).dtype, true);
  }
  if (std::holds_alternative<LinearBackwardData>(source.node.op)) {
    return std::make_unique<LinearByWeight>(shape(source.out(0), source.in(0)), source.in(1).dtype, false);
  }
  return std::make_unique<LinearBackwardFilterKernel>(shape(source.in(1), source.in(0)), source.shards);
}

}  // namespace residuum::cpu
