// Updates of many tensors in one launch, all in f32: a block a chunk of one tensor. Everything is
// element-wise except the norm, whose chunks are added in a fixed order; the finite check, clipping,
// momentum, weight decay and the low-precision copy of SGD are one sweep.
#include "kernels/device/checks.cuh"
#include "kernels/device/reduce.cuh"

namespace residuum::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kQuad = 4;  // f32 elements in 16 bytes

/// The tensors of one chunk.
struct ChunkView {
  const TensorLists& lists;
  Chunk chunk;

  /// Elements of the chunk in list `role`; null where the list has none.
  template <typename T = float>
  __device__ __forceinline__ T* role(int role) const {
    T* const base =
        static_cast<T*>(lists.pointers[static_cast<int64_t>(role) * lists.tensors + chunk.tensor]);
    return base == nullptr ? nullptr : base + chunk.first;
  }
};

/// body(first, count) for runs of four elements (aligned when the chunk starts at a multiple of four, count
/// smaller in the last run) of the chunk, each in one thread.
template <typename Body>
__device__ __forceinline__ void for_quads(const Chunk& chunk, const Body& body) {
  for (int first = static_cast<int>(threadIdx.x) * kQuad; first < chunk.count; first += kThreads * kQuad) {
    body(first, chunk.count - first < kQuad ? chunk.count - first : kQuad);
  }
}

__device__ __forceinline__ void load_quad(const float* src, int count, bool aligned, float (&values)[kQuad]) {
  if (aligned && count == kQuad) {
    const float4 quad = *reinterpret_cast<const float4*>(src);
    values[0] = quad.x, values[1] = quad.y, values[2] = quad.z, values[3] = quad.w;
  } else {
#pragma unroll
    for (int i = 0; i < kQuad; ++i) values[i] = i < count ? src[i] : 0.0f;
  }
}

