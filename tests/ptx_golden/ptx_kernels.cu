// The kernels of ptx_kernels.h: no arithmetic of their own, so that what comes out is what one function of
// ptx.cuh, ptx_sm90.cuh or element.cuh made of the words that went in.
#include "tests/ptx_golden/ptx_kernels.h"

#include "kernels/device/element.cuh"
#include "kernels/device/platform.cuh"
#include "kernels/device/tile.cuh"
#include "kernels/device/vector.cuh"

namespace residuum::ptx {
namespace {

using namespace residuum::kernels;  // NOLINT: a source file

__device__ __forceinline__ int lane() {
  return static_cast<int>(threadIdx.x);
}

// in: 32 chunks of four words, 32 more, 32 words whose lowest two bits say which of a lane's two copies is
// valid. out: of the first 32 chunks as they arrived, then of the others, chunk 31 - lane.
__global__ void cp_async_kernel(const uint32_t* in, uint32_t* out) {
  SHARED(uint4, tile, [2][32]);
  const uint32_t valid = in[256 + lane()];
  tile[0][lane()] = tile[1][lane()] = make_uint4(1, 2, 3, 4);
  __syncthreads();
  cp_async_16(shared_address(&tile[0][lane()]), in + 4 * lane(), (valid & 1) != 0);
  cp_async_commit();
  cp_async_16(shared_address(&tile[1][lane()]), in + 128 + 4 * lane(), (valid & 2) != 0);
  cp_async_commit();
  cp_async_wait<1>();
  __syncthreads();
  reinterpret_cast<uint4*>(out)[lane()] = tile[0][31 - lane()];
  cp_async_wait<0>();
  __syncthreads();
  reinterpret_cast<uint4*>(out)[32 + lane()] = tile[1][31 - lane()];
}

// in: 32 rows of four words, then for each lane the row it names.
template <bool kTransposed>
__global__ void ldmatrix_kernel(const uint32_t* in, uint32_t* out) {
  SHARED(uint4, rows, [32]);
  rows[lane()] = reinterpret_cast<const uint4*>(in)[lane()];
  __syncthreads();
  const SharedAddress row = shared_address(&rows[in[128 + lane()]]);
  uint32_t regs[4];
  if constexpr (kTransposed) {
    ldmatrix_x4_transposed(regs, row);
  } else {
    ldmatrix_x4(regs, row);
  }
  for (int r = 0; r < 4; ++r) out[32 * r + lane()] = regs[r];
}

// in: 32 words, then for each lane the word it names.
__global__ void load_shared_kernel(const uint32_t* in, uint32_t* out) {
  SHARED(uint32_t, words, [32]);
  words[lane()] = in[lane()];
  __syncthreads();
  out[lane()] = load_shared_32(shared_address(words) + 4 * in[32 + lane()]);
}

// in: for each lane what its counter holds, then what is added. out: the numbers before, then the counters.
__global__ void add_kernel(const uint32_t* in, uint32_t* out) {
  uint32_t* const counter = out + 32 + lane();
  *counter = in[lane()];
  out[lane()] = add_acquire_release(counter, in[32 + lane()]);
}

// out = in: instructions that change no value.
__global__ void valueless_kernel(const uint32_t* in, uint32_t* out) {
  grid_dependency_wait();
  grid_dependency_trigger();
  prefetch_l2(in + lane());
  out[lane()] = computed_here(in[lane()]);
}

struct MmaBF16 {
  __device__ __forceinline__ void operator()(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) const {
    mma_bf16(c, a, b0, b1);
  }
};
struct MmaF16 {
  __device__ __forceinline__ void operator()(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) const {
    mma_f16(c, a, b0, b1);
  }
};
struct MmaTf32 {
  __device__ __forceinline__ void operator()(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) const {
    mma_tf32(c, a, b0, b1);
  }
};

// in: registers a0..a3, b0, b1, c0..c3 of 32 lanes each; out: c0..c3.
template <typename Mma>
__global__ void mma_kernel(const uint32_t* in, uint32_t* out) {
  uint32_t a[4], b[2];
  float c[4];
  for (int r = 0; r < 4; ++r) a[r] = in[32 * r + lane()];
  for (int r = 0; r < 2; ++r) b[r] = in[32 * (4 + r) + lane()];
  for (int r = 0; r < 4; ++r) c[r] = __uint_as_float(in[32 * (6 + r) + lane()]);
  Mma{}(c, a, b[0], b[1]);
  for (int r = 0; r < 4; ++r) out[32 * r + lane()] = __float_as_uint(c[r]);
}

// in: registers a0..a3 of 128 lanes each, then the right factor as it lies in shared memory: kEights * 8 rows
// of kRowBytes, of which the second step's 16 elements count, or panels of 16 rows, 64 columns each. out: the
// sums, register by register, 128 lanes each.
template <typename T, bool kFlat, int kRowBytes, int kEights>
__global__ void wgmma_kernel(const uint32_t* in, uint32_t* out) {
  constexpr int kRows = kFlat ? kEights / 8 * 16 : kEights * 8, kWords = kRows * kRowBytes / 4;
  DYNAMIC_SHARED(shared);
  const SharedAddress misaligned = shared_address(shared) % 1024;
  auto* const factor = reinterpret_cast<uint32_t*>(shared + (1024 - misaligned) % 1024);
  for (int i = lane(); i < kWords; i += 128) factor[i] = in[4 * 128 + i];
  fence_shared_for_wgmma();
  __syncthreads();
  uint32_t a[4];
  float c[kEights][4] = {};
  for (int r = 0; r < 4; ++r) a[r] = in[128 * r + lane()];
  const SharedAddress start = shared_address(factor) + (kFlat ? 0 : 32);
  wgmma_fence();
  wgmma<T, kFlat, kRowBytes>(c, a, {start, kFlat ? 16 * kRowBytes : 0, 8 * kRowBytes});
  wgmma_commit();
  wgmma_wait();
#pragma unroll
  for (int q = 0; q < kEights; ++q) {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[128 * (4 * q + i) + lane()] = __float_as_uint(c[q][i]);
  }
}

// The same; the registers of the left factor first go to shared memory, as the second step's 16 elements of
// 64 rows of kLeftBytes whose other elements are NaN.
template <typename T, bool kFlat, int kRowBytes, int kLeftBytes, int kEights>
__global__ void wgmma_shared_kernel(const uint32_t* in, uint32_t* out) {
  constexpr int kRows = kFlat ? kEights / 8 * 16 : kEights * 8, kWords = kRows * kRowBytes / 4;
  constexpr int kLeftWords = 64 * kLeftBytes / 4, kFirstByte = 32;
  DYNAMIC_SHARED(shared);
  const SharedAddress misaligned = shared_address(shared) % 1024;
  auto* const left = reinterpret_cast<uint32_t*>(shared + (1024 - misaligned) % 1024);
  auto* const right = left + kLeftWords;
  for (int i = lane(); i < kLeftWords; i += 128) left[i] = 0xFFFFFFFFu;
  for (int i = lane(); i < kWords; i += 128) right[i] = in[4 * 128 + i];
  __syncthreads();
  for (int r = 0; r < 4; ++r) {
    const int row = lane() / 32 * 16 + lane() % 32 / 4 + 8 * (r & 1),
              byte = kFirstByte + lane() % 4 * 4 + 16 * (r >> 1);
    left[(chunk_offset<kLeftBytes / kChunkBytes>(row, byte / kChunkBytes) + byte % kChunkBytes) / 4] =
        in[128 * r + lane()];
  }
  fence_shared_for_wgmma();
  __syncthreads();
  float c[kEights][4] = {};
  const SharedAddress start = shared_address(right) + (kFlat ? 0 : 32);
  wgmma_fence();
  wgmma<T, kFlat, kRowBytes, kLeftBytes>(c, {shared_address(left) + kFirstByte, 0, 8 * kLeftBytes},
                                         {start, kFlat ? 16 * kRowBytes : 0, 8 * kRowBytes});
  wgmma_commit();
  wgmma_wait();
  hold_registers(c);
#pragma unroll
  for (int q = 0; q < kEights; ++q) {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[128 * (4 * q + i) + lane()] = __float_as_uint(c[q][i]);
  }
}

// in: 64 rows of the left factor, 64 columns of the right one, 64 elements each. As the convolutions multiply
// a step: both lie in deep tiles, whose rows hold four sums over 16, and all four are added up.
template <typename T>
__global__ void wgmma_step_kernel(const uint32_t* in, uint32_t* out) {
  constexpr int kRowBytes = 128, kRowWords = kRowBytes / 4, kTileWords = 64 * kRowWords;
  DYNAMIC_SHARED(shared);
  const SharedAddress misaligned = shared_address(shared) % 1024;
  auto* const tiles = reinterpret_cast<uint32_t*>(shared + (1024 - misaligned) % 1024);
  for (int i = lane(); i < 2 * kTileWords; i += 128) {
    const int row = i / kRowWords, word = i % kRowWords;
    tiles[chunk_offset<kRowBytes / kChunkBytes>(row, word / 4) / 4 + word % 4] = in[i];
  }
  fence_shared_for_wgmma();
  __syncthreads();
  float c[8][4] = {};
  wgmma_fence();
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    const SharedAddress left = shared_address(tiles) + static_cast<SharedAddress>(32 * step);
    wgmma<T, false, kRowBytes, kRowBytes>(c, {left, 0, 8 * kRowBytes},
                                          {left + 4 * kTileWords, 0, 8 * kRowBytes});
  }
  wgmma_commit();
  wgmma_wait();
  hold_registers(c);
#pragma unroll
  for (int q = 0; q < 8; ++q) {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[128 * (4 * q + i) + lane()] = __float_as_uint(c[q][i]);
  }
}

struct RoundToTf32 {
  __device__ __forceinline__ uint32_t operator()(uint32_t bits) const {
    return round_to_tf32(__uint_as_float(bits));
  }
};
struct FloatToBF16 {
  __device__ __forceinline__ uint32_t operator()(uint32_t bits) const {
    return __bfloat16_as_ushort(from_float<bf16>(__uint_as_float(bits)));
  }
};
struct FloatToF16 {
  __device__ __forceinline__ uint32_t operator()(uint32_t bits) const {
    return __half_as_ushort(from_float<f16>(__uint_as_float(bits)));
  }
};
// The value and its negative, by the instruction that converts two.
template <typename T>
__device__ __forceinline__ uint32_t pair_with_negative(uint32_t bits) {
  alignas(4) T pair[2];
  narrow_pair(__uint_as_float(bits), -__uint_as_float(bits), pair);
  return *reinterpret_cast<const uint32_t*>(pair);
}
struct RectifiedPairBF16 {
  __device__ __forceinline__ uint32_t operator()(uint32_t bits) const {
    return rectified_pair_bf16(__uint_as_float(bits), -__uint_as_float(bits));
  }
};
struct RectifiedPairF16 {
  __device__ __forceinline__ uint32_t operator()(uint32_t bits) const {
    return rectified_pair_f16(__uint_as_float(bits), -__uint_as_float(bits));
  }
};
struct FloatToBF16Pair {
  __device__ __forceinline__ uint32_t operator()(uint32_t bits) const {
    return pair_with_negative<bf16>(bits);
  }
};
struct FloatToF16Pair {
  __device__ __forceinline__ uint32_t operator()(uint32_t bits) const {
    return pair_with_negative<f16>(bits);
  }
};
struct BF16ToFloat {
  __device__ __forceinline__ uint32_t operator()(uint32_t bits) const {
    return __float_as_uint(to_float(__ushort_as_bfloat16(static_cast<unsigned short>(bits))));
  }
};
struct F16ToFloat {
  __device__ __forceinline__ uint32_t operator()(uint32_t bits) const {
    return __float_as_uint(to_float(__ushort_as_half(static_cast<unsigned short>(bits))));
  }
};

constexpr int kValuesPerLane = 8;

template <typename Function>
__global__ void map_kernel(const uint32_t* in, uint32_t* out) {
  for (int i = lane(); i < 32 * kValuesPerLane; i += 32) out[i] = Function{}(in[i]);
}

template <void (*kKernel)(const uint32_t*, uint32_t*)>
void launch_warp(const uint32_t* in, uint32_t* out, Stream stream) {
  launch("ptx_golden", kKernel, dim3(1), dim3(32), 0, stream, in, out);
}

template <typename T, bool kFlat, int kRowBytes, int kEights>
constexpr PtxKernel wgmma_of(std::string_view name) {
  constexpr size_t kWords = (kFlat ? kEights / 8 * 16 : kEights * 8) * kRowBytes / 4;
  return {name, 16 * kLanes + kWords, 16 * kEights * kLanes,
          [](const uint32_t* in, uint32_t* out, Stream stream) {
            launch("ptx_golden", wgmma_kernel<T, kFlat, kRowBytes, kEights>, dim3(1), dim3(128),
                   4 * kWords + 1024, stream, in, out);
          },
          true};
}
template <typename T, bool kFlat, int kRowBytes, int kLeftBytes, int kEights>
constexpr PtxKernel shared_wgmma_of(std::string_view name) {
  constexpr size_t kWords = (kFlat ? kEights / 8 * 16 : kEights * 8) * kRowBytes / 4;
  return {name, 16 * kLanes + kWords, 16 * kEights * kLanes,
          [](const uint32_t* in, uint32_t* out, Stream stream) {
            launch("ptx_golden", wgmma_shared_kernel<T, kFlat, kRowBytes, kLeftBytes, kEights>, dim3(1),
                   dim3(128), 4 * kWords + 64 * kLeftBytes + 1024, stream, in, out);
          },
          true};
}
template <typename T>
constexpr PtxKernel wgmma_step_of(std::string_view name) {
  constexpr size_t kWords = size_t{2} * 64 * 32;
  return {name, kWords, size_t{64} * 64,
          [](const uint32_t* in, uint32_t* out, Stream stream) {
            launch("ptx_golden", wgmma_step_kernel<T>, dim3(1), dim3(128), 4 * kWords + 1024, stream, in,
                   out);
          },
          true};
}
template <typename Mma>
constexpr PtxKernel mma(std::string_view name) {
  return {name, 10 * kLanes, 4 * kLanes, launch_warp<mma_kernel<Mma>>};
}
template <typename Function>
constexpr PtxKernel map(std::string_view name) {
  return {name, kValuesPerLane * kLanes, kValuesPerLane * kLanes, launch_warp<map_kernel<Function>>};
}

constexpr PtxKernel kKernels[] = {
    {"cp_async", 9 * kLanes, 8 * kLanes, launch_warp<cp_async_kernel>},
    {"ldmatrix_x4", 5 * kLanes, 4 * kLanes, launch_warp<ldmatrix_kernel<false>>},
    {"ldmatrix_x4_transposed", 5 * kLanes, 4 * kLanes, launch_warp<ldmatrix_kernel<true>>},
    {"load_shared_32", 2 * kLanes, kLanes, launch_warp<load_shared_kernel>},
    {"add_acquire_release", 2 * kLanes, 2 * kLanes, launch_warp<add_kernel>},
    {"valueless", kLanes, kLanes, launch_warp<valueless_kernel>},
    mma<MmaBF16>("mma_bf16"),
    mma<MmaF16>("mma_f16"),
    mma<MmaTf32>("mma_tf32"),
    wgmma_of<bf16, false, 128, 8>("wgmma_bf16_deep_64"),
    wgmma_of<bf16, true, 128, 16>("wgmma_bf16_flat_128"),
    wgmma_of<bf16, false, 128, 16>("wgmma_bf16_deep_128"),
    wgmma_of<bf16, false, 64, 8>("wgmma_bf16_narrow_deep_64"),
    wgmma_of<f16, false, 64, 16>("wgmma_f16_narrow_deep_128"),
    wgmma_of<f16, true, 128, 8>("wgmma_f16_flat_64"),
    shared_wgmma_of<bf16, false, 128, 128, 8>("wgmma_bf16_shared_deep_64"),
    shared_wgmma_of<bf16, true, 128, 64, 16>("wgmma_bf16_shared_flat_128"),
    shared_wgmma_of<f16, false, 64, 64, 16>("wgmma_f16_shared_narrow_deep_128"),
    wgmma_step_of<bf16>("wgmma_bf16_step"),
    map<RoundToTf32>("round_to_tf32"),
    map<FloatToBF16>("float_to_bf16"),
    map<FloatToF16>("float_to_f16"),
    map<FloatToBF16Pair>("float_to_bf16_pair"),
    map<FloatToF16Pair>("float_to_f16_pair"),
    map<RectifiedPairBF16>("rectified_pair_bf16"),
    map<RectifiedPairF16>("rectified_pair_f16"),
    map<BF16ToFloat>("bf16_to_float"),
    map<F16ToFloat>("f16_to_float"),
};

}  // namespace

std::span<const PtxKernel> ptx_kernels() {
  return kKernels;
}

bool runs_here(const PtxKernel& kernel) {
  return !kernel.by_warpgroup || has_warpgroups();
}

}  // namespace residuum::ptx
