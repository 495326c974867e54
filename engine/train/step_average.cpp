#include "engine/train/step_average.h"

#include <limits>

namespace residuum {

void StepAverage::add(const StepReport& report) {
  seconds_ += report.seconds;
  data_seconds_ += report.data_seconds;
  communication_seconds_ += report.communication_seconds;
  images_ += report.images;
  ++steps_;
  if (report.skipped) return;
  loss_ += report.loss;
  top1_ += report.top1_accuracy;
  norm_ += report.gradient_norm;
  ++counted_;
}

void StepAverage::add(const StepAverage& other) {
  seconds_ += other.seconds_;
  data_seconds_ += other.data_seconds_;
  communication_seconds_ += other.communication_seconds_;
  images_ += other.images_;
  steps_ += other.steps_;
  loss_ += other.loss_;
  top1_ += other.top1_;
  norm_ += other.norm_;
  counted_ += other.counted_;
}

double StepAverage::mean(double sum, int64_t count) {
  return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace residuum
