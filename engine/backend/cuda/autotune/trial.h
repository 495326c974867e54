// One group on trial: its values in temporary memory, filled with random data, on which candidates are run
// and their results compared. Invariant: results are looked at only after a run that began with outputs of
// 0xFF bytes, so that what a candidate does not write shows.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "engine/backend/cuda/autotune/candidates.h"

namespace residuum::cuda {

/// How far two candidates' results may be apart.
struct TrialLimit {
  double relative = 0;   ///< of float values: L2 norm of the difference over that of the first's result
  double differing = 0;  ///< of masks and positions: share of bits that differ
};

/// As the coarsest type rounds that values of the group, inside or outside, have: candidates round between
/// their steps, fused ones do not. Four times the largest rounding error of one value; TF32 products count as
/// f16, which has as many significant bits. A sign or a maximum may change where values are nearly equal.
TrialLimit trial_limit(const Graph& graph, const Group& group, kernels::F32Math f32_math);

/// Random data, made once of each kind on the host.
class RandomPatterns {
 public:
  /// Of the tensor's type, as long as it but no longer than longer tensors repeat: floats uniform in [-1, 1),
  /// vectors in [0.5, 1.5) as variances must be positive; bytes below `byte_bound`; integers 0 or 1.
  std::span<const std::byte> of(const TensorDesc& desc, uint32_t byte_bound);

 private:
  std::map<std::tuple<DType, bool, uint32_t>, std::vector<std::byte>> made_;
};

class Trial {
 public:
  /// Allocates what the candidates read and the group's results, and scratch for the largest. Throws
  /// OutOfMemory. An input that is ReLU(BN(x)) is computed from x, as a candidate may compute it again.
  Trial(Device& device, const Graph& graph, const Group& group, const std::vector<Candidate>& candidates,
        RandomPatterns& patterns);

  /// Binds the launch to the trial's memory.
  void bind(CudaLaunch& launch) const;
  /// Samples of what `run`, of a bound launch, writes to fresh outputs, an output after the other.
  std::vector<std::vector<std::byte>> results_of(const std::function<void()>& run);
  /// Why `found` is too far from `expected` (both of results_of); empty when it is not.
  std::string difference(const std::vector<std::vector<std::byte>>& found,
                         const std::vector<std::vector<std::byte>>& expected, const TrialLimit& limit) const;

 private:
  struct Place {
    ValueId id = kNone;
    std::unique_ptr<Memory> memory;
  };
  std::vector<std::byte*> addresses() const;
  /// Repeats the pattern.
  void fill(Memory& memory, std::span<const std::byte> pattern) const;
  /// Runs those ReLUs, each behind its batch_norm_apply.
  void compute(const std::vector<NodeId>& gates) const;

  Device& device_;
  const Graph& graph_;
  std::vector<Place> inputs_, outputs_;
  std::unique_ptr<Memory> scratch_;
};

}  // namespace residuum::cuda
