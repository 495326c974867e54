// A few training steps of a small net on one rank of several, for tests that compare numbers of ranks.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/comm/exchange.h"
#include "engine/exec/executor.h"
#include "engine/graph/passes.h"

namespace residuum {

/// backend_passes() for `ranks`, with weight decay and buckets of `bucket_bytes`.
TrainingPassOptions rank_passes(const Backend& backend, int ranks, size_t bucket_bytes);

/// Rows [first_row, first_row + rows) of step `step`'s images and labels of ten classes: noise that depends
/// on row and step alone.
void write_rows(Executor& executor, int64_t rows, int64_t first_row, uint64_t step);

struct RankRun {
  int ranks = 1;
  bool batch_norms = true, sync = false;
  int64_t micro_steps = 1;
  bool in_pairs = false;
  uint64_t steps = 3;
  int64_t images = 16;  ///< a step, on all ranks
  int64_t size = 8;     ///< of an image
};

using Values = std::map<std::string, std::vector<float>>;

/// Weights, momenta and running statistics of a net of two convolutions, with batch norms or without, after
/// the steps. `exchange` is null for a rank alone.
Values train_rank(const RankRun& run, int rank, Backend& backend, Exchange* exchange);

/// Expects each tensor within `tolerance` of its largest number.
void expect_close(const Values& found, const Values& expected, double tolerance);

}  // namespace residuum
