// Softmax cross-entropy with label smoothing: a warp a row, exponentials in float, sums in double. A row with
// a negative label is masked: it counts in nothing and gets no gradient. A label of K or more, which the data
// layer does not let through, reads nothing out of bounds and gives a NaN.
#include "kernels/device/checks.cuh"
#include "kernels/device/reduce.cuh"

namespace residuum::kernels {
namespace {

constexpr int kThreads = 256, kRowsPerBlock = kThreads / kWarp;

/// What the rows of one block add to the loss.
struct LossPartial {
  double loss;
  int32_t valid, top1, top5;
  __device__ __forceinline__ void add(const LossPartial& other) {
    loss += other.loss;
    valid += other.valid;
    top1 += other.top1;
    top5 += other.top5;
  }
};

/// Highest logit and sum of exp(z - highest), in every lane; NaN when a logit is NaN.
struct SoftmaxRow {
  float highest;
  double sum;
};
__device__ __forceinline__ SoftmaxRow softmax_row(const float* z, int64_t k, int lane) {
  SoftmaxRow row{-INFINITY, 0};
  for (int64_t i = lane; i < k; i += kWarp) row.highest = fmaxf(row.highest, z[i]);
  row.highest = warp_max(row.highest);
  for (int64_t i = lane; i < k; i += kWarp) row.sum += static_cast<double>(expf(z[i] - row.highest));
  row.sum = warp_sum(row.sum);
  return row;
}

/// Logits and label of the row that a warp has; what follows of them is asked for when the label is a class.
struct LossRow {
  const float* z;
  int64_t k;
  int32_t label;
  int lane;
  __device__ __forceinline__ bool has_class() const { return label >= 0 && label < k; }
};

/// Loss and rank of one row, in every lane: lse - (1 - smoothing) z_label - smoothing mean(z).
__device__ __forceinline__ LossPartial row_loss(const LossRow& at, const SoftmaxRow& row, float smoothing) {
  const auto [z, k, label, lane] = at;
  if (label < 0) return {};
  if (label >= k) return {static_cast<double>(NAN), 1, 0, 0};
  const float own = z[label];
  double sum = 0;
  int above = 0;
  for (int64_t i = lane; i < k; i += kWarp) {
    sum += static_cast<double>(z[i]);
    above += !(z[i] <= own) || (z[i] == own && i < label) ? 1 : 0;
  }
  sum = warp_sum(sum);
  above = warp_sum(above);
  const double eps = static_cast<double>(smoothing);
  const double smooth = smoothing == 0 ? 0 : eps * sum / static_cast<double>(k);
  const double lse = static_cast<double>(row.highest) + log(row.sum);
  const bool is_number = own == own;
  return {lse - (1 - eps) * static_cast<double>(own) - smooth, 1, is_number && above < 1 ? 1 : 0,
          is_number && above < 5 ? 1 : 0};
}

/// d = the gradient of the row's logits, for the mean over `valid` rows.
__device__ __forceinline__ void row_gradient(const LossRow& at, const SoftmaxRow& row, float smoothing,
                                             float factor, double valid, float* d) {
  const auto [z, k, label, lane] = at;
  if (!at.has_class()) {
    for (int64_t i = lane; i < k; i += kWarp) d[i] = label < 0 ? 0.0f : NAN;
    return;
  }
  const float share = static_cast<float>(static_cast<double>(factor) / valid);
  const float inverse_sum = static_cast<float>(1.0 / row.sum);
  const float everywhere = smoothing / static_cast<float>(k);
  for (int64_t i = lane; i < k; i += kWarp) {
    const float target = i == label ? everywhere + (1.0f - smoothing) : everywhere;
    d[i] = fmaf(expf(z[i] - row.highest), inverse_sum, -target) * share;
  }
}

/// Adds up the rows of all blocks; the last block stores the results. `memory` is kThreads doubles of shared
/// memory.
__device__ __forceinline__ void finish_loss(const LossPartial& own, double* memory, LossPartial* partials,
                                            unsigned* counter, float* loss, int32_t* counts) {
  SHARED(LossPartial, rows, [kRowsPerBlock]);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread % kWarp == 0) rows[thread / kWarp] = own;
  __syncthreads();
  if (thread == 0) {
    LossPartial sum{};
    for (int i = 0; i < kRowsPerBlock; ++i) sum.add(rows[i]);
    partials[blockIdx.x] = sum;
  }
  if (!is_last_block(counter, gridDim.x)) return;
  LossPartial sum{};
  for (unsigned i = threadIdx.x; i < gridDim.x; i += kThreads) sum.add(partials[i]);
  const double total = block_total<kThreads>(sum.loss, memory);
  // Counts below 2^53 are exact in double.
  const double valid = block_total<kThreads>(sum.valid, memory);
  const double top1 = block_total<kThreads>(sum.top1, memory);
  const double top5 = block_total<kThreads>(sum.top5, memory);
  if (thread == 0) {
    *loss = valid > 0 ? static_cast<float>(total / valid) : 0.0f;
    counts[0] = static_cast<int32_t>(valid);
    counts[1] = static_cast<int32_t>(top1);
    counts[2] = static_cast<int32_t>(top5);
  }
}

/// Null where a launch does not want it: loss with counts, partials and counter; d_logits.
struct LossResults {
  float* loss;
  int32_t* counts;
  LossPartial* partials;
  unsigned* counter;
  float* d_logits;
};

/// The loss (kLoss), its gradient (kGradient), or both of one softmax.
template <bool kLoss, bool kGradient>
__global__ void __launch_bounds__(kThreads)
    softmax_cross_entropy_kernel(int64_t n, int64_t k, float smoothing, float factor, const float* logits,
                                 const int32_t* labels, const LossResults results) {
  grid_dependency_wait();
  grid_dependency_trigger();
  SHARED(double, memory, [kThreads]);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + thread / kWarp;
  double valid = 0;
  if constexpr (kGradient) {
    int valid_here = 0;
    for (int64_t i = thread; i < n; i += kThreads) valid_here += labels[i] >= 0 ? 1 : 0;
    valid = block_total<kThreads>(valid_here, memory);
  }
  LossPartial own{};
  if (row < n) {
    const LossRow at{logits + row * k, k, labels[row], lane};
    const SoftmaxRow softmax = at.has_class() ? softmax_row(at.z, k, lane) : SoftmaxRow{};
    if constexpr (kGradient) {
      row_gradient(at, softmax, smoothing, factor, valid, results.d_logits + row * k);
    }
    if constexpr (kLoss) own = row_loss(at, softmax, smoothing);
  }
  if constexpr (kLoss) {
    finish_loss(own, memory, results.partials, results.counter, results.loss, results.counts);
  }
}

void require_shape(const char* name, int64_t n, int64_t k) {
  constexpr int64_t kLimit = int64_t{1} << 31;
  require_positive(name, "rows", n);
  require_positive(name, "classes", k);
  require_below(name, "rows", n, kLimit);
  require_below(name, "classes", k, kLimit);
}

unsigned blocks_for(int64_t n) {
  return static_cast<unsigned>(ceil_div(n, kRowsPerBlock));
}

}  // namespace

