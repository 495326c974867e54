// The ways there are to compute one group: the engine's own launch, what a fused launch replaces, and the
// libraries. Invariant: every candidate reads and writes the same values outside of the group, so that graph
// and memory plan, but for the scratch, do not depend on which is taken.
#pragma once

#include <string>
#include <vector>

#include "engine/backend/cuda/launch/cuda_launch.h"

namespace residuum::cuda {

struct Candidate {
  std::string name;
  std::vector<Step> steps;
  std::vector<PassedValue> passed;  ///< what the steps hand on inside the group
};

/// What else there is to choose from; null: not there.
struct Libraries {
  const Cudnn* cudnn = nullptr;
  const Cublas* cublas = nullptr;
};

/// The group's candidates, "own" (make_steps with `own`) first:
///   "own kConvWide" ...  the same with other tiles of the convolution (other_conv_tiles); they add in
///                another order, so the last bits may differ
///   "prologue cut"  the nodes ahead of a convolution fused as ever, the convolution with those behind it
///   "epilogue cut"  the convolution with the nodes ahead of it, those behind it fused as ever
///   "cut"        the nodes between, ahead of and behind convolutions fused as ever, the convolutions alone
///   "separate"   every node alone
///   "cudnn"      as "cut", convolutions by cuDNN; "cudnn 2": by the next algorithm it offers
///   "cublas"     linear layers by cuBLAS
/// Those that would be no other than one before are left out.
std::vector<Candidate> candidates_of(const Graph& graph, const Group& group, const StepOptions& own,
                                     const Libraries& libraries);

/// The group in one readable line that is the same for groups whose candidates take the same time: fusions
/// that are off, operations with what their speed depends on, types and shapes, which value goes where, which
/// leave the group.
std::string signature_of(const Graph& graph, const Group& group, const StepOptions& own);

}  // namespace residuum::cuda
