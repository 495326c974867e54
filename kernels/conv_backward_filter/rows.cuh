// The left operand of backward-filter: chunks of d_dst, rows of the product, which threads copy to shared
// memory, form there (each thread the chunks that it copied) and, where a bias wants its gradient, add up.
// Chunks that do not exist are zeros and stay zeros.
#pragma once

#include "kernels/conv_backward_filter/forms.cuh"
#include "kernels/conv_backward_filter/walk.cuh"
#include "kernels/device/reduce.cuh"

namespace residuum::kernels {

/// What conv_backward_filter works on of a layer, in device memory.
struct FilterArrays : FilterLayer {
  float4* partial = nullptr;
  float* bias_partial = nullptr;  ///< [piece][output channel]
  unsigned* counters = nullptr;
};
/// Of all layers of a launch; a kernel's argument, of which there may be 4 KB.
template <int kCount>
struct FilterArraysOf {
  FilterArrays at[kCount];
};

/// Which part of the result a block sums: its rows of a group, and its piece of the pixels.
struct FilterPart {
  int group, first_row, piece;
};

/// kStages steps in flight, kDepth pixels each; kSecond bytes behind a chunk lies the one of tensor b;
/// kWhole: output channels come in whole chunks, without which elements are copied, formed on their way.
template <typename T, int kRows, int kDepth, int kThreads, int kStages, int kSecond, bool kWhole, bool kForms>
class FilterRows {
 public:
  static constexpr int kChunks = kRows / kChunk<T>, kBytes = kDepth * kChunks * kChunkBytes;
  static constexpr bool kFormsChunks = kForms && kWhole;
  using Table = FormTable<T, 3, kRows>;
  static constexpr size_t kTableBytes = sizeof(float) * Table::kFloats;
  static constexpr size_t kSumBytes = sizeof(float) * kThreads * kChunk<T>;

  __device__ __forceinline__ FilterRows(const FilterGeometry& g, const FilterArrays& arrays,
                                        const FilterPart& part, unsigned char* table, unsigned char* sums)
      : g_(g),
        arrays_(arrays),
        part_(part),
        table_(reinterpret_cast<float*>(table)),
        sums_(reinterpret_cast<float4*>(sums)) {}

  __device__ __forceinline__ bool forms() const { return kForms && arrays_.d_dst.form != Form::kStored; }
  __device__ __forceinline__ bool forms_gradient() const {
    return kForms && arrays_.d_dst.form == Form::kGradient;
  }

  /// Coefficients of this tile's rows; 0 beyond the matrix. A barrier must follow.
  __device__ __forceinline__ void fill_table() {
    if (!forms()) return;
    for (int r = thread(); r < kRows; r += kThreads) {
      float values[3] = {};
      const ConvSource& d = arrays_.d_dst;
      const int channel = part_.group * g_.rows + part_.first_row + r;
      if (part_.first_row + r < g_.rows) {
        if (forms_gradient()) {
          gradient_coefficients(d.vectors, d.d_gamma, d.d_beta, g_.pixels, channel, values);
        } else {
          affine_of(d.vectors, channel, values[0], values[1]);
        }
      }
#pragma unroll
      for (int v = 0; v < 3; ++v) table_.at(v, r) = values[v];
    }
  }

  /// The pixel of a step whose first chunk this thread copies.
  __device__ __forceinline__ static int first_pixel() {
    return thread() / kChunks;
  }
  /// The next chunk to copy is that of `pixel`, if there is one; those after it are kPass pixels further.
  __device__ __forceinline__ void start(int pixel, bool exists = true) {
    pixel_ = static_cast<unsigned>(pixel);
    if (!exists || row() >= g_.rows) pixel_ += kFarBehind;
  }
  /// Begins a step, also one that is not there to be copied.
  __device__ __forceinline__ void begin_step() {
    if constexpr (kFormsChunks) inside_ <<= kPasses;
  }
  /// Copies a step.
  __device__ __forceinline__ void load(unsigned char* tile) {
    unsigned char* const to = tile + chunk_offset<kChunks>(first_pixel(), chunk());
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const bool exists = pixel_ < static_cast<unsigned>(g_.pixels);
      unsigned char* const dst = to + pass * kPass * kChunks * kChunkBytes;
      if constexpr (kWhole) {
        cp_async_16(shared_address(dst), pixel_of(a() + row(), pixel_, g_.dst_pitch), exists);
        if (forms_gradient()) {
          cp_async_16(shared_address(dst) + kSecond, pixel_of(b() + row(), pixel_, g_.dst_pitch), exists);
        }
      } else {
        load_elements(dst, static_cast<int64_t>(pixel_) * g_.dst_c + row(), exists ? g_.rows - row() : 0);
      }
      if constexpr (kFormsChunks) inside_ |= static_cast<unsigned>(exists) << pass;
      pixel_ += kPass;
    }
  }

