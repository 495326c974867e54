// Sums per channel of a backward pass: d_gamma and d_beta of a batch norm together with the gradient g that
// reaches it (residual sum or pool before it, ReLU gate), which is then formed and stored in the same
// sweep; and the gradient of a bias.
#include "kernels/device/batch_norm.cuh"
#include "kernels/device/pool_window.cuh"
#include "kernels/device/reduce.cuh"

namespace residuum::kernels {
namespace {

/// Rows whose loads are under way at once: about 32 bytes of each tensor a thread.
template <typename T>
inline constexpr int kRowsInFlight = sizeof(T) == 4 ? 1 : 2;

/// Where g starts: one tensor or the sum of two.
template <typename T, bool kWholeUnits>
struct TensorSource {
  struct Item {
    Pack<T> a, b;
  };
  int64_t channels;
  const T *a, *b;  ///< b null: none

  __device__ __forceinline__ Item load(const RowSpan& span, int64_t row) const {
    const int64_t at = row * channels + span.channel;
    Item item;
    item.a = load_pack<kWholeUnits>(a + at, span.count);
    if (b != nullptr) item.b = load_pack<kWholeUnits>(b + at, span.count);
    return item;
  }
  __device__ __forceinline__ void widen_into(const Item& item, float (&g)[kUnit]) const {
    widen(item.a, g);
    if (b == nullptr) return;
    float more[kUnit];
    widen(item.b, more);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) g[i] += more[i];
  }
};

/// Where g starts: the backward pass of a pool.
template <typename Gather>
struct PoolSource {
  using Item = typename Gather::Item;
  Gather gather;

  __device__ __forceinline__ Item load(const RowSpan& span, int64_t row) const {
    return gather.load(span, row);
  }
  __device__ __forceinline__ void widen_into(const Item& item, float (&g)[kUnit]) const {
    widen(gather.gradient(item), g);
  }
};

template <typename T, bool kWholeUnits, typename Source>
struct BackwardSums {
  static constexpr int kVectors = 3, kSums = 2, kFlight = kRowsInFlight<T>;
  struct Item {
    typename Source::Item source;
    Pack<T> x, gate;
    uint8_t bits;
  };
  int64_t channels;
  Source source;
  BatchNormBackwardReduceArgs args;

  __device__ __forceinline__ void coefficients(int64_t channel, float (&values)[kVectors]) const {
    values[0] = args.vectors.mean[channel];
    if (args.gate == Gate::kNormalised) affine_of(args.vectors, channel, values[1], values[2]);
  }
  __device__ __forceinline__ Item load(const RowSpan& span, int64_t row) const {
    const UnitIndex at = unit_index(row, span.channel, channels);
    Item item;
    item.source = source.load(span, row);
    item.x = load_pack<kWholeUnits>(static_cast<const T*>(args.src) + at.element, span.count);
    if (args.gate == Gate::kTensor) {
      item.gate = load_pack<kWholeUnits>(static_cast<const T*>(args.gate_tensor) + at.element, span.count);
    }
    if (args.gate == Gate::kMask) item.bits = args.gate_mask[at.mask_byte];
    return item;
  }
  template <typename Vectors>
  __device__ __forceinline__ void add(const RowSpan& span, int64_t row, const Item& item,
                                      const Vectors& vectors, float (&sums)[kSums][kUnit]) const {
    float g[kUnit], x[kUnit], mean[kUnit];
    source.widen_into(item.source, g);
    widen(item.x, x);
    close_gates(span, item, x, vectors, g);
    const Pack<T> stored = narrow<T>(g);
    if (args.g != nullptr) {
      store_pack<kWholeUnits>(stored, static_cast<T*>(args.g) + row * channels + span.channel, span.count);
    }
    widen(stored, g);
    vectors.load(0, span.column, mean);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) {
      sums[0][i] += g[i];
      sums[1][i] = fmaf(g[i], x[i] - mean[i], sums[1][i]);
    }
  }
  __device__ __forceinline__ void finish(int64_t channel, const double (&totals)[kSums]) const {
    args.d_beta[channel] = static_cast<float>(totals[0]);
    args.d_gamma[channel] = static_cast<float>(totals[1] * inverse_deviation(args.vectors, channel));
  }

 private:
  template <typename Vectors>
  __device__ __forceinline__ void close_gates(const RowSpan& span, const Item& item, const float (&x)[kUnit],
                                              const Vectors& vectors, float (&g)[kUnit]) const {
    if (args.gate == Gate::kOpen) return;
    if (args.gate == Gate::kMask) return close_by_bits(item.bits, g);
    if (args.gate == Gate::kTensor) {
      float gate[kUnit];
      widen(item.gate, gate);
      return close_by_values(gate, g);
    }
    float scale[kUnit], shift[kUnit];
    vectors.load(1, span.column, scale);
    vectors.load(2, span.column, shift);
    close_by_normalised<T>(x, scale, shift, g);
  }
};

