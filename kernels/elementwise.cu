// Operations that know nothing but elements: a tensor is one long row cut into units of eight, one a thread,
// so that any shape runs at the speed of memory. ReLU with a mask walks rows, because masks are padded row by
// row.
#include "kernels/device/batch_norm.cuh"
#include "kernels/device/rows.cuh"
#include "kernels/philox.h"

namespace residuum::kernels {
namespace {

constexpr int kThreads = 256;

/// policy.unit<kWhole>(unit number, first element, count) for each unit of `elements` elements.
template <typename Policy>
__global__ void __launch_bounds__(kThreads) map_elements_kernel(int64_t elements, const Policy policy) {
  grid_dependency_wait();
  grid_dependency_trigger();
  const int64_t unit = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t first = unit * kUnit, left = elements - first;
  if (left >= kUnit) {
    policy.template unit<true>(unit, first, kUnit);
  } else if (left > 0) {
    policy.template unit<false>(unit, first, static_cast<int>(left));
  }
}

template <typename Policy>
void map_elements(const char* name, int64_t elements, const Policy& policy, Stream stream) {
  const int64_t blocks = ceil_div(elements, int64_t{kThreads} * kUnit);
  require_below(name, "elements / 2048", blocks, int64_t{1} << 31);
  launch(name, map_elements_kernel<Policy>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, stream,
         elements, policy);
}

/// dst = function(a) in type U.
template <typename T, typename U, typename Function>
struct Unary {
  const T* a;
  U* dst;
  Function function;

  template <bool kWhole>
  __device__ __forceinline__ void unit(int64_t, int64_t first, int count) const {
    float x[kUnit];
    load_unit<kWhole>(a + first, count, x);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) x[i] = function(x[i]);
    store_unit<kWhole>(x, dst + first, count);
  }
};

/// dst = function(a, b).
template <typename T, typename Function>
struct Binary {
  const T *a, *b;
  T* dst;
  Function function;

  template <bool kWhole>
  __device__ __forceinline__ void unit(int64_t, int64_t first, int count) const {
    float x[kUnit], y[kUnit];
    load_unit<kWhole>(a + first, count, x);
    load_unit<kWhole>(b + first, count, y);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) x[i] = function(x[i], y[i]);
    store_unit<kWhole>(x, dst + first, count);
  }
};

struct Identity {
  __device__ __forceinline__ float operator()(float x) const { return x; }
};
struct Relu {
  __device__ __forceinline__ float operator()(float x) const { return gate_open(x) ? x : 0.0f; }
};
struct Sigmoid {
  __device__ __forceinline__ float operator()(float x) const { return 1.0f / (1.0f + expf(-x)); }
};
struct Tanh {
  __device__ __forceinline__ float operator()(float x) const { return tanhf(x); }
};
struct Affine {
  float factor, offset;
  __device__ __forceinline__ float operator()(float x) const { return fmaf(factor, x, offset); }
};
struct Sum {
  __device__ __forceinline__ float operator()(float x, float y) const { return x + y; }
};
struct Product {
  __device__ __forceinline__ float operator()(float x, float y) const { return x * y; }
};
/// Gradients: of d_dst and the function's own result y.
struct ReluBackward {
  __device__ __forceinline__ float operator()(float d, float y) const { return gate_open(y) ? d : 0.0f; }
};
struct SigmoidBackward {
  __device__ __forceinline__ float operator()(float d, float y) const { return d * y * (1.0f - y); }
};
struct TanhBackward {
  __device__ __forceinline__ float operator()(float d, float y) const { return d * fmaf(-y, y, 1.0f); }
};

/// A unit is two groups of four elements, each one Philox block.
template <typename T>
struct DropoutUnits {
  const T* src;
  T* dst;
  const StepValues* step;
  float threshold, keep;  ///< probability * 2^24, 1 / (1 - probability)
  uint32_t stream_number;

