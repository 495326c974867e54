#include "engine/train/metrics_observer.h"

namespace residuum {
namespace {

/// How the names of an evaluation's metrics begin.
constexpr const char* kEvaluation = "test";

}  // namespace

void MetricsObserver::on_start(const RunInfo& info) {
  log_.emplace(info.out, info.resumed_step, info.evaluation_due ? kEvaluation : "");
  communicates_ = !info.communication.empty();
}

void MetricsObserver::on_step(const StepReport& report) {
  if (!report.logged) return;
  const StepAverage& average = report.average;
  Metrics metrics = {{"train/loss", average.loss()},
                     {"train/top1", average.top1_accuracy()},
                     {"train/lr", report.learning_rate},
                     {"train/gradient_norm", average.gradient_norm()},
                     {"train/images_per_second", average.images_per_second()},
                     {"train/data_share", average.data_share()}};
  if (communicates_) metrics.emplace_back("train/communication_seconds", average.communication_seconds());
  log_->write(report.step, report.epoch, metrics);
}

void MetricsObserver::on_evaluation(const EvaluationReport& report) {
  const std::string prefix = std::string(kEvaluation) + (report.averaged ? "_ema/" : "/");
  log_->write(report.step, report.epoch,
              {{prefix + "loss", report.test.loss},
               {prefix + "top1", report.test.top1_accuracy()},
               {prefix + "top5", report.test.top5_accuracy()}});
}

void MetricsObserver::on_save(int64_t /*step*/) {
  log_->sync();
}

}  // namespace residuum
