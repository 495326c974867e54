// A batch norm after a wide 1x1 convolution from sums over the convolution's input: products of the weight
// with a covariance and with itself (f32, tile by tile through shared memory), and what is made of them.
// Differences of large sums are formed in double, sums over tiles and splits are added in a fixed order.
#include "kernels/device/batch_norm.cuh"
#include "kernels/device/checks.cuh"
#include "kernels/device/reduce.cuh"

namespace residuum::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 64;   // rows and columns of a product that one block makes
constexpr int kDepth = 16;  // terms of its sums that are in shared memory at a time
constexpr int kSide = 16;   // threads along a side of the tile
constexpr int kOwn = kTile / kSide;
constexpr int kPitch = kTile + 4;  // floats from depth to depth: threads that store one row use many banks
constexpr int kLoads = kTile * kDepth / kThreads;
constexpr int kRowsPerBlock = kThreads / kWarp;  // of the kernels with a warp a row

/// One block's tile of a product left right: thread (row, column) of the 16 x 16 owns 4 x 4 elements.
struct Tile {
  float *left, *right;  ///< shared: kDepth x kPitch each

  __device__ __forceinline__ static int row() { return static_cast<int>(threadIdx.x) / kSide * kOwn; }
  __device__ __forceinline__ static int column() { return static_cast<int>(threadIdx.x) % kSide * kOwn; }

  /// sums += left(row, depth) right(depth, column) over `depth` terms, rows and columns from 0 within the
  /// tile; both are asked for terms below `depth` alone. kAlongDepth: neighbouring threads ask left for
  /// neighbouring terms, else for neighbouring rows; right is always asked for neighbouring columns.
  template <bool kAlongDepth, typename Left, typename Right>
  __device__ __forceinline__ void multiply(int depth, const Left& left_at, const Right& right_at,
                                           float (&sums)[kOwn][kOwn]) const {
    const int thread = static_cast<int>(threadIdx.x);
    float next_left[kLoads], next_right[kLoads];
    const auto left_row = [&](int i) {
      return kAlongDepth ? thread / kDepth + i * (kThreads / kDepth) : thread % kTile;
    };
    const auto left_term = [&](int i) {
      return kAlongDepth ? thread % kDepth : thread / kTile + i * (kThreads / kTile);
    };
    const auto right_term = [&](int i) { return thread / kTile + i * (kThreads / kTile); };
    const auto load = [&](int first) {
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        next_left[i] = first + left_term(i) < depth ? left_at(left_row(i), first + left_term(i)) : 0.0f;
        next_right[i] =
            first + right_term(i) < depth ? right_at(first + right_term(i), thread % kTile) : 0.0f;
      }
    };
    load(0);
    for (int first = 0; first < depth; first += kDepth) {
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        left[left_term(i) * kPitch + left_row(i)] = next_left[i];
        right[right_term(i) * kPitch + thread % kTile] = next_right[i];
      }
      __syncthreads();
      if (first + kDepth < depth) load(first + kDepth);
#pragma unroll
      for (int d = 0; d < kDepth; ++d) {
        const float4 a = *reinterpret_cast<const float4*>(left + d * kPitch + row());
        const float4 b = *reinterpret_cast<const float4*>(right + d * kPitch + column());
        const float rows[kOwn] = {a.x, a.y, a.z, a.w}, columns[kOwn] = {b.x, b.y, b.z, b.w};
#pragma unroll
        for (int i = 0; i < kOwn; ++i) {
#pragma unroll
          for (int j = 0; j < kOwn; ++j) sums[i][j] = fmaf(rows[i], columns[j], sums[i][j]);
        }
      }
      __syncthreads();
    }
  }
};

/// The problem as kernels see it.
struct Sizes {
  int c = 0, k = 0;
  double pixels = 0;
};

Sizes checked(const char* name, const GramProblem& problem) {
  constexpr int64_t kLimit = int64_t{1} << 21;  // 65,535 rows of tiles
  require_positive(name, "pixels", problem.pixels);
  require_positive(name, "c", problem.c);
  require_positive(name, "k", problem.k);
  require_below(name, "c", problem.c, kLimit);
  require_below(name, "k", problem.k, kLimit);
  return {static_cast<int>(problem.c), static_cast<int>(problem.k), static_cast<double>(problem.pixels)};
}

int tiles(int64_t extent) {
  return static_cast<int>(ceil_div(extent, kTile));
}

// ---- statistics ----

