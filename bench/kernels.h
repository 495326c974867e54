// Kernel throughput: operations of problems, one row for each implementation. Invariant: a result is checked
// before its speed is measured, and a wrong one has no speed.
#pragma once

#include <string>
#include <vector>

#include "bench/ceilings.h"
#include "bench/kernel_case.h"
#include "engine/train/precision.h"

namespace residuum::bench {

/// An implementation of operations on the device: a name and the backend that uses it where it can.
struct Implementation {
  std::string name;            ///< "ours", "cudnn", "cublas", "onednn"
  Backend* backend = nullptr;  ///< null: missing
  std::string missing;         ///< why
};

enum class RowStatus : uint8_t {
  kMeasured,
  kWrong,        ///< the result is not what it must be
  kUnavailable,  ///< this implementation has nothing for the operation
  kError,        ///< it failed
};
std::string_view to_string(RowStatus status);

struct KernelRow {
  Problem problem;
  std::string operation, implementation, precision;
  RowStatus status = RowStatus::kUnavailable;
  std::string reason;       ///< empty when measured
  Statistics cold, replay;  ///< seconds of one run: caches flushed; many in a row on other data
  Cost cost;                ///< by counting, the same for every implementation
  Verdict verdict;
  int rank = 0;         ///< among those measured of the operation, 1 the fastest in replay; 0: none
  std::string peer;     ///< the library compared with; empty: none
  double speed_up = 0;  ///< over the peer in replay
};

struct KernelOptions {
  Precision precision = Precision::kF32;
  Sampling sampling = {};
  size_t most_sets = 8;  ///< of buffers to rotate through
};

/// Rows of one operation, one for each implementation in their order, ranked and compared. All whose results
/// are right are timed in turns, so that the clock of the device is the same for all.
std::vector<KernelRow> measure_kernels(const std::vector<Implementation>& implementations,
                                       const Problem& problem, const std::string& operation,
                                       const KernelOptions& options);

/// Gives the rows of one operation their ranks and speed-ups; the peer is the first library that was
/// measured.
void rank_rows(std::vector<KernelRow>& rows);

nlohmann::ordered_json to_json(const KernelRow& row, const Ceilings& ceilings);
/// A table with a line for each row, and the sums over the net (times counted) of each operation for those
/// implementations that were measured in all of its problems.
std::string to_text(const std::vector<KernelRow>& rows, const Ceilings& ceilings);

}  // namespace residuum::bench
