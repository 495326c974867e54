// Twins of the tensor-core instructions, run once per warp. Layouts are those of the PTX ISA (see
// kernels/device/ptx.cuh).
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <bit>
#include <cstring>

#include "tests/emulator/execution.h"
#include "tests/emulator/grid.h"
#include "tests/emulator/ptx_twins.h"
#include "tests/emulator/race.h"

namespace residuum::kernels {
namespace {

using emulator::Collective;
constexpr uint32_t kFullMask = 0xFFFFFFFFu;

struct LoadMatrix {
  uint32_t* regs;
  SharedAddress row;
};

struct Mma {
  float* c;
  const uint32_t* a;
  uint32_t b[2];
};

/// Register m of lane l: elements 2 (l % 4) and + 1 of row l / 4 of matrix m.
void run_load_matrix(void* const* posted, uint32_t) {
  for (int m = 0; m < 4; ++m) {
    for (int lane = 0; lane < 32; ++lane) {
      const auto row = static_cast<const LoadMatrix*>(posted[8 * m + lane / 4])->row;
      const auto* elements = reinterpret_cast<const char*>(row) + 4 * (lane % 4);
      std::memcpy(&static_cast<LoadMatrix*>(posted[lane])->regs[m], elements, 4);
    }
  }
}

/// Register m of lane l: element l / 4 of rows 2 (l % 4) and + 1 of matrix m.
void run_load_matrix_transposed(void* const* posted, uint32_t) {
  for (int m = 0; m < 4; ++m) {
    for (int lane = 0; lane < 32; ++lane) {
      uint16_t pair[2];
      for (int i = 0; i < 2; ++i) {
        const auto row = static_cast<const LoadMatrix*>(posted[8 * m + 2 * (lane % 4) + i])->row;
        std::memcpy(&pair[i], reinterpret_cast<const char*>(row) + 2 * (lane / 4), 2);
      }
      std::memcpy(&static_cast<LoadMatrix*>(posted[lane])->regs[m], pair, 4);
    }
  }
}

constexpr Collective kLoadMatrix = {"ldmatrix_x4", run_load_matrix};
constexpr Collective kLoadMatrixTransposed = {"ldmatrix_x4_transposed", run_load_matrix_transposed};

void load_matrix(const Collective& collective, uint32_t* regs, SharedAddress row, CallSite site) {
  emulator::Thread& thread = emulator::current_thread();
  const auto* address = reinterpret_cast<const void*>(row);
  if (row % 16 != 0 || !thread.owner->shared.contains(address, 16)) {
    emulator::fault(std::string(collective.name) + " at " + to_string(site) +
                    ": a row must be 16 bytes of the block's shared memory, aligned to 16");
  }
  if (emulator::race_detector) emulator::race_detector->access(thread, address, 16, false);
  LoadMatrix arguments{regs, row};
  warp_collective(collective, kFullMask, &arguments, site);
}

/// c += a b of 16 x kDepth by kDepth x 8, in the order of k.
template <int kDepth>
struct Product {
  float a[16][kDepth], b[kDepth][8], c[16][8];

  void multiply() {
    for (int row = 0; row < 16; ++row) {
      float sum[8];
      for (int n = 0; n < 8; ++n) sum[n] = c[row][n];
      for (int k = 0; k < kDepth; ++k) {
        for (int n = 0; n < 8; ++n) sum[n] += a[row][k] * b[k][n];
      }
      for (int n = 0; n < 8; ++n) c[row][n] = sum[n];
    }
  }

