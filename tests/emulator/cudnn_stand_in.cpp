// A library with the functions of cuDNN that the CUDA backend loads, for the emulated runtime: naive
// convolutions in double, put on the emulated stream. The program that loads it exports emulator::enqueue.
// Invariant: what the real library would refuse (shapes that do not fit, too small a workspace, unknown
// types) fails here too. Of each pass it offers one algorithm with other bits in every run, two without, one
// that does not suit, and one of the two again with another math; of strides above 2 it knows nothing.
#include <optional>
#include <vector>

#include "tests/emulator/runtime.h"
#include "tests/emulator/stand_in_values.h"

namespace {

using residuum::emulator::load;
using residuum::emulator::store;
using residuum::emulator::Stored;

constexpr int kSuccess = 0, kBadParameter = 2000, kNotSupported = 3000;
constexpr int kNotDeterministic = 0, kWithWorkspace = 1, kWithout = 3, kUnsuited = 5;  // algorithms
constexpr size_t kWorkspaceBytes = 1000;

struct Context {
  CUstream_st* stream = nullptr;
};

/// N,C,H,W of a tensor, K,C,R,S of a filter.
struct Tensor {
  int format = -1, type = -1;
  int64_t n = 0, c = 0, h = 0, w = 0;
};

struct Conv {
  int64_t pad_h = 0, pad_w = 0, stride_h = 0, stride_w = 0, groups = 1;
  int dilation = 1, mode = 0, compute = -1, math = 0;
};

struct Performance {
  int algorithm, status;
  float milliseconds;
  size_t workspace_bytes;
  int determinism, math, reserved[3];
};

/// Of cudnnDataType_t.
std::optional<Stored> stored_type(int type) {
  if (type == 0) return Stored::kF32;
  if (type == 2) return Stored::kF16;
  if (type == 9) return Stored::kBF16;
  return std::nullopt;
}

/// The three tensors of a convolution, whichever is the result.
struct Problem {
  Tensor src, weight, dst;
  Conv conv;

  bool legal() const {
    const auto fits = [](int64_t in, int64_t window, int64_t stride, int64_t pad, int64_t out) {
      return (in + 2 * pad - window) / stride + 1 == out;
    };
    const bool plain = conv.mode == 1 && conv.compute == 0 && conv.dilation == 1;
    const bool one_type = stored_type(src.type) && src.type == weight.type && src.type == dst.type;
    const bool one_layout = src.format == 1 && weight.format == 1 && dst.format == 1;
    return plain && one_type && one_layout && src.n == dst.n && src.c == weight.c * conv.groups &&
           dst.c == weight.n && weight.n % conv.groups == 0 &&
           fits(src.h, weight.h, conv.stride_h, conv.pad_h, dst.h) &&
           fits(src.w, weight.w, conv.stride_w, conv.pad_w, dst.w);
  }

