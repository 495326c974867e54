// One inline function per PTX instruction, without logic. The emulator has a twin of each, with the same
// signature, in tests/emulator; PTX ISA section numbers are of version 8.7.
#pragma once

namespace residuum::kernels {

/// An address in the shared window, in bytes; arithmetic on it is allowed. (The emulator's is as wide as a
/// pointer.)
using SharedAddress = uint32_t;

__device__ __forceinline__ SharedAddress shared_address(const void* pointer) {
  return static_cast<SharedAddress>(__cvta_generic_to_shared(pointer));
}

/// cp.async.cg 16 bytes (9.7.9.25.3); zeros arrive when not `valid`, and nothing is read.
__device__ __forceinline__ void cp_async_16(SharedAddress dst, const void* src, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(dst), "l"(src), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
/// Waits until at most `kPending` of this thread's groups are under way.
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

/// atom.acq_rel.gpu.global.add.u32 (9.7.13.5): the number before. What the block wrote before the barrier in
/// front of it is visible to whoever finds this addition there, in the same way.
__device__ __forceinline__ unsigned add_acquire_release(unsigned* counter, unsigned value) {
  unsigned before;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;\n"
               : "=r"(before)
               : "l"(counter), "r"(value)
               : "memory");
  return before;
}

/// prefetch.global.L2 (9.7.9.15): the cache line of an address of device memory; nothing depends on it.
__device__ __forceinline__ void prefetch_l2(const void* address) {
  asm volatile("prefetch.global.L2 [%0];\n" ::"l"(address));
}

/// Four 8x8 matrices of 16-bit elements (9.7.14.5.15): lane l gives the address of row l % 8 of matrix l / 8
/// and gets, of each matrix, elements 2 (l % 4) and + 1 of row l / 4.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&regs)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(regs[0]), "=r"(regs[1]), "=r"(regs[2]), "=r"(regs[3])
               : "r"(row)
               : "memory");
}
/// The same with each matrix transposed: lane l gets elements l / 4 of rows 2 (l % 4) and + 1.
__device__ __forceinline__ void ldmatrix_x4_transposed(uint32_t (&regs)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(regs[0]), "=r"(regs[1]), "=r"(regs[2]), "=r"(regs[3])
               : "r"(row)
               : "memory");
}
/// The same number, of which the compiler no longer knows where it comes from: what is computed from it stays
/// where it is written and takes no register in the loop around it.
template <typename T>
__device__ __forceinline__ T computed_here(T value) {
  static_assert(sizeof(T) == 4);
  asm volatile("" : "+r"(value));
  return value;
}

/// 32 bits of shared memory.
__device__ __forceinline__ uint32_t load_shared_32(SharedAddress address) {
  uint32_t value;
  asm volatile("ld.shared.b32 %0, [%1];\n" : "=r"(value) : "r"(address) : "memory");
  return value;
}

/// c += a b, 16x8x16 (9.7.14.5.8), bf16 factors, f32 sums. With g = lane / 4, t = 2 (lane % 4): a[h] rows
/// g + 8 (h & 1), columns t + 8 (h >> 1) + {0, 1}; b[h] rows t + 8 h + {0, 1}, column g; c[i] row
/// g + 8 (i >> 1), column t + (i & 1).
__device__ __forceinline__ void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// The same with f16 factors.
__device__ __forceinline__ void mma_f16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// c += a b, 16x8x8 (9.7.14.5.6), TF32 factors (f32 bits whose low 13 are ignored). With g = lane / 4,
/// t = lane % 4: a[h] row g + 8 (h & 1), column t + 4 (h >> 1); b0, b1 rows t, t + 4, column g; c as above.
__device__ __forceinline__ void mma_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// cvt.rna.tf32.f32: to 11 significant bits, ties away from zero; the low 13 bits of the result are 0.
__device__ __forceinline__ uint32_t round_to_tf32(float value) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(bits) : "f"(value));
  return bits;
}

/// cvt.rn.relu.bf16x2.f32 (9.7.9.21): two values to nearest even, those below 0 as 0, a NaN as NaN; `low` is
/// in the low half.
__device__ __forceinline__ uint32_t rectified_pair_bf16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;\n" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
/// The same to f16.
__device__ __forceinline__ uint32_t rectified_pair_f16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.relu.f16x2.f32 %0, %1, %2;\n" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

/// griddepcontrol.wait (9.7.13.13): until the grids that this one was launched behind are complete and their
/// writes visible; at once when this is no dependent launch. Comes before every access to memory: reads of
/// what those grids write, and writes to what they still read.
__device__ __forceinline__ void grid_dependency_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n" ::: "memory");
#endif
}
/// griddepcontrol.launch_dependents (9.7.13.13), after the wait: the next grid's blocks may start, up to
/// their own wait, once every block of this grid has said so or exited. That is when this grid's last blocks
/// have started, so the early ones never take a place that a block of this grid could have; a large grid
/// loses nothing, and the next one starts in its last wave. Before the wait it would let a third grid in.
__device__ __forceinline__ void grid_dependency_trigger() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\n" :::);
#endif
}

}  // namespace residuum::kernels
