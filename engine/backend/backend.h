// What an engine needs of a device: memory, copies, and groups of nodes turned into launches. The backend
// knows nothing of training; the executor knows nothing of devices. A backend, with all that was made on it,
// is used by one thread at a time, on CUDA by the thread that made it; on the CPU, backends of their own may
// work side by side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "engine/core/check.h"
#include "engine/graph/cost.h"
#include "engine/graph/graph.h"
#include "engine/graph/group.h"

namespace residuum {

/// The device has not the memory asked for: Error(kDevice) naming the bytes asked for and those free.
class OutOfMemory : public Error {
 public:
  explicit OutOfMemory(const std::string& message) : Error(ErrorKind::kDevice, message) {}
};

/// What changes from step to step besides the inputs.
struct StepParams {
  uint64_t seed = 0;
  uint64_t step = 0;        ///< optimizer steps done before this one
  uint32_t micro_step = 0;  ///< 0 .. accumulation - 1
  float learning_rate = 0;

  bool operator==(const StepParams&) const = default;
};

/// Device memory owned by its holder; the base address is aligned to 256 bytes and the content starts as
/// zeros.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual std::byte* data() = 0;
  virtual size_t bytes() const = 0;
};

/// One group, compiled for fixed shapes. Life: prepared by a backend, bound once to addresses, run once per
/// step.
class Launch {
 public:
  virtual ~Launch() = default;
  /// Bytes of temporary memory wanted while the launch runs (256-byte aligned).
  virtual size_t scratch_bytes() const = 0;
  /// `addresses[id]` is the device address of value id (null for internal and unused ones).
  virtual void bind(std::span<std::byte* const> addresses, std::byte* scratch) = 0;
  virtual void run(const StepParams& params) = 0;
  /// What one run costs by counting; it may be several kernel launches.
  virtual Cost cost() const = 0;
  /// Who computes it: "own" kernels, or the library that does its main part.
  virtual std::string implementation() const { return "own"; }
};

/// A bound launch in a program. Launches of one stream run in order, those of two streams side by side.
struct RecordedLaunch {
  Launch* launch = nullptr;
  int stream = 0;              ///< below Backend::streams()
  std::optional<size_t> wait;  ///< an earlier launch of the program that must be done, by its number
};

/// Launches recorded once and replayed as one: a CUDA graph; on the CPU just the list.
class Program {
 public:
  virtual ~Program() = default;
  virtual void run(const StepParams& params) = 0;
};

/// Work beside the launches on a queue of its own: the communication of device memory.
class SideQueue {
 public:
  virtual ~SideQueue() = default;
  /// What is put on the queue from now on starts after everything launched so far.
  virtual void after_launches() = 0;
  /// What is launched from now on starts after everything on the queue.
  virtual void before_launches() = 0;
  /// The queue as its libraries know it: a cudaStream_t.
  virtual void* stream() = 0;
  /// The device: the same text in every process that uses it, another one for every other device.
  virtual std::string device_id() const = 0;
  /// On the queue: a copy inside of the device's memory; dst[i] += src[i]. Both are aligned to 16 bytes.
  virtual void copy(std::byte* dst, const std::byte* src, size_t bytes) = 0;
  virtual void add(float* dst, const float* src, size_t count) = 0;
  /// Whether everything on the queue is done; throws Error(kDevice) for what failed.
  virtual bool is_done() = 0;
  /// For how long launches have waited for the queue, in all waits that are over.
  virtual double waited_seconds() = 0;
};

/// Bytes on their way to the host.
class Download {
 public:
  virtual ~Download() = default;
  /// Waits for them; valid until the download is destroyed.
  virtual std::span<const std::byte> wait() = 0;
};

/// Points in time along what is launched: by events on a GPU, where marking waits for nothing; by the clock
/// on the CPU.
class Timer {
 public:
  virtual ~Timer() = default;
  /// Remembers when everything launched so far is done.
  virtual void mark() = 0;
  /// Seconds from each mark to the next; waits for the last one, then forgets them all.
  virtual std::vector<double> intervals() = 0;
};

/// A kind of sequence that one launch computes.
struct FusionKind {
  std::string name, help;
};

