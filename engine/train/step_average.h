// The mean of what several training steps report, between two lines of a log. It is part of a training state,
// so that a line that a resumed run ends is the one that it would have been.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>

namespace residuum {

struct StepReport;

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

  /// The sums as they are, bit for bit.
  nlohmann::json to_json() const;
  /// The inverse; throws nlohmann::json::exception for anything else.
  static StepAverage from_json(const nlohmann::json& json);

 private:
  /// NaN without steps: there is nothing to report.
  static double mean(double sum, int64_t count);

  double loss_ = 0, top1_ = 0, norm_ = 0, seconds_ = 0, data_seconds_ = 0, communication_seconds_ = 0;
  int64_t counted_ = 0, steps_ = 0, images_ = 0;
};

}  // namespace residuum