/// weighted = W covariance; every block leaves its columns' part of mean and variance as doubles [column
/// tile][mean or variance][k].
template <typename T>
__global__ void __launch_bounds__(kThreads, 2)
    gram_stats_kernel(const Sizes s, const GramStatsArgs args, double* partials, unsigned* counter) {
  grid_dependency_wait();
  grid_dependency_trigger();
  SHARED(float, left, [kDepth * kPitch]);
  SHARED(float, right, [kDepth * kPitch]);
  const int first_row = static_cast<int>(blockIdx.y) * kTile;
  const int first_column = static_cast<int>(blockIdx.x) * kTile;
  const T* const weight = static_cast<const T*>(args.weight);
  const auto mean_of = [&](int channel) { return static_cast<double>(args.sum[channel]) / s.pixels; };
  const double per_pixel = 1.0 / s.pixels;
  const int own_column = first_column + static_cast<int>(threadIdx.x) % kTile;
  const double own_mean = own_column < s.c ? mean_of(own_column) * per_pixel : 0.0;
  float sums[kOwn][kOwn] = {};
  Tile{left, right}.multiply<true>(
      s.c,
      [&](int row, int term) {
        return first_row + row < s.k ? to_float(weight[static_cast<int64_t>(first_row + row) * s.c + term])
                                     : 0.0f;
      },
      [&](int term, int) {
        if (own_column >= s.c) return 0.0f;
        const double second = static_cast<double>(args.gram[static_cast<int64_t>(term) * s.c + own_column]);
        return static_cast<float>(second * per_pixel - static_cast<double>(args.sum[term]) * own_mean);
      },
      sums);
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    const int k = first_row + Tile::row() + i;
    double mean = 0, variance = 0;
#pragma unroll
    for (int j = 0; j < kOwn; ++j) {
      const int c = first_column + Tile::column() + j;
      if (k >= s.k || c >= s.c) continue;
      const int64_t at = static_cast<int64_t>(k) * s.c + c;
      const double w = static_cast<double>(to_float(weight[at]));
      args.weighted[at] = sums[i][j];
      mean += w * mean_of(c);
      variance += w * static_cast<double>(sums[i][j]);
    }
#pragma unroll
    for (int lane = kSide / 2; lane > 0; lane /= 2) {
      mean += __shfl_xor_sync(kFullWarp, mean, lane);
      variance += __shfl_xor_sync(kFullWarp, variance, lane);
    }
    if (Tile::column() == 0 && k < s.k) {
      partials[(2 * static_cast<int64_t>(blockIdx.x)) * s.k + k] = mean;
      partials[(2 * static_cast<int64_t>(blockIdx.x) + 1) * s.k + k] = variance;
    }
  }
  if (!is_last_block(counter, gridDim.x * gridDim.y)) return;
  for (int k = static_cast<int>(threadIdx.x); k < s.k; k += kThreads) {
    double mean = 0, variance = 0;
    for (int64_t part = 0; part < gridDim.x; ++part) {
      mean += partials[2 * part * s.k + k];
      variance += partials[(2 * part + 1) * s.k + k];
    }
    args.mean[k] = static_cast<float>(mean);
    args.variance[k] = static_cast<float>(variance < 0 ? 0 : variance);
  }
}

// ---- gradients of the batch norm and of the weight: a warp a row ----

template <typename T>
__global__ void __launch_bounds__(kThreads)
    gram_backward_reduce_kernel(const Sizes s, const float* product, const T* weight,
                                const BatchNormVectors vectors, const float* d_beta, float* d_gamma) {
  grid_dependency_wait();
  grid_dependency_trigger();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int k = static_cast<int>(blockIdx.x) * kRowsPerBlock + static_cast<int>(threadIdx.x) / kWarp;
  if (k >= s.k) return;
  const int64_t row = static_cast<int64_t>(k) * s.c;
  double sum = 0;
  for (int c = lane; c < s.c; c += kWarp) {
    sum += static_cast<double>(to_float(weight[row + c])) * static_cast<double>(product[row + c]);
  }
  sum = warp_sum(sum);
  if (lane != 0) return;
  sum -= static_cast<double>(vectors.mean[k]) * static_cast<double>(d_beta[k]);
  d_gamma[k] = static_cast<float>(sum * inverse_deviation(vectors, k));
}

/// a = gamma inv_std, and d_gamma inv_std: -a of_normalised / pixels is the factor of y in its gradient.
struct ChannelFactors {
  double a, of_normalised;
};
__device__ __forceinline__ ChannelFactors channel_factors(const GramNorm& norm, int k) {
  const double inverse = inverse_deviation(norm.vectors, k);
  return {static_cast<double>(norm.vectors.gamma[k]) * inverse,
          static_cast<double>(norm.d_gamma[k]) * inverse};
}

