// The mean of what several training steps report, between two lines of a log.
#pragma once

#include <cstdint>

#include "engine/train/trainer.h"

namespace residuum {

class StepAverage {
 public:
  /// A skipped step counts for its time and images only: its loss is not finite.
  void add(const StepReport& report);
  /// As if the steps of `other` had been added too.
  void add(const StepAverage& other);

  double loss() const { return mean(loss_, counted_); }
  double top1_accuracy() const { return mean(top1_, counted_); }
  double gradient_norm() const { return mean(norm_, counted_); }
  double images_per_second() const { return seconds_ > 0 ? static_cast<double>(images_) / seconds_ : 0; }
  /// Part of the time spent waiting for data, in [0, 1].
  double data_share() const { return seconds_ > 0 ? data_seconds_ / seconds_ : 0; }
  /// Seconds a step that communication takes without being hidden by computation.
  double communication_seconds() const { return mean(communication_seconds_, steps_); }

 private:
  /// NaN without steps: there is nothing to report.
  static double mean(double sum, int64_t count);

  double loss_ = 0, top1_ = 0, norm_ = 0, seconds_ = 0, data_seconds_ = 0, communication_seconds_ = 0;
  int64_t counted_ = 0, steps_ = 0, images_ = 0;
};

}  // namespace residuum