  template <bool kWhole>
  __device__ __forceinline__ void unit(int64_t unit, int64_t first, int count) const {
    const StepValues now = *step;
    float x[kUnit];
    load_unit<kWhole>(src + first, count, x);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const auto words = philox(
          dropout_counter(static_cast<uint64_t>(2 * unit + half), now.step, now.micro_step, stream_number),
          philox_key(now.seed));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool dropped = static_cast<float>(words[static_cast<size_t>(i)] >> 8) < threshold;
        x[4 * half + i] = dropped ? 0.0f : x[4 * half + i] * keep;
      }
    }
    store_unit<kWhole>(x, dst + first, count);
  }
};

/// A copy, or zeros: every thread draws the block's gate itself.
template <typename T>
struct GatedUnits {
  const T* src;
  T* dst;
  const StepValues* step;
  BlockDraw draw;

  template <bool kWhole>
  __device__ __forceinline__ void unit(int64_t, int64_t first, int count) const {
    const StepValues now = *step;
    float x[kUnit] = {};
    if (block_is_open(draw, now.seed, now.step, now.micro_step)) load_unit<kWhole>(src + first, count, x);
    store_unit<kWhole>(x, dst + first, count);
  }
};

/// dst = ReLU(src) and its mask.
template <typename T, bool kWholeUnits>
struct ReluMask {
  static constexpr int kVectors = 0;
  int64_t channels;
  const T* src;
  T* dst;
  uint8_t* mask;

  template <typename Vectors>
  __device__ __forceinline__ void row(const RowSpan& span, int64_t row, const Vectors&) const {
    const UnitIndex at = unit_index(row, span.channel, channels);
    float x[kUnit];
    load_unit<kWholeUnits>(src + at.element, span.count, x);
    rectify(x);
    store_unit<kWholeUnits>(x, dst + at.element, span.count);
    mask[at.mask_byte] = open_bits(x, span.count);
  }
};

template <typename T, bool kWholeUnits>
struct ReluMaskBackward {
  static constexpr int kVectors = 0;
  int64_t channels;
  const T* d_dst;
  const uint8_t* mask;
  T* d_src;

  template <typename Vectors>
  __device__ __forceinline__ void row(const RowSpan& span, int64_t row, const Vectors&) const {
    const UnitIndex at = unit_index(row, span.channel, channels);
    const unsigned bits = mask[at.mask_byte];
    Pack<T> d = load_pack<kWholeUnits>(d_dst + at.element, span.count);
#pragma unroll
    for (int i = 0; i < kUnit; ++i) d.at[i] = (bits >> i & 1) != 0 ? d.at[i] : T(0);
    store_pack<kWholeUnits>(d, d_src + at.element, span.count);
  }
};

template <typename Function>
void unary(const char* name, const Rows& rows, Function function, const void* src, void* dst, Stream stream) {
  require_rows(name, rows);
  require_addresses(name, {src, dst});
  with_element(rows.type, [&](auto zero) {
    using T = decltype(zero);
    map_elements(name, rows.elements(),
                 Unary<T, T, Function>{static_cast<const T*>(src), static_cast<T*>(dst), function}, stream);
  });
}

template <typename Function>
void binary(const char* name, const Rows& rows, Function function, const void* a, const void* b, void* dst,
            Stream stream) {
  require_rows(name, rows);
  require_addresses(name, {a, b, dst});
  with_element(rows.type, [&](auto zero) {
    using T = decltype(zero);
    const Binary<T, Function> policy{static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(dst),
                                     function};
    map_elements(name, rows.elements(), policy, stream);
  });
}

}  // namespace

void activation(const Rows& rows, Function function, const void* src, void* dst, Stream stream) {
  switch (function) {
    case Function::kRelu:
      return unary("relu", rows, Relu{}, src, dst, stream);
    case Function::kSigmoid:
      return unary("sigmoid", rows, Sigmoid{}, src, dst, stream);
    case Function::kTanh:
      return unary("tanh", rows, Tanh{}, src, dst, stream);
  }
}