__global__ void __launch_bounds__(kThreads)
    gram_backward_filter_kernel(const Sizes s, const float* product, const float* weighted,
                                const GramNorm norm, float* d_weight) {
  grid_dependency_wait();
  grid_dependency_trigger();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int k = static_cast<int>(blockIdx.x) * kRowsPerBlock + static_cast<int>(threadIdx.x) / kWarp;
  if (k >= s.k) return;
  const int64_t row = static_cast<int64_t>(k) * s.c;
  const ChannelFactors of = channel_factors(norm, k);
  const double mean_gradient = static_cast<double>(norm.d_beta[k]) / s.pixels;
  for (int c = lane; c < s.c; c += kWarp) {
    const double centred =
        static_cast<double>(product[row + c]) - mean_gradient * static_cast<double>(norm.sum[c]);
    d_weight[row + c] =
        static_cast<float>(of.a * (centred - of.of_normalised * static_cast<double>(weighted[row + c])));
  }
}

// ---- the folded weight ----

constexpr int kSplit = 128;    // output channels whose products one block adds up
constexpr int kFoldRows = 16;  // rows of the folded weight that one block finishes

/// This split's part of W^T diag(b) W: floats [split][c][c].
template <typename T>
__global__ void __launch_bounds__(kThreads, 2)
    gram_square_kernel(const Sizes s, const T* weight, const GramNorm norm, float* parts) {
  grid_dependency_wait();
  grid_dependency_trigger();
  SHARED(float, left, [kDepth * kPitch]);
  SHARED(float, right, [kDepth * kPitch]);
  SHARED(float, factors, [kSplit]);
  const int first = static_cast<int>(blockIdx.z) * kSplit;
  const int depth = s.k - first < kSplit ? s.k - first : kSplit;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < depth) {
    const ChannelFactors of = channel_factors(norm, first + thread);
    factors[thread] = static_cast<float>(-of.a * of.of_normalised / s.pixels);
  }
  __syncthreads();
  const int first_row = static_cast<int>(blockIdx.y) * kTile;
  const int first_column = static_cast<int>(blockIdx.x) * kTile;
  const auto weight_at = [&](int term, int channel) {
    return channel < s.c ? to_float(weight[static_cast<int64_t>(first + term) * s.c + channel]) : 0.0f;
  };
  float sums[kOwn][kOwn] = {};
  Tile{left, right}.multiply<false>(
      depth, [&](int row, int term) { return weight_at(term, first_row + row); },
      [&](int term, int column) { return factors[term] * weight_at(term, first_column + column); }, sums);
  float* const part = parts + static_cast<int64_t>(blockIdx.z) * s.c * s.c;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
#pragma unroll
    for (int j = 0; j < kOwn; ++j) {
      const int row = first_row + Tile::row() + i, column = first_column + Tile::column() + j;
      if (row < s.c && column < s.c) part[static_cast<int64_t>(row) * s.c + column] = sums[i][j];
    }
  }
}

/// folded = [diag(a) W ; the sum of the parts], and offset from it as it is stored: every block leaves its
/// rows' part of the sums as doubles [block][c].
template <typename T, typename U>
__global__ void __launch_bounds__(kThreads)
    gram_fold_kernel(const Sizes s, const T* weight, const GramNorm norm, const float* parts, U* folded,
                     float* offset, double* partials, unsigned* counter) {
  grid_dependency_wait();
  grid_dependency_trigger();
  SHARED(float, of_weight, [kFoldRows]);  // a; unused in rows of the square
  SHARED(float, of_sum, [kFoldRows]);     // what the row meets in the offset
  const int first = static_cast<int>(blockIdx.x) * kFoldRows;
  const int rows = s.k + s.c - first < kFoldRows ? s.k + s.c - first : kFoldRows;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < rows) {
    const int k = first + thread;
    of_weight[thread] = k < s.k ? static_cast<float>(channel_factors(norm, k).a) : 0.0f;
    of_sum[thread] = k < s.k ? norm.d_beta[k] : norm.sum[k - s.k];
  }
  __syncthreads();
  const int splits = (s.k + kSplit - 1) / kSplit;
  for (int c = thread; c < s.c; c += kThreads) {
    double total = 0;
    for (int r = 0; r < rows; ++r) {
      const int row = first + r;
      float value = 0;
      if (row < s.k) {
        value = of_weight[r] * to_float(weight[static_cast<int64_t>(row) * s.c + c]);
      } else {
        for (int64_t part = 0; part < splits; ++part) value += parts[(part * s.c + row - s.k) * s.c + c];
      }
      const U stored = from_float<U>(value);
      folded[static_cast<int64_t>(row) * s.c + c] = stored;
      total += static_cast<double>(of_sum[r]) * static_cast<double>(to_float(stored));
    }
    partials[static_cast<int64_t>(blockIdx.x) * s.c + c] = total;
  }
  if (!is_last_block(counter, gridDim.x)) return;
  for (int c = thread; c < s.c; c += kThreads) {
    double total = 0;
    for (int64_t block = 0; block < gridDim.x; ++block) total += partials[block * s.c + c];
    offset[c] = static_cast<float>(-total / s.pixels);
  }
}