  /// Calls use(index in src, in weight, in dst) for every product of the convolution.
  template <typename Use>
  void for_each_product(const Use& use) const {
    const int64_t positions = dst.n * dst.h * dst.w, k_in_group = dst.c / conv.groups;
    for (int64_t position = 0; position < positions; ++position) {
      const int64_t n = position / (dst.h * dst.w), p = position / dst.w % dst.h, q = position % dst.w;
      for (int64_t tap = 0; tap < weight.h * weight.w; ++tap) {
        const int64_t h = p * conv.stride_h - conv.pad_h + tap / weight.w;
        const int64_t w = q * conv.stride_w - conv.pad_w + tap % weight.w;
        if (h < 0 || h >= src.h || w < 0 || w >= src.w) continue;
        for (int64_t k = 0; k < dst.c; ++k) {
          for (int64_t c = 0; c < weight.c; ++c) {
            use(((n * src.h + h) * src.w + w) * src.c + k / k_in_group * weight.c + c,
                (k * weight.h * weight.w + tap) * weight.c + c, position * dst.c + k);
          }
        }
      }
    }
  }
};

int guess(const Problem& problem, int wanted, int* found, void* results) {
  if (!problem.legal()) return kBadParameter;
  if (problem.conv.stride_h > 2) return kNotSupported;
  const int math = problem.conv.math;
  const std::vector<Performance> all = {{kNotDeterministic, kSuccess, 1, 0, 0, math, {}},
                                        {kWithWorkspace, kSuccess, 2, kWorkspaceBytes, 1, math, {}},
                                        {kWithout, kSuccess, 3, 0, 1, math, {}},
                                        {kUnsuited, kNotSupported, -1, 0, 1, math, {}},
                                        {kWithout, kSuccess, 900, 0, 1, math == 1 ? 0 : 3, {}}};
  for (*found = 0; *found < wanted && *found < static_cast<int>(all.size()); ++*found) {
    static_cast<Performance*>(results)[*found] = all[static_cast<size_t>(*found)];
  }
  return kSuccess;
}

int workspace(const Problem& problem, int algorithm, size_t* bytes) {
  *bytes = algorithm == kWithWorkspace ? kWorkspaceBytes : 0;
  return problem.legal() && algorithm != kUnsuited ? kSuccess : kNotSupported;
}

/// `index` picks of the indices in (src, weight, dst) those of a, b and the result.
template <typename Index>
int run(void* context, const Problem& problem, const void* a, const void* b, int algorithm, void* memory,
        size_t bytes, void* result, const Tensor& result_shape, const Index& index) {
  const bool has_memory = algorithm == kWithout || (memory != nullptr && bytes >= kWorkspaceBytes);
  const bool repeatable = algorithm == kWithWorkspace || algorithm == kWithout;
  if (!problem.legal() || !has_memory || !repeatable) return kBadParameter;
  const Stored type = *stored_type(problem.src.type);
  const auto elements =
      static_cast<size_t>(result_shape.n * result_shape.c * result_shape.h * result_shape.w);
  residuum::emulator::enqueue(static_cast<Context*>(context)->stream, [=] {
    if (algorithm == kWithWorkspace) {
      for (size_t i = 0; i < bytes; ++i) static_cast<std::byte*>(memory)[i] = std::byte{0x55};
    }
    std::vector<double> sums(elements);
    problem.for_each_product([&](int64_t src, int64_t weight, int64_t dst) {
      const auto [i, j, to] = index(src, weight, dst);
      sums[static_cast<size_t>(to)] += load(a, type, i) * load(b, type, j);
    });
    for (size_t i = 0; i < elements; ++i) store(result, type, static_cast<int64_t>(i), sums[i]);
  });
  return kSuccess;
}

struct Indices {
  int64_t a, b, result;
};

template <typename T>
int make(void** descriptor) {
  *descriptor = new T;
  return kSuccess;
}
template <typename T>
int drop(void* descriptor) {
  delete static_cast<T*>(descriptor);
  return kSuccess;
}

const Tensor& tensor(const void* descriptor) {
  return *static_cast<const Tensor*>(descriptor);
}
const Conv& conv(const void* descriptor) {
  return *static_cast<const Conv*>(descriptor);
}

}  // namespace