template <typename T>
__device__ __forceinline__ void store_quad(const float (&values)[kQuad], T* dst, int count, bool aligned) {
  struct alignas(kQuad * sizeof(T)) Quad {
    T at[kQuad];
  } quad;
  narrow_pair(values[0], values[1], quad.at);
  narrow_pair(values[2], values[3], quad.at + 2);
  if (aligned && count == kQuad) {
    *reinterpret_cast<Quad*>(dst) = quad;
  } else {
#pragma unroll
    for (int i = 0; i < kQuad; ++i) {
      if (i < count) dst[i] = quad.at[i];
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    gradient_norm_kernel(const TensorLists lists, float* norm, double* squares, unsigned* counter) {
  grid_dependency_wait();
  grid_dependency_trigger();
  SHARED(double, memory, [kThreads]);
  double sum = 0;
  if (static_cast<int>(blockIdx.x) < lists.chunk_count) {
    const ChunkView view{lists, lists.chunks[blockIdx.x]};
    const float* const g = view.role(0);
    const bool aligned = view.chunk.first % kQuad == 0;
    for_quads(view.chunk, [&](int first, int count) {
      float values[kQuad];
      load_quad(g + first, count, aligned, values);
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        const double value = static_cast<double>(values[i]);
        sum = fma(value, value, sum);
      }
    });
  }
  const double total = block_total<kThreads>(sum, memory);
  if (threadIdx.x == 0) squares[blockIdx.x] = total;
  if (!is_last_block(counter, gridDim.x)) return;
  sum = 0;
  for (unsigned i = threadIdx.x; i < gridDim.x; i += kThreads) sum += squares[i];
  const double all = block_total<kThreads>(sum, memory);
  if (threadIdx.x == 0) {
    // Squares of finite floats cannot overflow a double, so the sum tells whether all were finite.
    norm[0] = static_cast<float>(sqrt(all));
    norm[1] = all - all == 0.0 ? 1.0f : 0.0f;
  }
}

/// policy.tensors(view).quad(first, count, aligned) for every run of four elements of a chunk; nothing when
/// policy.skip().
template <typename Policy>
__device__ __forceinline__ void update_chunk(const TensorLists& lists, const Policy& policy, int number) {
  if (policy.skip()) return;
  const ChunkView view{lists, lists.chunks[number]};
  const auto tensors = policy.tensors(view);
  const bool aligned = view.chunk.first % kQuad == 0;
  for_quads(view.chunk, [&](int first, int count) { tensors.quad(first, count, aligned); });
}

template <typename Policy>
__global__ void __launch_bounds__(kThreads) update_kernel(const TensorLists lists, const Policy policy) {
  grid_dependency_wait();
  grid_dependency_trigger();
  update_chunk(lists, policy, static_cast<int>(blockIdx.x));
}

/// Two updates of different tensors in one launch: the first blocks do the first.
template <typename First, typename Second>
__global__ void __launch_bounds__(kThreads)
    update_pair_kernel(const TensorLists first_lists, const First first, const TensorLists second_lists,
                       const Second second) {
  grid_dependency_wait();
  grid_dependency_trigger();
  const int block = static_cast<int>(blockIdx.x);
  if (block < first_lists.chunk_count) {
    update_chunk(first_lists, first, block);
  } else {
    update_chunk(second_lists, second, block - first_lists.chunk_count);
  }
}

/// Whether the step's gradients were not finite.
__device__ __forceinline__ bool not_finite(const float* norm) {
  return norm[1] == 0.0f;
}

/// dst = of_dst dst + of_src src.
struct Blend {
  const float* src;
  float* dst;
  float of_dst, of_src;

  __device__ __forceinline__ void quad(int first, int count, bool aligned) const {
    float x[kQuad], y[kQuad];
    load_quad(src + first, count, aligned, x);
    load_quad(dst + first, count, aligned, y);
#pragma unroll
    for (int i = 0; i < kQuad; ++i) y[i] = fmaf(of_dst, y[i], of_src * x[i]);
    store_quad(y, dst + first, count, aligned);
  }
};

struct Accumulate {
  struct Tensors {
    const float* g;
    float* sum;
    bool start;

    __device__ __forceinline__ void quad(int first, int count, bool aligned) const {
      float x[kQuad], y[kQuad] = {};
      load_quad(g + first, count, aligned, x);
      if (!start) {
        load_quad(sum + first, count, aligned, y);
#pragma unroll
        for (int i = 0; i < kQuad; ++i) x[i] = y[i] + x[i];
      }
      store_quad(x, sum + first, count, aligned);
    }
  };
  AccumulateArgs args;

  __device__ __forceinline__ bool skip() const {
    return (args.step->micro_step & args.when) != args.when;
  }
  __device__ __forceinline__ Tensors tensors(const ChunkView& view) const {
    return {view.role(0), view.role(1), (args.step->micro_step & args.restart) == 0};
  }
};

struct Ema {
  float decay;
  const float* norm;

  __device__ __forceinline__ bool skip() const { return not_finite(norm); }
  __device__ __forceinline__ Blend tensors(const ChunkView& view) const {
    return {view.role(0), view.role(1), decay, 1.0f - decay};
  }
};

struct Commit {
  struct Tensors {
    Blend mean, variance;

    __device__ __forceinline__ void quad(int first, int count, bool aligned) const {
      mean.quad(first, count, aligned);
      variance.quad(first, count, aligned);
    }
  };
  CommitArgs args;

  __device__ __forceinline__ bool skip() const { return not_finite(args.norm); }
  __device__ __forceinline__ Tensors tensors(const ChunkView& view) const {
    const double rows = static_cast<double>(args.counts[view.chunk.tensor]);
    const double unbiased = rows > 1 ? rows / (rows - 1) : 1;
    const float of_mean = args.momentum * args.scale;
    const float of_variance = static_cast<float>(static_cast<double>(of_mean) * unbiased);
    return {{view.role(0), view.role(2), 1.0f - args.momentum, of_mean},
            {view.role(1), view.role(3), 1.0f - args.momentum, of_variance}};
  }
};

/// g = g * gradient + weight_decay w; m = momentum m + g; w -= lr (nesterov ? g + momentum m : m).
template <typename T>
struct Sgd {
  struct Tensors {
    float *w, *m;
    const float* g;
    T* copy;
    float gradient, weight_decay, momentum, learning_rate;
    bool nesterov;

    __device__ __forceinline__ void quad(int first, int count, bool aligned) const {
      float weight[kQuad], mean[kQuad], d[kQuad];
      load_quad(w + first, count, aligned, weight);
      load_quad(m + first, count, aligned, mean);
      load_quad(g + first, count, aligned, d);
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        const float step = fmaf(weight_decay, weight[i], gradient * d[i]);
        mean[i] = fmaf(momentum, mean[i], step);
        weight[i] = fmaf(-learning_rate, nesterov ? fmaf(momentum, mean[i], step) : mean[i], weight[i]);
      }
      store_quad(mean, m + first, count, aligned);
      store_quad(weight, w + first, count, aligned);
      if (copy != nullptr) store_quad(weight, copy + first, count, aligned);
    }
  };
  SgdArgs args;

  __device__ __forceinline__ bool skip() const {
    return not_finite(args.norm);
  }
  /// gradient_scale * min(1, clip_norm / (norm * gradient_scale)).
  __device__ __forceinline__ float gradient_factor() const {
    if (args.clip_norm <= 0) return args.gradient_scale;
    const float scaled = args.norm[0] * args.gradient_scale;
    return scaled > args.clip_norm ? args.gradient_scale * (args.clip_norm / scaled) : args.gradient_scale;
  }
  __device__ __forceinline__ Tensors tensors(const ChunkView& view) const {
    return {view.role(0),      view.role(1),
            view.role(2),      view.template role<T>(3),
            gradient_factor(), args.weight_decay[view.chunk.tensor],
            args.momentum,     args.step->learning_rate,
            args.nesterov};
  }
};

template <typename Policy>
void update(const char* name, const TensorLists& lists, const Policy& policy, Stream stream) {
  if (lists.chunk_count == 0) return;
  require_positive(name, "chunks", lists.chunk_count);
  require_addresses(name, {lists.chunks, lists.pointers});
  launch(name, update_kernel<Policy>, dim3(static_cast<unsigned>(lists.chunk_count)), dim3(kThreads), 0,
         stream, lists, policy);
}

}  // namespace

