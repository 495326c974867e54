// Twins of the tensor-core instructions, run once per warp. Layouts are those of the PTX ISA (see
// kernels/device/ptx.cuh).
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "tests/emulator/execution.h"
#include "tests/emulator/grid.h"
#include "tests/emulator/ptx_twins.h"
#include "tests/emulator/race.h"
#include "tests/emulator/traffic.h"

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

/// Rows of sixteen bytes are in the same banks when they are a multiple of 128 bytes apart; the same row is
/// read once.
void count_accesses(void* const* posted) {
  if (!emulator::options().record_launches) return;
  emulator::MatrixLoads& loads = emulator::matrix_loads();
  for (int m = 0; m < 4; ++m) {
    std::vector<SharedAddress> in_banks[8];
    size_t accesses = 0;
    for (int lane = 8 * m; lane < 8 * m + 8; ++lane) {
      const SharedAddress row = static_cast<const LoadMatrix*>(posted[lane])->row;
      std::vector<SharedAddress>& others = in_banks[row / 16 % 8];
      if (std::find(others.begin(), others.end(), row) == others.end()) others.push_back(row);
      accesses = std::max(accesses, others.size());
    }
    ++loads.matrices;
    loads.accesses += accesses;
  }
}

/// Register m of lane l: elements 2 (l % 4) and + 1 of row l / 4 of matrix m.
void run_load_matrix(void* const* posted, uint32_t) {
  count_accesses(posted);
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
  count_accesses(posted);
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

using Row = float __attribute__((vector_size(32)));  // eight columns

/// c += a b of 16 x kDepth by kDepth x 8, in the order of k.
template <int kDepth>
struct Product {
  float a[16][kDepth];
  alignas(32) float b[kDepth][8];
  alignas(32) float c[16][8];

  [[gnu::always_inline]] inline void multiply() {
    constexpr int kRows = 4;  // at once, to keep the adders busy
    auto* b_rows = reinterpret_cast<const Row*>(b);
    for (int first = 0; first < 16; first += kRows) {
      auto* sums = reinterpret_cast<Row*>(c[first]);
      Row s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
      for (int k = 0; k < kDepth; ++k) {
        s0 += a[first][k] * b_rows[k];
        s1 += a[first + 1][k] * b_rows[k];
        s2 += a[first + 2][k] * b_rows[k];
        s3 += a[first + 3][k] * b_rows[k];
      }
      sums[0] = s0, sums[1] = s1, sums[2] = s2, sums[3] = s3;
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

// The same arithmetic, and so the same bits, by instructions twice as wide.
template <int kDepth>
[[gnu::target("avx2")]] void multiply_avx2(Product<kDepth>& product) {
  product.multiply();
}
template <int kDepth>
void multiply_baseline(Product<kDepth>& product) {
  product.multiply();
}
template <int kDepth>
void accumulate(Product<kDepth>& product, void* const* posted) {
  static const bool wide = __builtin_cpu_supports("avx2");
  product.move_sums(posted, true);
  wide ? multiply_avx2(product) : multiply_baseline(product);
  product.move_sums(posted, false);
}

float bf16_to_float(uint32_t bits) {
  return std::bit_cast<float>(bits << 16);
}
/// CUDA's own __half2float on the host is ten times slower. Moving the exponent by a product keeps
/// subnormals.
float f16_to_float(uint32_t bits) {
  constexpr uint32_t kExponent = 0x7C00u;
  const float magnitude = std::bit_cast<float>((bits & 0x7FFFu) << 13) * 0x1p112f;
  const uint32_t infinite = (bits & kExponent) == kExponent ? 0x7F800000u : 0;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | infinite | (bits & 0x8000u) << 16);
}

/// 16-bit factors: each register holds two neighbours in k.
template <float (*kToFloat)(uint32_t)>
void run_mma_16(void* const* posted, uint32_t) {
  Product<16> product;
  for (int lane = 0; lane < 32; ++lane) {
    const auto& regs = *static_cast<const Mma*>(posted[lane]);
    const int g = lane / 4, t = 2 * (lane % 4);
    for (int h = 0; h < 4; ++h) {
      float* pair = &product.a[g + 8 * (h & 1)][t + 8 * (h >> 1)];
      pair[0] = kToFloat(regs.a[h] & 0xFFFFu);
      pair[1] = kToFloat(regs.a[h] >> 16);
    }
    for (int h = 0; h < 2; ++h) {
      product.b[t + 8 * h][g] = kToFloat(regs.b[h] & 0xFFFFu);
      product.b[t + 8 * h + 1][g] = kToFloat(regs.b[h] >> 16);
    }
  }
  accumulate(product, posted);
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
  accumulate(product, posted);
}

// ---- products of a warpgroup; each of its warps carries out its own sixteen rows ----

/// The 16 bits at an address as it would be without a swizzle (PTX ISA 9.7.15.5.1), which exchanges chunks by
/// address bits above those of a row.
uint32_t swizzled_element(SharedAddress at, int row_bytes) {
  const SharedAddress mask = static_cast<SharedAddress>(row_bytes / 16 - 1);
  at ^= (at >> 7 & mask) << 4;
  uint16_t bits;
  std::memcpy(&bits, reinterpret_cast<const void*>(at), sizeof bits);
  return bits;
}
/// Element (k, column) of a right factor in shared memory.
uint32_t factor_element(const emulator::WarpgroupProduct& product, int k, int column) {
  const kernels::SharedFactor& b = product.b;
  const int offset =
      product.flat ? k % 8 * product.row_bytes + k / 8 * b.stride + column / 64 * b.leading + column % 64 * 2
                   : column % 8 * product.row_bytes + column / 8 * b.stride + 2 * k;
  return swizzled_element(b.start + static_cast<SharedAddress>(offset), product.row_bytes);
}
/// The words of a lane of a left factor in shared memory: a warp's sixteen rows are the next after those of
/// the warp before it.
void take_left_factor(emulator::WarpgroupProduct& product, int lane) {
  if (product.left_bytes == 0) return;
  for (int h = 0; h < 4; ++h) {
    const int row = lane / 4 + 8 * (h & 1), k = lane % 4 * 2 + 8 * (h >> 1);
    const SharedAddress at =
        product.rows.start + static_cast<SharedAddress>((2 * product.warp + row / 8) * product.rows.stride +
                                                        row % 8 * product.left_bytes + 2 * k);
    product.a[h] = swizzled_element(at, product.left_bytes) | swizzled_element(at + 2, product.left_bytes)
                                                                  << 16;
  }
}

template <float (*kToFloat)(uint32_t)>
void run_product(emulator::WarpgroupProduct* const (&lanes)[32]) {
  for (int lane = 0; lane < 32; ++lane) take_left_factor(*lanes[lane], lane);
  for (int eight = 0; eight < lanes[0]->eights; ++eight) {
    Mma mma[32];
    void* posted[32];
    for (int lane = 0; lane < 32; ++lane) {
      const emulator::WarpgroupProduct& own = *lanes[lane];
      const int k = lane % 4 * 2, column = 8 * eight + lane / 4;
      mma[lane] = {own.c + 4 * eight, own.a, {}};
      for (int h = 0; h < 2; ++h) {
        mma[lane].b[h] = factor_element(own, k + 8 * h, column) | factor_element(own, k + 8 * h + 1, column)
                                                                      << 16;
      }
      posted[lane] = &mma[lane];
    }
    run_mma_16<kToFloat>(posted, kFullMask);
  }
}

/// That all lanes of a warp were asked for the same product, and none has written to the registers since.
void check_lanes(emulator::WarpgroupProduct* const (&lanes)[32]) {
  emulator::ProductLog first;
  first.add(*lanes[0]);
  for (const emulator::WarpgroupProduct* product : lanes) {
    emulator::ProductLog own;
    own.add(*product);
    if (own != first) emulator::fault("wgmma: lanes of a warp started different products");
    if (product->words != nullptr && !std::equal(product->a, product->a + 4, product->words))
      emulator::fault("wgmma: registers of a left factor were written before wgmma_wait");
  }
}

void run_products(void* const* posted, uint32_t) {
  const auto queue_of = [&](int lane) { return static_cast<emulator::ProductQueue*>(posted[lane]); };
  const size_t count = queue_of(0)->started.size();
  for (size_t i = 0; i < count; ++i) {
    emulator::WarpgroupProduct* lanes[32];
    for (int lane = 0; lane < 32; ++lane) {
      if (queue_of(lane)->started.size() != count)
        emulator::fault("wgmma: lanes of a warp started different products");
      lanes[lane] = &queue_of(lane)->started[i];
    }
    check_lanes(lanes);
    emulator::current_thread().warp->products.add(*lanes[0]);
    lanes[0]->is_bf16 ? run_product<bf16_to_float>(lanes) : run_product<f16_to_float>(lanes);
  }
  for (int lane = 0; lane < 32; ++lane) *queue_of(lane) = {};
}

constexpr Collective kWgmma = {"wgmma_wait", run_products};

/// That a factor of `groups` times eight rows in each of `panels` lies in shared memory, aligned as its
/// swizzle needs; and what the lane stands for reading of it.
void check_factor(emulator::Thread& thread, const char* side, const kernels::SharedFactor& factor,
                  int row_bytes, int groups, int panels) {
  const SharedAddress swizzle_bytes = static_cast<SharedAddress>(8 * row_bytes);
  const SharedAddress begin = factor.start / swizzle_bytes * swizzle_bytes;
  const bool advanced = factor.start - begin < static_cast<SharedAddress>(row_bytes);
  if (factor.start % 16 != 0 || !advanced || factor.stride % static_cast<int>(swizzle_bytes) != 0 ||
      factor.leading % 1024 != 0) {
    emulator::fault(std::string("wgmma: the ") + side +
                    " factor is not aligned to eight rows of its swizzle");
  }
  for (int i = static_cast<int>(thread.lane); i < 8 * groups * panels; i += 32) {
    const SharedAddress row =
        begin + static_cast<SharedAddress>(i / (8 * groups) * factor.leading +
                                           i / 8 % groups * factor.stride + i % 8 * row_bytes);
    const auto bytes = static_cast<size_t>(row_bytes);
    const auto* address = reinterpret_cast<const void*>(row);
    if (!thread.owner->shared.contains(address, bytes)) {
      emulator::fault(std::string("wgmma: the ") + side + " factor is not in the block's shared memory");
    }
    if (emulator::race_detector) emulator::race_detector->product_access(thread, address, bytes);
  }
}
void check_factors(emulator::Thread& thread, const emulator::WarpgroupProduct& product) {
  const int groups = product.flat ? 2 : product.eights, panels = product.flat ? product.eights / 8 : 1;
  check_factor(thread, "right", product.b, product.row_bytes, groups, panels);
  if (product.left_bytes != 0) check_factor(thread, "left", product.rows, product.left_bytes, 8, 1);
}

constexpr Collective kMmaBf16 = {"mma_bf16", run_mma_16<bf16_to_float>};
constexpr Collective kMmaF16 = {"mma_f16", run_mma_16<f16_to_float>};
constexpr Collective kMmaTf32 = {"mma_tf32", run_mma_tf32};

}  // namespace

}  // namespace residuum::kernels

namespace residuum::emulator {

MatrixLoads& matrix_loads() {
  static MatrixLoads loads;
  return loads;
}

}  // namespace residuum::emulator

namespace residuum::kernels {

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

void fence_shared_for_wgmma() {
  if (emulator::race_detector) emulator::race_detector->fence_for_products(emulator::current_thread());
}
void wgmma_fence() {
  emulator::current_thread().products.fenced = true;
}
void wgmma_commit() {
  emulator::current_thread().products.committed = true;
}
void wgmma_wait(CallSite site) {
  emulator::Thread& thread = emulator::current_thread();
  emulator::ProductQueue& queue = thread.products;
  if (!queue.committed) emulator::fault("wgmma_wait at " + to_string(site) + ": products were not committed");
  if (emulator::race_detector) {  // factors are read from the start to here
    for (const emulator::WarpgroupProduct& product : queue.started) check_factors(thread, product);
  }
  warp_collective(kWgmma, kFullMask, &queue, site);
}
void detail::wgmma(float* c, int eights, const LeftFactor& a, const SharedFactor& b, bool is_bf16, bool flat,
                   int row_bytes) {
  emulator::Thread& thread = emulator::current_thread();
  if (!thread.products.fenced) emulator::fault("wgmma without a wgmma_fence since the last wait");
  emulator::WarpgroupProduct product{.c = c,
                                     .eights = eights,
                                     .rows = a.rows,
                                     .left_bytes = a.row_bytes,
                                     .b = b,
                                     .is_bf16 = is_bf16,
                                     .flat = flat,
                                     .row_bytes = row_bytes};
  product.warp = static_cast<int>(thread.warp->number % 4);
  if (a.words != nullptr) {
    product.words = a.words;
    std::copy_n(a.words, 4, product.a);
  }
  check_factors(thread, product);
  thread.products.started.push_back(product);
  thread.products.committed = false;
}

uint32_t round_to_tf32(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  // Infinities and NaNs are cut, as the recording of an H100 shows: a NaN of low bits alone becomes infinite.
  if ((bits & 0x7F800000u) == 0x7F800000u) return bits & ~0x1FFFu;
  return (bits + 0x1000u) & ~0x1FFFu;
}

namespace {
float rectified(float value) {
  return value <= 0 ? 0.0f : value;
}
}  // namespace
uint32_t rectified_pair_bf16(float low, float high) {
  const auto bits = [](float value) {
    return std::bit_cast<uint16_t>(__float2bfloat16_rn(rectified(value)));
  };
  return static_cast<uint32_t>(bits(low)) | static_cast<uint32_t>(bits(high)) << 16;
}
uint32_t rectified_pair_f16(float low, float high) {
  const auto bits = [](float value) { return std::bit_cast<uint16_t>(__float2half_rn(rectified(value))); };
  return static_cast<uint32_t>(bits(low)) | static_cast<uint32_t>(bits(high)) << 16;
}

}  // namespace residuum::kernels