extern "C" {

int cudnnCreate(void** handle) {
  return make<Context>(handle);
}
int cudnnDestroy(void* handle) {
  return drop<Context>(handle);
}
size_t cudnnGetVersion() {
  return 91900;
}
int cudnnSetStream(void* handle, CUstream_st* stream) {
  static_cast<Context*>(handle)->stream = stream;
  return kSuccess;
}

int cudnnCreateTensorDescriptor(void** descriptor) {
  return make<Tensor>(descriptor);
}
int cudnnSetTensor4dDescriptor(void* descriptor, int format, int type, int n, int c, int h, int w) {
  *static_cast<Tensor*>(descriptor) = {format, type, n, c, h, w};
  return kSuccess;
}
int cudnnDestroyTensorDescriptor(void* descriptor) {
  return drop<Tensor>(descriptor);
}
int cudnnCreateFilterDescriptor(void** descriptor) {
  return make<Tensor>(descriptor);
}
int cudnnSetFilter4dDescriptor(void* descriptor, int type, int format, int k, int c, int r, int s) {
  *static_cast<Tensor*>(descriptor) = {format, type, k, c, r, s};
  return kSuccess;
}
int cudnnDestroyFilterDescriptor(void* descriptor) {
  return drop<Tensor>(descriptor);
}
int cudnnCreateConvolutionDescriptor(void** descriptor) {
  return make<Conv>(descriptor);
}
int cudnnSetConvolution2dDescriptor(void* descriptor, int pad_h, int pad_w, int stride_h, int stride_w,
                                    int dilation_h, int dilation_w, int mode, int compute) {
  *static_cast<Conv*>(descriptor) = {.pad_h = pad_h,
                                     .pad_w = pad_w,
                                     .stride_h = stride_h,
                                     .stride_w = stride_w,
                                     .dilation = dilation_h * dilation_w,
                                     .mode = mode,
                                     .compute = compute};
  return kSuccess;
}
int cudnnSetConvolutionGroupCount(void* descriptor, int groups) {
  static_cast<Conv*>(descriptor)->groups = groups;
  return kSuccess;
}
int cudnnSetConvolutionMathType(void* descriptor, int math) {
  static_cast<Conv*>(descriptor)->math = math;
  return math == 0 || math == 1 || math == 3 ? kSuccess : kBadParameter;
}
int cudnnDestroyConvolutionDescriptor(void* descriptor) {
  return drop<Conv>(descriptor);
}

int cudnnGetConvolutionForwardAlgorithm_v7(void*, void* src, void* weight, void* c, void* dst, int wanted,
                                           int* found, void* results) {
  return guess({tensor(src), tensor(weight), tensor(dst), conv(c)}, wanted, found, results);
}
int cudnnGetConvolutionBackwardDataAlgorithm_v7(void*, void* weight, void* d_dst, void* c, void* d_src,
                                                int wanted, int* found, void* results) {
  return guess({tensor(d_src), tensor(weight), tensor(d_dst), conv(c)}, wanted, found, results);
}
int cudnnGetConvolutionBackwardFilterAlgorithm_v7(void*, void* src, void* d_dst, void* c, void* d_weight,
                                                  int wanted, int* found, void* results) {
  return guess({tensor(src), tensor(d_weight), tensor(d_dst), conv(c)}, wanted, found, results);
}

int cudnnGetConvolutionForwardWorkspaceSize(void*, void* src, void* weight, void* c, void* dst, int algorithm,
                                            size_t* bytes) {
  return workspace({tensor(src), tensor(weight), tensor(dst), conv(c)}, algorithm, bytes);
}
int cudnnGetConvolutionBackwardDataWorkspaceSize(void*, void* weight, void* d_dst, void* c, void* d_src,
                                                 int algorithm, size_t* bytes) {
  return workspace({tensor(d_src), tensor(weight), tensor(d_dst), conv(c)}, algorithm, bytes);
}
int cudnnGetConvolutionBackwardFilterWorkspaceSize(void*, void* src, void* d_dst, void* c, void* d_weight,
                                                   int algorithm, size_t* bytes) {
  return workspace({tensor(src), tensor(d_weight), tensor(d_dst), conv(c)}, algorithm, bytes);
}

int cudnnConvolutionForward(void* handle, const void*, void* src, const void* x, void* weight, const void* w,
                            void* c, int algorithm, void* memory, size_t bytes, const void*, void* dst,
                            void* y) {
  return run(handle, {tensor(src), tensor(weight), tensor(dst), conv(c)}, x, w, algorithm, memory, bytes, y,
             tensor(dst), [](int64_t i, int64_t j, int64_t k) {
               return Indices{i, j, k};
             });
}
int cudnnConvolutionBackwardData(void* handle, const void*, void* weight, const void* w, void* d_dst,
                                 const void* dy, void* c, int algorithm, void* memory, size_t bytes,
                                 const void*, void* d_src, void* dx) {
  return run(handle, {tensor(d_src), tensor(weight), tensor(d_dst), conv(c)}, w, dy, algorithm, memory, bytes,
             dx, tensor(d_src), [](int64_t i, int64_t j, int64_t k) {
               return Indices{j, k, i};
             });
}
int cudnnConvolutionBackwardFilter(void* handle, const void*, void* src, const void* x, void* d_dst,
                                   const void* dy, void* c, int algorithm, void* memory, size_t bytes,
                                   const void*, void* d_weight, void* dw) {
  return run(handle, {tensor(src), tensor(d_weight), tensor(d_dst), conv(c)}, x, dy, algorithm, memory, bytes,
             dw, tensor(d_weight), [](int64_t i, int64_t j, int64_t k) {
               return Indices{i, k, j};
             });
}

}  // extern "C"