size_t softmax_cross_entropy_workspace(int64_t n) {
  return blocks_for(n) * sizeof(LossPartial);
}

void softmax_cross_entropy(int64_t n, int64_t k, float smoothing, const float* logits, const int32_t* labels,
                           float* loss, int32_t* counts, void* workspace, unsigned* counter, Stream stream) {
  constexpr const char* kName = "softmax_cross_entropy";
  require_shape(kName, n, k);
  require_addresses(kName, {logits, labels, loss, counts, workspace});
  const LossResults results{loss, counts, static_cast<LossPartial*>(workspace), counter, nullptr};
  launch(kName, softmax_cross_entropy_kernel<true, false>, dim3(blocks_for(n)), dim3(kThreads), 0, stream, n,
         k, smoothing, 0.0f, logits, labels, results);
}

void softmax_cross_entropy_backward(int64_t n, int64_t k, float smoothing, float factor, const float* logits,
                                    const int32_t* labels, float* d_logits, Stream stream) {
  constexpr const char* kName = "softmax_cross_entropy_backward";
  require_shape(kName, n, k);
  require_addresses(kName, {logits, labels, d_logits});
  const LossResults results{nullptr, nullptr, nullptr, nullptr, d_logits};
  launch(kName, softmax_cross_entropy_kernel<false, true>, dim3(blocks_for(n)), dim3(kThreads), 0, stream, n,
         k, smoothing, factor, logits, labels, results);
}

void softmax_cross_entropy_step(int64_t n, int64_t k, float smoothing, float factor, const float* logits,
                                const int32_t* labels, float* loss, int32_t* counts, float* d_logits,
                                void* workspace, unsigned* counter, Stream stream) {
  constexpr const char* kName = "softmax_cross_entropy_step";
  require_shape(kName, n, k);
  require_addresses(kName, {logits, labels, loss, counts, d_logits, workspace});
  const LossResults results{loss, counts, static_cast<LossPartial*>(workspace), counter, d_logits};
  launch(kName, softmax_cross_entropy_kernel<true, true>, dim3(blocks_for(n)), dim3(kThreads), 0, stream, n,
         k, smoothing, factor, logits, labels, results);
}

}  // namespace residuum::kernels
