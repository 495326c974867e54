// What a run reports, as the lines of metrics.jsonl, metrics.csv and TensorBoard's events:
//   at logged steps   train/{loss, top1, lr, gradient_norm, images_per_second, data_share}, means over the
//                     steps since the line before; with several ranks communication_seconds, those of a step
//                     that no computation hid
//   at evaluations    test/{loss, top1, top5}, or test_ema/... for averaged weights
// Accuracies and shares are in [0, 1].
#pragma once

#include <optional>

#include "engine/train/metrics_log.h"
#include "engine/train/trainer.h"

namespace residuum {

/// Keeps the metrics files in the directory of the run; its start throws Error(kIo) as MetricsLog.
class MetricsObserver final : public TrainObserver {
 public:
  void on_start(const RunInfo& info) override;
  void on_step(const StepReport& report) override;
  void on_evaluation(const EvaluationReport& report) override;
  void on_save(int64_t step) override;

 private:
  std::optional<MetricsLog> log_;
  bool communicates_ = false;
};

}  // namespace residuum