size_t square_bytes(const GramProblem& problem) {
  const int64_t floats = ceil_div(problem.k, kSplit) * problem.c * problem.c;
  return static_cast<size_t>(ceil_div(floats, 2) * 2) * sizeof(float);  // doubles follow
}

int fold_blocks(const GramProblem& problem) {
  return static_cast<int>(ceil_div(problem.k + problem.c, kFoldRows));
}

dim3 warp_rows_grid(const Sizes& s) {
  return dim3(static_cast<unsigned>(ceil_div(s.k, kRowsPerBlock)));
}

dim3 tile_grid(int64_t columns, int64_t rows, int64_t depths) {
  return dim3(static_cast<unsigned>(tiles(columns)), static_cast<unsigned>(tiles(rows)),
              static_cast<unsigned>(depths));
}

void require_norm(const char* name, const GramNorm& norm) {
  require_addresses(name, {norm.sum, norm.vectors.variance, norm.vectors.gamma, norm.d_gamma, norm.d_beta});
}

}  // namespace

size_t gram_stats_workspace(const GramProblem& problem) {
  return 2 * sizeof(double) * static_cast<size_t>(tiles(problem.c)) * static_cast<size_t>(problem.k);
}

void gram_stats(const GramProblem& problem, const GramStatsArgs& args, void* workspace, unsigned* counter,
                Stream stream) {
  constexpr const char* kName = "gram_stats";
  const Sizes s = checked(kName, problem);
  require_addresses(kName,
                    {args.gram, args.sum, args.weight, args.mean, args.variance, args.weighted, workspace});
  require(counter != nullptr, kName, "counter is null");
  with_element(problem.weight, [&](auto zero) {
    launch(kName, gram_stats_kernel<decltype(zero)>, tile_grid(s.c, s.k, 1), dim3(kThreads), 0, stream, s,
           args, static_cast<double*>(workspace), counter);
  });
}

void gram_backward_reduce(const GramProblem& problem, const float* product, const void* weight,
                          const BatchNormVectors& vectors, const float* d_beta, float* d_gamma,
                          Stream stream) {
  constexpr const char* kName = "gram_backward_reduce";
  const Sizes s = checked(kName, problem);
  require_addresses(kName, {product, weight, vectors.mean, vectors.variance, d_beta, d_gamma});
  with_element(problem.weight, [&](auto zero) {
    using T = decltype(zero);
    launch(kName, gram_backward_reduce_kernel<T>, warp_rows_grid(s), dim3(kThreads), 0, stream, s, product,
           static_cast<const T*>(weight), vectors, d_beta, d_gamma);
  });
}

void gram_backward_filter(const GramProblem& problem, const float* product, const float* weighted,
                          const GramNorm& norm, float* d_weight, Stream stream) {
  constexpr const char* kName = "gram_backward_filter";
  const Sizes s = checked(kName, problem);
  require_addresses(kName, {product, weighted, d_weight});
  require_norm(kName, norm);
  launch(kName, gram_backward_filter_kernel, warp_rows_grid(s), dim3(kThreads), 0, stream, s, product,
         weighted, norm, d_weight);
}

size_t gram_backward_weight_workspace(const GramProblem& problem) {
  return square_bytes(problem) +
         sizeof(double) * static_cast<size_t>(fold_blocks(problem)) * static_cast<size_t>(problem.c);
}

void gram_backward_weight(const GramProblem& problem, const void* weight, const GramNorm& norm, Element type,
                          void* folded, float* offset, void* workspace, unsigned* counter, Stream stream) {
  constexpr const char* kName = "gram_backward_weight";
  const Sizes s = checked(kName, problem);
  require_addresses(kName, {weight, folded, offset, workspace});
  require_norm(kName, norm);
  require(counter != nullptr, kName, "counter is null");
  float* const parts = static_cast<float*>(workspace);
  double* const partials =
      reinterpret_cast<double*>(static_cast<unsigned char*>(workspace) + square_bytes(problem));
  with_element(problem.weight, [&](auto of_weight) {
    using T = decltype(of_weight);
    const T* const w = static_cast<const T*>(weight);
    launch("gram_square", gram_square_kernel<T>, tile_grid(s.c, s.c, ceil_div(s.k, kSplit)), dim3(kThreads),
           0, stream, s, w, norm, parts);
    with_element(type, [&](auto of_folded) {
      using U = decltype(of_folded);
      launch(kName, gram_fold_kernel<T, U>, dim3(static_cast<unsigned>(fold_blocks(problem))), dim3(kThreads),
             0, stream, s, w, norm, parts, static_cast<U*>(folded), offset, partials, counter);
    });
  });
}

}  // namespace residuum::kernels