  void move_sums(void* const* posted, bool in) {
    for (int lane = 0; lane < 32; ++lane) {
      float* regs = static_cast<const Mma*>(posted[lane])->c;
      for (int half = 0; half < 2; ++half) {
        float* pair = &c[lane / 4 + 8 * half][2 * (lane % 4)];
        std::memcpy(in ? pair : regs + 2 * half, in ? regs + 2 * half : pair, 2 * sizeof(float));
      }
    }
  }
};

float bf16_to_float(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}
float f16_to_float(uint16_t bits) {
  return __half2float(std::bit_cast<__half>(bits));
}

/// 16-bit factors: each register holds two neighbours in k.
template <float (*kToFloat)(uint16_t)>
void run_mma_16(void* const* posted, uint32_t) {
  Product<16> product;
  for (int lane = 0; lane < 32; ++lane) {
    const auto& regs = *static_cast<const Mma*>(posted[lane]);
    const int g = lane / 4, t = 2 * (lane % 4);
    for (int i = 0; i < 2; ++i) {
      for (int h = 0; h < 4; ++h) {
        product.a[g + 8 * (h & 1)][t + 8 * (h >> 1) + i] =
            kToFloat(static_cast<uint16_t>(regs.a[h] >> 16 * i));
      }
      for (int h = 0; h < 2; ++h) {
        product.b[t + 8 * h + i][g] = kToFloat(static_cast<uint16_t>(regs.b[h] >> 16 * i));
      }
    }
  }
  product.move_sums(posted, true);
  product.multiply();
  product.move_sums(posted, false);
}

float tf32_to_float(uint32_t bits) {
  return std::bit_cast<float>(bits & ~0x1FFFu);
}

void run_mma_tf32(void* const* posted, uint32_t) {
  Product<8> product;
  for (int lane = 0; lane < 32; ++lane) {
    const auto& regs = *static_cast<const Mma*>(posted[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int h = 0; h < 4; ++h) product.a[g + 8 * (h & 1)][t + 4 * (h >> 1)] = tf32_to_float(regs.a[h]);
    for (int h = 0; h < 2; ++h) product.b[t + 4 * h][g] = tf32_to_float(regs.b[h]);
  }
  product.move_sums(posted, true);
  product.multiply();
  product.move_sums(posted, false);
}

constexpr Collective kMmaBf16 = {"mma_bf16", run_mma_16<bf16_to_float>};
constexpr Collective kMmaF16 = {"mma_f16", run_mma_16<f16_to_float>};
constexpr Collective kMmaTf32 = {"mma_tf32", run_mma_tf32};

}  // namespace

void ldmatrix_x4(uint32_t (&regs)[4], SharedAddress row, CallSite site) {
  load_matrix(kLoadMatrix, regs, row, site);
}
void ldmatrix_x4_transposed(uint32_t (&regs)[4], SharedAddress row, CallSite site) {
  load_matrix(kLoadMatrixTransposed, regs, row, site);
}

uint32_t load_shared_32(SharedAddress address) {
  emulator::Thread& thread = emulator::current_thread();
  const auto* pointer = reinterpret_cast<const void*>(address);
  if (address % 4 != 0 || !thread.owner->shared.contains(pointer, 4)) {
    emulator::fault("load_shared_32: not 4 aligned bytes of the block's shared memory");
  }
  if (emulator::race_detector) emulator::race_detector->access(thread, pointer, 4, false);
  uint32_t value;
  std::memcpy(&value, pointer, 4);
  return value;
}

void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, CallSite site) {
  Mma arguments{c, a, {b0, b1}};
  warp_collective(kMmaBf16, kFullMask, &arguments, site);
}
void mma_f16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, CallSite site) {
  Mma arguments{c, a, {b0, b1}};
  warp_collective(kMmaF16, kFullMask, &arguments, site);
}
void mma_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, CallSite site) {
  Mma arguments{c, a, {b0, b1}};
  warp_collective(kMmaTf32, kFullMask, &arguments, site);
}

uint32_t round_to_tf32(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (value != value) return 0x7FFFE000u;
  if ((bits & 0x7F800000u) == 0x7F800000u) return bits;
  return (bits + 0x1000u) & ~0x1FFFu;
}

}  // namespace residuum::kernels
