// PTX of sm_90a alone: products that a warpgroup, four warps in a row, starts and waits for (wgmma).
// Functions without logic, as in ptx.cuh, with twins in the emulator; PTX ISA section numbers are of
// version 8.7. Where the code compiled is for another chip they do nothing: launchers do not run such kernels
// there.
#pragma once

#include <type_traits>

namespace residuum::kernels {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define RESIDUUM_SM90A(...) asm volatile(__VA_ARGS__)
#else
#define RESIDUUM_SM90A(...) ((void)0)
#endif

/// wgmma.fence (9.7.15.7.1): registers written before may be read and added to by the products that follow.
__device__ __forceinline__ void wgmma_fence() {
  RESIDUUM_SM90A("wgmma.fence.sync.aligned;\n" ::: "memory");
}
/// wgmma.commit_group (9.7.15.7.2).
__device__ __forceinline__ void wgmma_commit() {
  RESIDUUM_SM90A("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}
/// wgmma.wait_group 0 (9.7.15.7.3): all products are done, sums and factors in registers may be used again.
__device__ __forceinline__ void wgmma_wait() {
  RESIDUUM_SM90A("wgmma.wait_group.sync.aligned 0;\n" ::: "memory");
}
/// fence.proxy.async (9.7.13.4): what this thread wrote to shared memory, also by cp.async that it has waited
/// for, is seen by products that start behind the next barrier.
__device__ __forceinline__ void fence_shared_for_wgmma() {
  RESIDUUM_SM90A("fence.proxy.async.shared::cta;\n" ::: "memory");
}

/// A factor in shared memory, seen from its first element (9.7.15.5.1): rows of kRowBytes (128, or 64
/// for deep ones) whose 16-byte chunks are swizzled as tile.cuh does, eight of them aligned to their size.
/// Deep: rows are columns of the product (or rows, of a left factor), the sum runs along them; `stride` bytes
/// lie between eight rows. Flat: the sum runs across the rows, `stride` bytes between eight of them, and 64
/// columns are followed by the next 64 `leading` bytes further.
struct SharedFactor {
  SharedAddress start;
  int leading, stride;
};

/// The descriptor of a factor.
template <int kRowBytes>
__device__ __forceinline__ uint64_t descriptor_of(const SharedFactor& factor) {
  static_assert(kRowBytes == 128 || kRowBytes == 64);
  constexpr uint64_t kSwizzle = kRowBytes == 128 ? 1 : 2;
  const auto field = [](uint32_t bytes) { return static_cast<uint64_t>((bytes & 0x3FFFFu) >> 4); };
  return field(static_cast<uint32_t>(factor.start)) | field(static_cast<uint32_t>(factor.leading)) << 16 |
         field(static_cast<uint32_t>(factor.stride)) << 32 | kSwizzle << 62;
}

#define RESIDUUM_SUMS4(c) "+f"((c)[0]), "+f"((c)[1]), "+f"((c)[2]), "+f"((c)[3])
#define RESIDUUM_SUMS32(c, i)                                                             \
  RESIDUUM_SUMS4((c)[i]), RESIDUUM_SUMS4((c)[i + 1]), RESIDUUM_SUMS4((c)[i + 2]),         \
      RESIDUUM_SUMS4((c)[i + 3]), RESIDUUM_SUMS4((c)[i + 4]), RESIDUUM_SUMS4((c)[i + 5]), \
      RESIDUUM_SUMS4((c)[i + 6]), RESIDUUM_SUMS4((c)[i + 7])
#define RESIDUUM_FACTORS(a, b, flat) "r"((a)[0]), "r"((a)[1]), "r"((a)[2]), "r"((a)[3]), "l"(b), "n"(flat)
#define RESIDUUM_WGMMA64(type)                                                                        \
  "{\n.reg .pred p;\n.reg .b32 one;\nmov.b32 one, 1;\nsetp.ne.b32 p, one, 0;\n"                       \
  "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                                         \
  " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, " \
  "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, {%32, %33, %34, %35}, %36, p, 1, 1, %37;\n}\n"
#define RESIDUUM_WGMMA128(type)                                                                          \
  "{\n.reg .pred p;\n.reg .b32 one;\nmov.b32 one, 1;\nsetp.ne.b32 p, one, 0;\n"                          \
  "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type                                           \
  " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "    \
  "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, " \
  "%41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, " \
  "%61, %62, %63}, {%64, %65, %66, %67}, %68, p, 1, 1, %69;\n}\n"

