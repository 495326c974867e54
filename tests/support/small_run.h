// A training run small enough for a test: a ResNet-8 on 48 images of 8 x 8 in memory.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/train/trainer.h"

namespace residuum {

/// 48 images of noise around a brightness that is the label's.
std::unique_ptr<Dataset> brightness_data();

/// 32 images of noise, `size` x `size`, with labels of ten classes drawn at random.
std::unique_ptr<Dataset> noise_data(int size);

/// The recipe of these runs, changed by `overrides` ("train.batch=8").
Recipe small_recipe(const std::vector<std::string>& overrides);

/// Keeps every step's report.
struct Recorder : TrainObserver {
  void on_step(const StepReport& report) override { steps.push_back(report); }
  std::vector<StepReport> steps;
};

/// Has a directory of its own for the run.
class SmallRunTest : public ::testing::Test {
 protected:
  SmallRunTest();
  ~SmallRunTest() override;

  TrainResult run(Backend& backend, const std::vector<std::string>& overrides,
                  std::vector<TrainObserver*> observers = {}, bool resume = false) const;
  /// The bytes of the last weights written.
  std::string weights() const;

  std::filesystem::path out_;
};

}  // namespace residuum