template <typename T, bool kWholeUnits>
struct BiasSums {
  static constexpr int kVectors = 0, kSums = 1, kFlight = 2 * kRowsInFlight<T>;
  using Item = Pack<T>;
  int64_t channels;
  const T* d_dst;
  float* d_bias;

  __device__ __forceinline__ Item load(const RowSpan& span, int64_t row) const {
    return load_pack<kWholeUnits>(d_dst + row * channels + span.channel, span.count);
  }
  template <typename Vectors>
  __device__ __forceinline__ void add(const RowSpan&, int64_t, const Item& item, const Vectors&,
                                      float (&sums)[kSums][kUnit]) const {
    float d[kUnit];
    widen(item, d);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) sums[0][i] += d[i];
  }
  __device__ __forceinline__ void finish(int64_t channel, const double (&totals)[kSums]) const {
    d_bias[channel] = static_cast<float>(totals[0]);
  }
};

void require_arguments(const char* name, const Rows& rows, const BatchNormBackwardReduceArgs& args) {
  require_rows(name, rows);
  require_addresses(name, {args.d_a, args.src});
  require(args.gate != Gate::kTensor || args.gate_tensor != nullptr, name, "the gate's tensor is null");
  require(args.gate != Gate::kMask || args.gate_mask != nullptr, name, "the gate's mask is null");
  if (args.average_pixels != 0) {
    require_positive(name, "pixels of an image", args.average_pixels);
    require(args.pool == nullptr && args.d_b == nullptr, name,
            "an average pool has neither a max pool nor a second tensor beside it");
    require(rows.rows % args.average_pixels == 0, name,
            std::to_string(rows.rows) + " rows are no whole images of " +
                std::to_string(args.average_pixels) + " pixels");
    require_below(name, "rows", rows.rows, kPixelLimit);
  }
  if (args.pool == nullptr) return;
  require_pool(name, *args.pool);
  require(args.argmax != nullptr && args.d_b == nullptr, name,
          "a pool needs argmax and has no second tensor");
  require(src_pixels(*args.pool) == rows.rows && args.pool->c == rows.channels, name,
          "rows and channels are not those of the pool's source");
}

}  // namespace

size_t batch_norm_backward_reduce_workspace(const Rows& rows) {
  return partial_bytes(tile_reduction(rows.rows, rows.channels), 2);
}

void batch_norm_backward_reduce(const Rows& rows, const BatchNormBackwardReduceArgs& args, void* workspace,
                                unsigned* counter, Stream stream) {
  constexpr const char* kName = "batch_norm_backward_reduce";
  require_arguments(kName, rows, args);
  with_rows(rows, [&](auto zero, auto whole) {
    using T = decltype(zero);
    constexpr bool kWholeUnits = whole.value;
    const T* const d_a = static_cast<const T*>(args.d_a);
    const auto sum = [&]<typename Source>(const Source& source) {
      const BackwardSums<T, kWholeUnits, Source> policy{rows.channels, source, args};
      sum_rows(kName, rows.rows, rows.channels, policy, workspace, counter, stream);
    };
    if (args.pool != nullptr) {
      with_few_windows(*args.pool, [&](auto few) {
        using Gather = MaxPoolGather<T, kWholeUnits, few.value>;
        sum(PoolSource<Gather>{Gather{PoolWindow(*args.pool), d_a, args.argmax}});
      });
    } else if (args.average_pixels != 0) {
      using Gather = GlobalPoolGather<T, kWholeUnits>;
      sum(PoolSource<Gather>{Gather(rows.channels, args.average_pixels, d_a)});
    } else {
      sum(TensorSource<T, kWholeUnits>{rows.channels, d_a, static_cast<const T*>(args.d_b)});
    }
  });
}

size_t bias_backward_workspace(const Rows& rows) {
  return partial_bytes(tile_reduction(rows.rows, rows.channels), 1);
}

void bias_backward(const Rows& rows, const void* d_dst, float* d_bias, void* workspace, unsigned* counter,
                   Stream stream) {
  constexpr const char* kName = "bias_backward";
  require_rows(kName, rows);
  require_addresses(kName, {d_dst, workspace});
  with_rows(rows, [&](auto zero, auto whole) {
    using T = decltype(zero);
    const BiasSums<T, whole.value> policy{rows.channels, static_cast<const T*>(d_dst), d_bias};
    sum_rows(kName, rows.rows, rows.channels, policy, workspace, counter, stream);
  });
}

}  // namespace residuum::kernels