size_t gradient_norm_workspace(int32_t chunk_count) {
  return static_cast<size_t>(std::max(chunk_count, 1)) * sizeof(double);
}

void gradient_norm(const TensorLists& lists, float* norm, void* workspace, unsigned* counter, Stream stream) {
  constexpr const char* kName = "gradient_norm";
  require_addresses(kName, {norm, workspace});
  const dim3 grid(static_cast<unsigned>(std::max(lists.chunk_count, 1)));
  launch(kName, gradient_norm_kernel, grid, dim3(kThreads), 0, stream, lists, norm,
         static_cast<double*>(workspace), counter);
}

void accumulate_gradient(const TensorLists& lists, const AccumulateArgs& args, Stream stream) {
  update("accumulate_gradient", lists, Accumulate{args}, stream);
}

void sgd_update(const TensorLists& lists, const SgdArgs& args, Stream stream) {
  with_element(args.copy_type,
               [&](auto zero) { update("sgd_update", lists, Sgd<decltype(zero)>{args}, stream); });
}

void ema_update(const TensorLists& lists, float decay, const float* norm, Stream stream) {
  update("ema_update", lists, Ema{decay, norm}, stream);
}

void sgd_update_and_commit(const TensorLists& weights, const SgdArgs& args, const TensorLists& norms,
                           const CommitArgs& commit, Stream stream) {
  constexpr const char* kName = "sgd_update_and_commit";
  require_positive(kName, "chunks of weights", weights.chunk_count);
  require_positive(kName, "chunks of statistics", norms.chunk_count);
  require_addresses(kName, {weights.chunks, weights.pointers, norms.chunks, norms.pointers});
  with_element(args.copy_type, [&](auto zero) {
    using First = Sgd<decltype(zero)>;
    launch(kName, update_pair_kernel<First, Commit>,
           dim3(static_cast<unsigned>(weights.chunk_count + norms.chunk_count)), dim3(kThreads), 0, stream,
           weights, First{args}, norms, Commit{commit});
  });
}

void batch_norm_commit(const TensorLists& lists, const CommitArgs& args, Stream stream) {
  update("batch_norm_commit", lists, Commit{args}, stream);
}

}  // namespace residuum::kernels
