// Training inside an analysis: the recipe's optimizer, schedule and data order, step by step, with the state
// open to be looked at between steps. It writes no files; a run that must survive is train()'s.
#pragma once

#include "engine/lab/subject.h"

namespace residuum {

class ShortTraining {
 public:
  /// Throws Error(kConfig) when a batch is larger than the data set.
  explicit ShortTraining(const Subject& subject);

  /// One step on the next batch; returns its loss. Throws Error(kNumeric) when loss or gradients are not
  /// finite.
  double step();

 private:
  const Subject& subject_;
  Loader loader_;
  Executor executor_;
  int64_t steps_ = 0;
};

}  // namespace residuum