struct BackendOptions {
  int threads = 0;    ///< CPU worker threads; 0: every core this process may use
  int ordinal = 0;    ///< which GPU
  bool tf32 = false;  ///< CUDA: products of f32 convolutions and linear layers in TF32, as torch's allow_tf32
  bool cublas = false;           ///< CUDA: linear layers by cuBLAS instead of the engine's own kernels
  bool dependent_launch = true;  ///< CUDA: kernels start while the one before ends, where the GPU can
  std::set<std::string> fusions_off = {};  ///< names of Backend::fusions() that are left out
  bool cudnn = false;  ///< CUDA: convolutions by cuDNN where it can, instead of the engine's own kernels
  /// CUDA: each group by the fastest of own kernels, cuBLAS and cuDNN, as measured. The libraries may be
  /// missing, unless `cublas` or `cudnn` asks for them.
  bool autotune = false;
  std::string autotune_cache = {};  ///< file that keeps what was measured; empty: none
};

class Backend {
 public:
  virtual ~Backend() = default;
  /// "cpu" or "cuda".
  virtual std::string name() const = 0;
  /// One line for people: chip, threads, libraries and versions.
  virtual std::string describe() const = 0;
  /// Throws OutOfMemory.
  virtual std::unique_ptr<Memory> allocate(size_t bytes) = 0;
  /// Bytes that could be allocated now.
  virtual size_t free_bytes() const = 0;
  /// Copies that wait for themselves and for everything launched before.
  virtual void copy_to_device(std::byte* dst, const void* src, size_t bytes) = 0;
  virtual void copy_to_host(void* dst, const std::byte* src, size_t bytes) = 0;
  /// A copy of the step's input: returns when `src` may be reused, ordered before everything launched later.
  virtual void upload(std::byte* dst, const void* src, size_t bytes) = 0;
  /// A copy of the step's result, ordered after everything launched so far.
  virtual std::unique_ptr<Download> download(const std::byte* src, size_t bytes) = 0;
  /// A copy from device memory to device memory, ordered as a launch; the two must not overlap.
  virtual void copy(std::byte* dst, const std::byte* src, size_t bytes) = 0;
  /// Cuts the nodes into launches.
  virtual std::vector<Group> groups(const Graph& graph) const = 0;
  /// The AbsorbRule of this backend (engine/graph/passes.h).
  virtual bool absorbs(const Graph& graph, NodeId reader, size_t input) const = 0;
  /// The LayersRule of this backend.
  virtual int filter_layers(const Graph&, NodeId) const { return 1; }
  /// What groups() joins, each with a name for BackendOptions::fusions_off; empty: it knows no parts.
  virtual std::vector<FusionKind> fusions() const { return {}; }
  /// Compiles a group. Throws Error(kDevice) naming node and shapes this backend cannot run.
  virtual std::unique_ptr<Launch> prepare(const Graph& graph, const Group& group) = 0;
  /// How many launches of a program may run side by side.
  virtual int streams() const = 0;
  /// Makes bound launches of this backend one program, which ends when all are done; they must outlive it.
  virtual std::unique_ptr<Program> record(std::vector<RecordedLaunch> launches) = 0;
  /// Whether a launch has run when run() returns, so that nothing is gained by looking at it later.
  virtual bool launches_wait() const { return false; }
  /// Whether convolutions and linear layers read weight copies in the type of their activations (the
  /// weight_copies pass).
  virtual bool wants_weight_copies() const = 0;
  /// A queue for communication; null where memory is the host's own and launches have run when they return.
  virtual std::unique_ptr<SideQueue> side_queue() { return nullptr; }
  /// Waits for everything launched.
  virtual void synchronize() = 0;
  virtual std::unique_ptr<Timer> make_timer() = 0;
  /// Of the largest cache before memory, which a measurement has to empty; 0: not known.
  virtual size_t cache_bytes() const = 0;
};

/// The backend called "cpu", "cuda" or, with "auto", the best one present; it must outlive all that is made
/// on it. Throws Error(kDevice) saying what this build and machine offer.
std::unique_ptr<Backend> make_backend(const std::string& name, const BackendOptions& options);

/// The same for plans only: "cuda" needs no GPU then, and what it prepares cannot be bound or run.
std::unique_ptr<Backend> make_planning_backend(const std::string& name, const BackendOptions& options);

}  // namespace residuum
