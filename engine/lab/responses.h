// What the layers of a net answer: the strength of their responses (He 2015, figure 7), and how the blocks of
// a stage refine one estimate (Greff 2017).
#pragma once

#include <string>
#include <vector>

#include "engine/lab/subject.h"

namespace residuum {

struct SampleOptions {
  int64_t batch = 32, batches = 1;
  Mode mode = Mode::kEval;  ///< kTrain: batch statistics, for a net without trained running statistics
  uint64_t seed = 1;
};

/// The output of one convolution after its batch norm, before nonlinearity and addition.
struct Response {
  std::string layer;
  double mean = 0, std = 0;  ///< over all elements
};

/// Of every convolution with a kernel above 1x1, in their order. Throws Error(kConfig) naming a model without
/// one.
std::vector<Response> layer_responses(const Subject& subject, const SampleOptions& options);

/// A block's output as an estimate of its stage's last one.
struct Estimate {
  std::string block;
  int stage = 0;
  double error_mean = 0, error_std = 0;  ///< of a_l - A over all elements
  double stage_std = 0;                  ///< of A
};

/// Stages are the longest runs of blocks whose outputs have one shape; those of a single block are left out.
/// Throws Error(kConfig) naming a model without a stage of two blocks.
std::vector<Estimate> stage_estimates(const Subject& subject, const SampleOptions& options);

}  // namespace residuum