  /// Forms the chunks of a step where this thread copied them, kStages - 2 steps before the one begun last;
  /// its copies have arrived.
  __device__ __forceinline__ void form(unsigned char* tile) {
    if (!forms()) return;
    ChunkOf<T>* const own = own_chunks(tile);
    const ChunkOf<T>* const own_b = own + kSecond / kChunkBytes;
    ChunkOf<T> dy[kPasses], x[kPasses];
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) dy[pass] = own[pass * kPass * kChunks];
    if (forms_gradient()) {
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) x[pass] = own_b[pass * kPass * kChunks];
      form_gradients(dy, x, table_, chunk());
    } else {
      form_applied(dy, arrays_.d_dst.relu, table_, chunk());
    }
    const unsigned inside = inside_ >> (kStages - 2) * kPasses;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      if ((inside >> pass & 1) != 0) own[pass * kPass * kChunks] = dy[pass];
    }
  }

  /// Blocks of the first columns sum the rows for all of them.
  __device__ __forceinline__ bool sums() const {
    return kForms && arrays_.d_bias != nullptr && blockIdx.x == 0;
  }
  __device__ __forceinline__ void clear_sums() const {
    if (!sums()) return;
#pragma unroll
    for (int quad = 0; quad < kChunk<T> / 4; ++quad) {
      sum_of(quad, thread()) = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
  }
  /// Adds this thread's chunks of a step; absent pixels are zeros.
  __device__ __forceinline__ void add(unsigned char* tile) const {
    if (!sums()) return;
    const ChunkOf<T>* const own = own_chunks(tile);
#pragma unroll
    for (int quad = 0; quad < kChunk<T> / 4; ++quad) {
      float4 sum = sum_of(quad, thread());
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const ChunkOf<T> values = own[pass * kPass * kChunks];
        float low[2], high[2];
        widen_two(values.at + 4 * quad, low);
        widen_two(values.at + 4 * quad + 2, high);
        sum.x += low[0], sum.y += low[1], sum.z += high[0], sum.w += high[1];
      }
      sum_of(quad, thread()) = sum;
    }
  }
  /// Leaves the sums of this block's piece for the block that finishes the tile.
  __device__ __forceinline__ void leave_sums() const {
    if (!sums()) return;
    __syncthreads();
    const int row = thread();
    if (row >= kRows || part_.first_row + row >= g_.rows) return;
    const int chunk = row / kChunk<T>, element = row % kChunk<T>;
    double total = 0;
    for (int first = 0; first < kPass; ++first) {
      total += static_cast<double>(component(sum_of(element / 4, first * kChunks + chunk), element % 4));
    }
    arrays_.bias_partial[bias_partial(part_.piece, row)] = static_cast<float>(total);
  }
  /// The block that has the sums of all pieces; `memory`: kThreads doubles of shared memory.
  __device__ __forceinline__ void finish_sums(unsigned char* memory) const {
    if (!sums()) return;
    __syncthreads();
    const int rows = min(kRows, g_.rows - part_.first_row);
    const double total = column_total<kThreads>(
        rows, g_.pieces, reinterpret_cast<double*>(memory),
        [&](int piece, int row) { return arrays_.bias_partial[bias_partial(piece, row)]; });
    if (thread() < rows) {
      arrays_.d_bias[part_.group * g_.rows + part_.first_row + thread()] = static_cast<float>(total);
    }
  }

 private:
  /// Pixels that all threads copy at once: whole periods of the swizzle, so that a thread's chunk stays in
  /// place; and chunks of a step that a thread copies.
  static constexpr int kPass = kThreads / kChunks, kPasses = kDepth / kPass;
  static_assert(kPasses * kPass == kDepth && kPasses * kStages <= 32);
  static constexpr unsigned kFarBehind = 1u << 31;

  __device__ __forceinline__ static int thread() {
    return static_cast<int>(threadIdx.x);
  }
  __device__ __forceinline__ static int chunk() {
    return thread() % kChunks;
  }
  __device__ __forceinline__ int row() const {
    return part_.first_row + chunk() * kChunk<T>;
  }
  __device__ __forceinline__ const T* a() const {
    return static_cast<const T*>(arrays_.d_dst.a) + part_.group * g_.rows;
  }
  __device__ __forceinline__ const T* b() const {
    return static_cast<const T*>(arrays_.d_dst.b) + part_.group * g_.rows;
  }
  __device__ __forceinline__ static ChunkOf<T>* own_chunks(unsigned char* tile) {
    return reinterpret_cast<ChunkOf<T>*>(tile + chunk_offset<kChunks>(first_pixel(), chunk()));
  }

  /// A chunk whose first `count` elements exist; `at` is its first of the tensor.
  __device__ __forceinline__ void load_elements(unsigned char* to, int64_t at, int count) {
    if (!forms()) return store_partial_chunk(to, a() + at, 0, count);
    ChunkOf<T> values;
#pragma unroll
    for (int i = 0; i < kChunk<T>; ++i) {
      values.at[i] = from_float<T>(i < count ? formed(at + i, chunk() * kChunk<T> + i) : 0.0f);
    }
    *reinterpret_cast<ChunkOf<T>*>(to) = values;
  }
  /// Element `at` of d_dst, of row `row` of the tile.
  __device__ __forceinline__ float formed(int64_t at, int row) const {
    const float value = to_float(a()[at]), scale = table_.at(0, row), second = table_.at(1, row);
    return forms_gradient() ? form_gradient(value, to_float(b()[at]), scale, second, table_.at(2, row))
                            : form_apply(value, scale, second, arrays_.d_dst.relu);
  }

  /// Sums of a thread's channels: a float4 for each quad of a chunk, those of all threads side by side. They
  /// are in shared memory because registers are scarce.
  __device__ __forceinline__ float4& sum_of(int quad, int thread) const {
    return sums_[quad * kThreads + thread];
  }
  __device__ __forceinline__ int64_t bias_partial(int piece, int row) const {
    return static_cast<int64_t>(piece) * g_.dst_c + part_.group * g_.rows + part_.first_row + row;
  }

  const FilterGeometry& g_;
  const FilterArrays& arrays_;
  FilterPart part_;
  Table table_;
  float4* sums_;
  unsigned pixel_ = 0;   ///< of the next chunk, far behind the last: of none
  unsigned inside_ = 0;  ///< which of the chunks copied exist: kPasses bits a step, the last in the lowest
};

}  // namespace residuum::kernels
