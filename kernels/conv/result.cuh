// What becomes of the results of a convolution on their way to memory, a unit of eight channels of one pixel
// at a time: bias, batch norm, addend, ReLU, gate, and sums per channel of what was stored. Sums go through a
// fixed tree: the rows of a lane, the lanes of a warp, the tiles of a block, its warps (in double), the parts
// of the launch; so the bits are the same in every run.
#pragma once

#include "kernels/device/batch_norm.cuh"
#include "kernels/device/reduce.cuh"

namespace residuum::kernels {

/// Vectors of a block's columns in shared memory. The statistics' shift takes the place of a mean, the
/// coefficients of batch norms that are applied that of gate and means: neither come together.
enum ResultVector { kBias, kGateScale, kGateShift, kFirstMean, kSecondMean, kResultVectors };
inline constexpr ResultVector kShift = kFirstMean;
inline constexpr ResultVector kApplyScale = kGateScale, kApplyShift = kGateShift;
inline constexpr ResultVector kAddendScale = kFirstMean, kAddendShift = kSecondMean;

/// Eight values, or fewer where neither whole units nor addresses are sure (kWhole false).
template <bool kWhole, typename T>
__device__ __forceinline__ Pack<T> load_eight(const void* src, int64_t offset, int count) {
  const T* const from = static_cast<const T*>(src) + offset;
  if (kWhole || (count == kUnit && offset % (16 / static_cast<int>(sizeof(T))) == 0)) {
    return load_pack<true>(from, count);
  }
  return load_pack<false>(from, count);
}
template <bool kWhole, typename T>
__device__ __forceinline__ void store_eight(const Pack<T>& pack, void* dst, int64_t offset, int count) {
  T* const to = static_cast<T*>(dst) + offset;
  if (kWhole || (count == kUnit && offset % (16 / static_cast<int>(sizeof(T))) == 0)) {
    store_pack<true>(pack, to, count);
  } else {
    store_pack<false>(pack, to, count);
  }
}

/// widen(); of bf16, which are the upper halves of floats, with one instruction for each.
template <typename T>
__device__ __forceinline__ void widen_words(const Pack<T>& pack, float (&values)[kUnit]) {
  if constexpr (std::is_same_v<T, bf16>) {
#pragma unroll
    for (int i = 0; i < kUnit / 2; ++i) {
      const uint32_t pair = reinterpret_cast<const uint32_t*>(&pack)[i];
      values[2 * i] = __uint_as_float(pair << 16);
      values[2 * i + 1] = __uint_as_float(pair & 0xFFFF0000u);
    }
  } else {
    widen(pack, values);
  }
}

/// The results of one block in columns [first, first + kColumns) of the tensor, `channels` of which exist.
/// kBackward: of a gradient, which has gates and norms; else of a forward pass, which has batch norms that
/// are applied, ReLU and statistics. kKept: numbers that a thread keeps in shared memory.
template <typename T, int kColumns, int kThreads, int kKept, bool kWhole, bool kBackward>
class ResultBlock {
 public:
  /// `memory`: conv_result_bytes, not touched where results are only stored.
  __device__ __forceinline__ ResultBlock(const ConvResult& result, int first, int channels, int pitch,
                                         unsigned char* memory)
      : result_(result),
        vectors_(reinterpret_cast<float*>(memory)),
        first_(first),
        columns_(min(channels, kColumns)),
        pitch_(pitch) {}

  __device__ __forceinline__ int sums() const { return conv_sums(result_); }
  __device__ __forceinline__ bool has_statistics() const { return result_.mean != nullptr; }

  /// Fills the shared vectors; a barrier must follow.
  __device__ __forceinline__ void stage() {
    for (int c = thread(); c < columns_; c += kThreads) {
      const int channel = first_ + c;
      if (result_.bias != nullptr) at(kBias, c) = result_.bias[channel];
      if (has_gate(Gate::kNormalised)) {
        affine_of(result_.norms[0].vectors, channel, at(kGateScale, c), at(kGateShift, c));
      }
      if (applies()) affine_of(result_.apply, channel, at(kApplyScale, c), at(kApplyShift, c));
      if (applies_to_addend()) {
        affine_of(result_.addend_apply, channel, at(kAddendScale, c), at(kAddendShift, c));
      }
      if (has_norm(0)) at(kFirstMean, c) = result_.norms[0].vectors.mean[channel];
      if (has_norm(1)) at(kSecondMean, c) = result_.norms[1].vectors.mean[channel];
    }
    if (sums() == 0) return;
    for (int number = 0; number < kKept; ++number) kept(number) = 0;
  }

