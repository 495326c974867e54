#include "engine/train/step_average.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "engine/train/trainer.h"

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

nlohmann::json StepAverage::to_json() const {
  return {{"loss", loss_},
          {"top1", top1_},
          {"norm", norm_},
          {"seconds", seconds_},
          {"data_seconds", data_seconds_},
          {"communication_seconds", communication_seconds_},
          {"counted", counted_},
          {"steps", steps_},
          {"images", images_}};
}

StepAverage StepAverage::from_json(const nlohmann::json& json) {
  // JSON has no numbers that are not finite.
  const auto number = [&](const char* name) {
    const nlohmann::json& value = json.at(name);
    return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
  };
  StepAverage average;
  average.loss_ = number("loss");
  average.top1_ = number("top1");
  average.norm_ = number("norm");
  average.seconds_ = number("seconds");
  average.data_seconds_ = number("data_seconds");
  average.communication_seconds_ = number("communication_seconds");
  average.counted_ = json.at("counted").get<int64_t>();
  average.steps_ = json.at("steps").get<int64_t>();
  average.images_ = json.at("images").get<int64_t>();
  return average;
}

double StepAverage::mean(double sum, int64_t count) {
  return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace residuum
