// Sums over all ranks of memory on a device, beside what its backend launches. The executor begins them in
// the same order on every rank.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "engine/backend/backend.h"

namespace residuum {

class Communicator;

/// `count` floats on the device.
struct SummedMemory {
  std::byte* data = nullptr;
  size_t count = 0;
};

class Exchange {
 public:
  virtual ~Exchange() = default;
  /// One line for people: "NCCL 2.27.3".
  virtual std::string describe() const = 0;
  /// Begins to replace every float of `memory` by `factor` times its sum over all ranks, once everything
  /// launched so far has made it; returns at once. `name` stands in errors. Nobody may touch the memory until
  /// finish(). Throws Error(kCommunication).
  virtual void start(std::span<const SummedMemory> memory, float factor, const std::string& name) = 0;
  /// What is launched from now on sees all sums begun so far. Throws Error(kCommunication) naming the rank
  /// that is dead, stuck or somewhere else.
  virtual void finish() = 0;
  /// For how long the device has waited in finish() since construction: communication that nothing hid.
  virtual double waited_seconds() const = 0;
};

/// The exchange that suits backend and ranks: NCCL between GPUs when every rank can load it, else
/// make_host_exchange. `fixed_order`: sums in pairs (network.h), as train.virtual_shards promises, by NCCL
/// for powers of two of ranks only. All ranks must call it. Throws Error(kCommunication) for different
/// versions of NCCL.
std::unique_ptr<Exchange> make_exchange(Communicator& communicator, Backend& backend, bool fixed_order);

/// Through `communicator`'s network: of host memory while the device computes; of a GPU's through host
/// memory. Both must outlive it.
std::unique_ptr<Exchange> make_host_exchange(Communicator& communicator, Backend& backend);

}  // namespace residuum
