// A run for the eyes: a bar that is redrawn on a terminal, plain lines anywhere else. Invariant: a stream
// that was closed, or whose disk is full, costs the lines and never the run.
#pragma once

#include <cstdio>
#include <memory>

#include "engine/train/trainer.h"

namespace residuum {

/// The observer that suits `stream`, which must outlive it: a bar when it is a terminal, else one line per
/// logged step. Both begin with device, model, data, memory plan and launches, and report every evaluation.
std::unique_ptr<TrainObserver> make_progress(std::FILE* stream);

/// The lines that open a report: what will run, on what, with how much memory.
std::string describe_run(const RunInfo& info);

}  // namespace residuum