  /// Statistics are summed less a shift, the first result of the block's run in column `c`: neither a mean
  /// far from zero nor an outlier may cost them their digits. The product, until finish_shift() has made it
  /// the result at `pixel`.
  __device__ __forceinline__ float& shift(int c) { return at(kShift, c); }
  __device__ __forceinline__ void finish_shift(int c, int64_t pixel) {
    if (c >= columns_) return;
    float value = shift(c);
    if (result_.bias != nullptr) value += at(kBias, c);
    if (result_.addend != nullptr) {
      value += to_float(static_cast<const T*>(result_.addend)[pixel * pitch_ + first_ + c]);
    }
    shift(c) = value;
  }

  /// What finish() reads of memory for a unit: together, as each waits long.
  struct Operands {
    PackWords<T> addend, x[2];
    unsigned mask;
  };
  __device__ __forceinline__ void load(int64_t pixel, int c, Operands& operands) const {
    const int64_t offset = pixel * pitch_ + first_ + c;
    const int count = min(columns_ - c, kUnit);
    const auto eight = [&](const void* src) { return load_eight<kWhole, T>(src, offset, count); };
    if (result_.addend != nullptr) operands.addend.set(eight(result_.addend));
    if (has_gate(Gate::kMask)) {
      operands.mask = result_.gate_mask[unit_index(pixel, first_ + c, pitch_).mask_byte];
    }
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      if (has_norm(n)) operands.x[n].set(eight(result_.norms[n].src));
    }
  }

  /// Whether load() or finish() read whole tensors.
  __device__ __forceinline__ bool reads() const {
    return result_.addend != nullptr || has_gate(Gate::kTensor) || has_norm(0);
  }
  /// Asks for the cache lines of a pixel's channels from column `c` on that load() reads later.
  __device__ __forceinline__ void prefetch(int64_t pixel, int c) const {
    const int64_t offset = pixel * pitch_ + first_ + c;
    const auto line = [&](const void* src) {
      if (src != nullptr) prefetch_l2(static_cast<const T*>(src) + offset);
    };
    line(result_.addend);
    if (has_gate(Gate::kTensor)) line(result_.gate_tensor);
    if (has_norm(0)) line(result_.norms[0].src);
    if (has_norm(1)) line(result_.norms[1].src);
  }