/// Starts c += a b, 64 x kColumns, sum over 16 (9.7.15.5.2): each of the four warps has 16 rows, a and each
/// c[q] (columns 8 q to 8 q + 7) in the layout of mma_bf16. f32 sums. kFlat, kRowBytes: how b lies in shared
/// memory.
template <typename T, bool kFlat, int kRowBytes, int kEights>
__device__ __forceinline__ void wgmma(float (&c)[kEights][4], const uint32_t (&a)[4], const SharedFactor& b) {
  static_assert(kEights == 8 || kEights == 16, "64 or 128 columns");
  static_assert(!kFlat || kRowBytes == 128);
  [[maybe_unused]] const uint64_t factor = descriptor_of<kRowBytes>(b);
  [[maybe_unused]] constexpr int kTransposed = kFlat ? 1 : 0;
  if constexpr (kEights == 8 && std::is_same_v<T, __nv_bfloat16>) {
    RESIDUUM_SM90A(RESIDUUM_WGMMA64("bf16")
                   : RESIDUUM_SUMS32(c, 0)
                   : RESIDUUM_FACTORS(a, factor, kTransposed));
  } else if constexpr (kEights == 8) {
    RESIDUUM_SM90A(RESIDUUM_WGMMA64("f16")
                   : RESIDUUM_SUMS32(c, 0)
                   : RESIDUUM_FACTORS(a, factor, kTransposed));
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    RESIDUUM_SM90A(RESIDUUM_WGMMA128("bf16")
                   : RESIDUUM_SUMS32(c, 0), RESIDUUM_SUMS32(c, 8)
                   : RESIDUUM_FACTORS(a, factor, kTransposed));
  } else {
    RESIDUUM_SM90A(RESIDUUM_WGMMA128("f16")
                   : RESIDUUM_SUMS32(c, 0), RESIDUUM_SUMS32(c, 8)
                   : RESIDUUM_FACTORS(a, factor, kTransposed));
  }
}

#define RESIDUUM_SHARED64(type)                                                                       \
  "{\n.reg .pred p;\n.reg .b32 one;\nmov.b32 one, 1;\nsetp.ne.b32 p, one, 0;\n"                       \
  "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                                         \
  " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, " \
  "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, p, 1, 1, 0, %34;\n}\n"
#define RESIDUUM_SHARED128(type)                                                                         \
  "{\n.reg .pred p;\n.reg .b32 one;\nmov.b32 one, 1;\nsetp.ne.b32 p, one, 0;\n"                          \
  "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type                                           \
  " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "    \
  "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, " \
  "%41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, " \
  "%61, %62, %63}, %64, %65, p, 1, 1, 0, %66;\n}\n"

/// The same with the left factor, rows of kLeftBytes (deep), from shared memory too: sixty-four rows, sixteen
/// for each warp (9.7.15.5.2 with two descriptors).
template <typename T, bool kFlat, int kRowBytes, int kLeftBytes, int kEights>
__device__ __forceinline__ void wgmma(float (&c)[kEights][4], const SharedFactor& a, const SharedFactor& b) {
  static_assert(kEights == 8 || kEights == 16, "64 or 128 columns");
  static_assert(!kFlat || kRowBytes == 128);
  [[maybe_unused]] const uint64_t left = descriptor_of<kLeftBytes>(a), right = descriptor_of<kRowBytes>(b);
  [[maybe_unused]] constexpr int kTransposed = kFlat ? 1 : 0;
  if constexpr (kEights == 8 && std::is_same_v<T, __nv_bfloat16>) {
    RESIDUUM_SM90A(RESIDUUM_SHARED64("bf16")
                   : RESIDUUM_SUMS32(c, 0)
                   : "l"(left), "l"(right), "n"(kTransposed));
  } else if constexpr (kEights == 8) {
    RESIDUUM_SM90A(RESIDUUM_SHARED64("f16")
                   : RESIDUUM_SUMS32(c, 0)
                   : "l"(left), "l"(right), "n"(kTransposed));
  } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    RESIDUUM_SM90A(RESIDUUM_SHARED128("bf16")
                   : RESIDUUM_SUMS32(c, 0), RESIDUUM_SUMS32(c, 8)
                   : "l"(left), "l"(right), "n"(kTransposed));
  } else {
    RESIDUUM_SM90A(RESIDUUM_SHARED128("f16")
                   : RESIDUUM_SUMS32(c, 0), RESIDUUM_SUMS32(c, 8)
                   : "l"(left), "l"(right), "n"(kTransposed));
  }
}

/// Nothing that the code does with these registers before or after moves past this place: sums and factors
/// belong to the products from their start to wgmma_wait.
template <int kCount>
__device__ __forceinline__ void hold_registers(float (&values)[kCount][4]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) RESIDUUM_SM90A("" : RESIDUUM_SUMS4(values[i])::"memory");
}
template <int kCount>
__device__ __forceinline__ void hold_registers(uint32_t (&words)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) RESIDUUM_SM90A("" : "+r"(words[i])::"memory");
}

#undef RESIDUUM_SM90A
#undef RESIDUUM_SUMS4
#undef RESIDUUM_SUMS32
#undef RESIDUUM_FACTORS
#undef RESIDUUM_WGMMA64
#undef RESIDUUM_WGMMA128
#undef RESIDUUM_SHARED64
#undef RESIDUUM_SHARED128

}  // namespace residuum::kernels