void activation_backward(const Rows& rows, Function function, const void* d_dst, const void* dst, void* d_src,
                         Stream stream) {
  switch (function) {
    case Function::kRelu:
      return binary("relu_backward", rows, ReluBackward{}, d_dst, dst, d_src, stream);
    case Function::kSigmoid:
      return binary("sigmoid_backward", rows, SigmoidBackward{}, d_dst, dst, d_src, stream);
    case Function::kTanh:
      return binary("tanh_backward", rows, TanhBackward{}, d_dst, dst, d_src, stream);
  }
}

void relu_mask(const Rows& rows, const void* src, void* dst, uint8_t* mask, Stream stream) {
  constexpr const char* kName = "relu_mask";
  require_rows(kName, rows);
  require_addresses(kName, {src, dst, mask});
  with_rows(rows, [&](auto zero, auto whole) {
    using T = decltype(zero);
    const ReluMask<T, whole.value> policy{rows.channels, static_cast<const T*>(src), static_cast<T*>(dst),
                                          mask};
    map_rows(kName, rows.rows, rows.channels, policy, stream);
  });
}

void relu_mask_backward(const Rows& rows, const void* d_dst, const uint8_t* mask, void* d_src,
                        Stream stream) {
  constexpr const char* kName = "relu_mask_backward";
  require_rows(kName, rows);
  require_addresses(kName, {d_dst, mask, d_src});
  with_rows(rows, [&](auto zero, auto whole) {
    using T = decltype(zero);
    const ReluMaskBackward<T, whole.value> policy{rows.channels, static_cast<const T*>(d_dst), mask,
                                                  static_cast<T*>(d_src)};
    map_rows(kName, rows.rows, rows.channels, policy, stream);
  });
}

void add(const Rows& rows, const void* a, const void* b, void* dst, Stream stream) {
  binary("add", rows, Sum{}, a, b, dst, stream);
}

void multiply(const Rows& rows, const void* a, const void* b, void* dst, Stream stream) {
  binary("multiply", rows, Product{}, a, b, dst, stream);
}

void scale(const Rows& rows, float factor, float offset, const void* src, void* dst, Stream stream) {
  unary("scale", rows, Affine{factor, offset}, src, dst, stream);
}

void dropout(const Rows& rows, float probability, uint32_t stream_number, const StepValues* step,
             const void* src, void* dst, Stream stream) {
  constexpr const char* kName = "dropout";
  require_rows(kName, rows);
  require_addresses(kName, {src, dst});
  require(step != nullptr, kName, "the step's values are null");
  with_element(rows.type, [&](auto zero) {
    using T = decltype(zero);
    const DropoutUnits<T> policy{static_cast<const T*>(src), static_cast<T*>(dst),        step,
                                 probability * 16777216.0f,  1.0f / (1.0f - probability), stream_number};
    map_elements(kName, rows.elements(), policy, stream);
  });
}

void block_gate(const Rows& rows, const BlockDraw& draw, const StepValues* step, const void* src, void* dst,
                Stream stream) {
  constexpr const char* kName = "block_gate";
  require_rows(kName, rows);
  require_addresses(kName, {src, dst});
  require(step != nullptr, kName, "the step's values are null");
  with_element(rows.type, [&](auto zero) {
    using T = decltype(zero);
    const GatedUnits<T> policy{static_cast<const T*>(src), static_cast<T*>(dst), step, draw};
    map_elements(kName, rows.elements(), policy, stream);
  });
}

void cast(const Rows& rows, const void* src, Element to, void* dst, Stream stream) {
  constexpr const char* kName = "cast";
  require_rows(kName, rows);
  require_addresses(kName, {src, dst});
  with_element(rows.type, [&](auto from) {
    with_element(to, [&](auto zero) {
      using T = decltype(from);
      using U = decltype(zero);
      map_elements(kName, rows.elements(),
                   Unary<T, U, Identity>{static_cast<const T*>(src), static_cast<U*>(dst), {}}, stream);
    });
  });
}

}  // namespace residuum::kernels