  /// Finishes and stores `values`, the unit from column `c` on of a pixel; leaves in them what a reader sees.
  __device__ __forceinline__ void finish(int64_t pixel, int c, const Operands& operands,
                                         float (&values)[kUnit]) const {
    const int64_t offset = pixel * pitch_ + first_ + c;
    const int count = min(columns_ - c, kUnit);
    if (result_.bias != nullptr) {
      float bias[kUnit];
      vector(kBias, c, bias);
#pragma unroll
      for (int i = 0; i < kUnit; ++i) values[i] += bias[i];
    }
    if (applies()) normalise(kApplyScale, c, values);
    if (result_.addend != nullptr) add(c, operands.addend.get(), values);
    if (!kBackward && result_.relu) rectify(values);
    close(offset, c, count, operands, values);
    store(offset, count, values);
    if (!kBackward && result_.mask != nullptr) {
      result_.mask[unit_index(pixel, first_ + c, pitch_).mask_byte] = open_bits(values, count);
    }
  }
  /// Adds to `terms` a finished unit, less the shift of statistics, to the power of 1 or 2.
  template <typename Unit>
  __device__ __forceinline__ void add_power(int power, int c, const Unit& unit, float (&terms)[kUnit]) const {
    float shift[kUnit] = {};
    if constexpr (!kBackward) vector(kShift, c, shift);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
      const float d = unit.at[i] - shift[i];
      terms[i] = power == 1 ? terms[i] + d : fmaf(d, d, terms[i]);
    }
  }
  __device__ __forceinline__ bool has_norm(int n) const {
    return kBackward && result_.norms[n].src != nullptr;
  }
  /// Adds to `products` a finished unit times the deviations of norm `n`'s source from its mean.
  __device__ __forceinline__ void multiply_norm(int n, int c, const float (&g)[kUnit],
                                                const Operands& operands, float (&products)[kUnit]) const {
    float mean[kUnit];
    vector(n == 0 ? kFirstMean : kSecondMean, c, mean);
    const Pack<T> x = operands.x[n].get();
#pragma unroll
    for (int i = 0; i < kUnit; ++i) products[i] = fmaf(g[i], to_float(x.at[i]) - mean[i], products[i]);
  }

  /// Whether results are stored in type T with statistics, and nothing else becomes of them.
  __device__ __forceinline__ bool only_has_statistics() const {
    const bool as_is = result_.bias == nullptr && !applies() && result_.addend == nullptr && !result_.relu;
    return !kBackward && kWhole && has_statistics() && as_is &&
           !(sizeof(T) == 2 && result_.type == Element::kF32);
  }
  /// Where the unit from column `c` on of a pixel goes.
  __device__ __forceinline__ T* place(int64_t pixel, int c) const {
    return static_cast<T*>(result_.dst) + pixel * pitch_ + first_ + c;
  }
  __device__ __forceinline__ void load_shift(int c, float (&shift)[kUnit]) const {
    vector(kShift, c, shift);
  }
  /// What finish() and add_power() make of such a unit.
  __device__ __forceinline__ void store_plain(float (&values)[kUnit], T* to, const float (&shift)[kUnit],
                                              float (&sums)[kUnit], float (&squares)[kUnit]) const {
    const Pack<T> stored = narrow<T>(values);
    store_pack<true>(stored, to, kUnit);
    widen_words(stored, values);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
      const float d = values[i] - shift[i];
      sums[i] += d;
      squares[i] = fmaf(d, d, squares[i]);
    }
  }

  /// A number that this thread keeps in shared memory from tile to tile; zero at first.
  __device__ __forceinline__ float& kept(int number) const {
    return vectors_[kResultVectors * kColumns + number * kThreads + computed_here(thread())];
  }
  /// Adds the sums of the warp rows, of(warp_row, sum, column), in their order, to totals[sum][column].
  template <typename Of>
  __device__ __forceinline__ void add_warps(int warp_rows, double* totals, const Of& of) const {
    for (int i = thread(); i < sums() * kColumns; i += kThreads) {
      double total = 0;
      for (int w = 0; w < warp_rows; ++w) total += static_cast<double>(of(w, i / kColumns, i % kColumns));
      totals[i] = total;
    }
  }

  /// Leaves the block's totals in the workspace as part `part`; the last block of the `parts` in its columns,
  /// which share counter number `counter`, finishes them. rows_of(part) are the rows of a part, `all` those
  /// of all; `scratch` is kThreads doubles of shared memory. A barrier must lie behind add_warps().
  template <typename RowsOf>
  __device__ __forceinline__ void finish_run(const double* totals, int part, int parts, int counter, int all,
                                             const RowsOf& rows_of, double* scratch) {
    float* const partials = static_cast<float*>(result_.workspace);
    const int n = sums();
    if (thread() < columns_) {
      float* const to = partials + index(n, part, 0, thread());
      if (has_statistics()) {
        store_moments(totals, to, rows_of(part));
      } else {
        for (int s = 0; s < n; ++s) to[s * pitch_] = static_cast<float>(totals[s * kColumns + thread()]);
      }
    }
    if (!is_last_block(result_.counters + counter, static_cast<unsigned>(parts))) return;
    if (has_statistics()) {
      join_moments<kThreads>(
          columns_, parts, static_cast<double>(all), scratch,
          [&](int from, int moment, int c) { return partials[index(n, from, moment, c)]; }, rows_of,
          result_.mean + first_, result_.variance + first_);
    } else {
      constexpr int kMost = most_sums(kBackward);
      double sums[kMost];
      column_totals<kThreads>(
          columns_, parts, scratch,
          [&](int from, int c) {
            PartialSums<kMost> own = {};
#pragma unroll
            for (int s = 0; s < kMost; ++s) {
              if (s < n) own.at[s] = partials[index(n, from, s, c)];
            }
            return own;
          },
          PartialSums<kMost>::add, sums);
      for (int s = 0; s < kMost; ++s) {
        if (s < n && thread() < columns_) finish_sum(s, first_ + thread(), sums[s]);
      }
    }
  }

 private:
  __device__ __forceinline__ static int thread() {
    return static_cast<int>(threadIdx.x);
  }
  __device__ __forceinline__ float& at(int vector, int column) {
    return vectors_[vector * kColumns + column];
  }
  __device__ __forceinline__ void vector(int vector, int column, float (&values)[kUnit]) const {
    Coefficients<kResultVectors, kColumns>{vectors_}.load(vector, column, values);
  }
  __device__ __forceinline__ int64_t index(int n, int part, int sum, int column) const {
    return (static_cast<int64_t>(part) * n + sum) * pitch_ + first_ + column;
  }

  __device__ __forceinline__ bool applies() const {
    return !kBackward && result_.apply.mean != nullptr;
  }
  __device__ __forceinline__ bool applies_to_addend() const {
    return !kBackward && result_.addend_apply.mean != nullptr;
  }
  __device__ __forceinline__ bool has_gate(Gate gate) const {
    return kBackward && result_.gate == gate;
  }
  /// values = scale values + shift; scale_vector and the one behind it are the coefficients.
  __device__ __forceinline__ void normalise(ResultVector scale_vector, int c, float (&values)[kUnit]) const {
    float scale[kUnit], shift[kUnit];
    vector(scale_vector, c, scale);
    vector(scale_vector + 1, c, shift);
    kernels::normalise(values, scale, shift);
  }
  /// Adds the addend, or its batch norm with the bits that batch_norm_apply stores.
  __device__ __forceinline__ void add(int c, const Pack<T>& addend, float (&values)[kUnit]) const {
    float more[kUnit];
    widen(addend, more);
    if (applies_to_addend()) {
      normalise(kAddendScale, c, more);
      round_as<T>(more);
    }
#pragma unroll
    for (int i = 0; i < kUnit; ++i) values[i] += more[i];
  }

  /// g = 0 where the gate is closed.
  __device__ __forceinline__ void close(int64_t offset, int c, int count, const Operands& operands,
                                        float (&g)[kUnit]) const {
    float gate[kUnit];
    if (has_gate(Gate::kTensor)) {
      widen(load_eight<kWhole, T>(result_.gate_tensor, offset, count), gate);
      close_by_values(gate, g);
    } else if (has_gate(Gate::kMask)) {
      close_by_bits(operands.mask, g);
    } else if (has_gate(Gate::kNormalised)) {
      float scale[kUnit], shift[kUnit];
      vector(kGateScale, c, scale);
      vector(kGateShift, c, shift);
      widen(operands.x[0].get(), gate);
      close_by_normalised<T>(gate, scale, shift, g);
    }
  }

  /// Stores values in the type of dst and leaves in `values` what a reader sees.
  __device__ __forceinline__ void store(int64_t offset, int count, float (&values)[kUnit]) const {
    if (sizeof(T) == 2 && result_.type == Element::kF32) {
      return store_eight<kWhole>(narrow<float>(values), result_.dst, offset, count);
    }
    const Pack<T> stored = narrow<T>(values);
    store_eight<kWhole>(stored, result_.dst, offset, count);
    widen(stored, values);
  }

  /// The moments of column thread() of a run of `rows` rows.
  __device__ __forceinline__ void store_moments(const double* totals, float* to, double rows) const {
    const double sum = totals[thread()], squares = totals[kColumns + thread()];
    const double offset = sum / rows, m2 = squares - offset * sum;
    const double mean = static_cast<double>(vectors_[kShift * kColumns + thread()]) + offset;
    const float rounded = static_cast<float>(mean);
    to[kMean * pitch_] = rounded;
    to[kMeanRest * pitch_] = static_cast<float>(mean - static_cast<double>(rounded));
    to[kM2 * pitch_] = m2 < 0 ? 0.0f : static_cast<float>(m2);  // rounding; a NaN stays
  }

  /// The total of sum `s` of a channel: d_beta of every norm, then each one's d_gamma.
  __device__ __forceinline__ void finish_sum(int s, int channel, double total) const {
    if (s == 0) {
      result_.norms[0].d_beta[channel] = static_cast<float>(total);
      if (has_norm(1)) result_.norms[1].d_beta[channel] = static_cast<float>(total);
    } else {
      const ConvNorm& norm = result_.norms[s - 1];
      norm.d_gamma[channel] = static_cast<float>(total * inverse_deviation(norm.vectors, channel));
    }
  }

  const ConvResult& result_;
  float* vectors_;
  int first_, columns_, pitch_;
};

}  // namespace residuum::kernels
