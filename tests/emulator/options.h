// How the emulator runs kernels. A right kernel gives the same bits under every option; a wrong one need not,
// which is how tests find it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace residuum::emulator {

/// Which ready thread, warp and block goes next.
enum class Order : uint8_t { kForward, kReverse, kRandom };
/// When an asynchronous copy arrives: as late as the hardware may deliver it (at the wait), as early as it
/// may (at the issue), or a mix.
enum class Copies : uint8_t { kLazy, kEager, kRandom };

struct Options {
  Order order = Order::kForward;
  uint64_t seed = 1;  ///< of both kinds of randomness
  Copies copies = Copies::kLazy;
  int resident_blocks = 4;                 ///< blocks under way at once; an atomic lets another one go on
  size_t max_dynamic_shared = 227 * 1024;  ///< bytes a block may have: sm_90 227 KB, sm_80 163 KB
  bool every_grid_waits = false;           ///< grid_dependency_wait is asked of ordinary launches too
  bool record_launches = false;            ///< see launch_records(), traffic_records(), matrix_loads()
  bool warpgroups = true;                  ///< kernels of sm_90a are taken where there are some
};

/// The options of the launches that follow. At first RESIDUUM_EMULATOR_ORDER=forward|reverse|SEED and
/// RESIDUUM_EMULATOR_COPIES=lazy|eager|random, and RESIDUUM_EMULATOR_CHIP=sm_80|sm_90a, so that a whole
/// test program can be run in each way. Throws std::invalid_argument naming a value it does not know.
Options& options();

}  // namespace residuum::emulator
