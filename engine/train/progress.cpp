#include "engine/train/progress.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/train/step_average.h"
#include "engine/train/units.h"

namespace residuum {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Errors are ignored: see the invariant above.
void write_text(std::FILE* stream, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
}

std::string evaluation_text(const EvaluationReport& report) {
  const Evaluation& test = report.test;
  return fmt::format("test  step {}  epoch {}  loss {}  top1 {} ({}/{})  top5 {}{}{}\n", report.step,
                     report.epoch + 1, loss_text(test.loss), percent_text(test.top1_accuracy()), test.top1,
                     test.samples, percent_text(test.top5_accuracy()),
                     report.averaged ? "  averaged weights" : "", report.best ? "  best" : "");
}

/// Remaining time at the pace of this process so far, evaluations included.
class Pace {
 public:
  void start(int64_t resumed_step) {
    first_step_ = std::max<int64_t>(resumed_step, 0);
    begin_ = Clock::now();
  }
  std::string eta(const StepReport& report) const {
    const auto done = static_cast<double>(report.step - first_step_);
    const auto left = static_cast<double>(report.total_steps - report.step);
    return duration_text(seconds_since(begin_) / done * left);
  }

 private:
  Clock::time_point begin_;
  int64_t first_step_ = 0;
};

std::string numbers_text(const StepAverage& average) {
  return fmt::format("loss {}  top1 {}  {:.0f} images/s  data {:.0f} %", loss_text(average.loss()),
                     percent_text(average.top1_accuracy()), average.images_per_second(),
                     100 * average.data_share());
}

class LineProgress final : public TrainObserver {
 public:
  explicit LineProgress(std::FILE* stream) : stream_(stream) {}

  void on_start(const RunInfo& info) override {
    write_text(stream_, describe_run(info));
    pace_.start(info.resumed_step);
  }
  void on_step(const StepReport& report) override {
    if (!report.logged) return;
    write_text(stream_, fmt::format("step {}/{}  epoch {}/{}  {}  lr {:.4g}  eta {}\n", report.step,
                                    report.total_steps, report.epoch + 1, report.total_epochs,
                                    numbers_text(report.average), report.learning_rate, pace_.eta(report)));
  }
  void on_evaluation(const EvaluationReport& report) override {
    write_text(stream_, evaluation_text(report));
  }

 private:
  std::FILE* stream_;
  Pace pace_;
};

class BarProgress final : public TrainObserver {
 public:
  explicit BarProgress(std::FILE* stream) : stream_(stream) {}
  ~BarProgress() override {
    if (drawn_) write_text(stream_, "\n");
  }

  void on_start(const RunInfo& info) override {
    write_text(stream_, describe_run(info));
    pace_.start(info.resumed_step);
    steps_per_epoch_ = info.steps_per_epoch;
  }
  void on_step(const StepReport& report) override {
    current_.add(report);
    const bool last = report.step == report.total_steps;
    if (last || !drawn_ || seconds_since(last_drawn_) >= kSecondsBetweenDrawings) draw(report);
    if (!report.logged) return;
    before_ = current_;
    current_ = {};
  }
  void on_evaluation(const EvaluationReport& report) override {
    write_text(stream_, kStartOfLine + evaluation_text(report));
    drawn_ = false;
  }

 private:
  static constexpr double kSecondsBetweenDrawings = 0.1;
  static constexpr int64_t kBarWidth = 20;
  inline static const std::string kStartOfLine = "\r\x1b[K";  ///< and clears it

  void draw(const StepReport& report) {
    StepAverage shown = before_;  // at least one log interval, so that the numbers stand still enough to read
    shown.add(current_);
    const int64_t done = report.step - report.epoch * steps_per_epoch_;
    const auto filled = static_cast<size_t>(std::min(kBarWidth, done * kBarWidth / steps_per_epoch_));
    const std::string bar = std::string(filled, '=') + std::string(kBarWidth - filled, ' ');
    std::string line =
        fmt::format("epoch {}/{} [{}] {}/{}  eta {}  {}", report.epoch + 1, report.total_epochs, bar, done,
                    steps_per_epoch_, pace_.eta(report), numbers_text(shown));
    line.resize(std::min(line.size(), columns() - 1));
    write_text(stream_, kStartOfLine + line);
    last_drawn_ = Clock::now();
    drawn_ = true;
  }

  /// Of the terminal, which may be resized at any time.
  size_t columns() const {
    winsize size{};
    const bool known = ioctl(fileno(stream_), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : 80;
  }

  std::FILE* stream_;
  Pace pace_;
  StepAverage before_, current_;  ///< of the last log interval and the one under way
  int64_t steps_per_epoch_ = 1;
  Clock::time_point last_drawn_;
  bool drawn_ = false;
};

int64_t parameter_count(const Graph& graph) {
  int64_t count = 0;
  for (const Value& value : graph.values) {
    if (value.kind == ValueKind::kParameter) count += value.desc.elements();
  }
  return count;
}

std::string length_text(const RunInfo& info) {
  const std::string start =
      info.resumed_step >= 0 ? fmt::format(", resumed at step {}", info.resumed_step) : "";
  return fmt::format("{} steps, {} an epoch{}", count_text(info.total_steps),
                     count_text(info.steps_per_epoch), start);
}

}  // namespace

std::string describe_run(const RunInfo& info) {
  const Plan& plan = info.plan;
  const auto bytes = [](size_t count) { return bytes_text(static_cast<int64_t>(count)); };
  const TrainRecipe& train = info.recipe.train;
  std::string text;
  const auto line = [&text](std::string_view name, const std::string& content) {
    text += fmt::format("{:<9}{}\n", name, content);
  };
  line("device", info.device);
  line("model", fmt::format("{}, {} parameters, {} classes", info.recipe.model.name,
                            count_text(parameter_count(plan.graph)), info.classes));
  line("data", fmt::format("{}: {} training images, {} test images", info.recipe.data.path,
                           count_text(info.train_samples), count_text(info.test_samples)));
  line("run", fmt::format("{}, batch {}, {}, files in {}", length_text(info), train.batch,
                          to_string(train.precision), info.out.string()));
  line("memory",
       fmt::format("peak {}: arena {}, weights and optimizer {}, evaluation {}; training {} without reuse",
                   bytes(plan.peak_bytes() + info.evaluation_bytes), bytes(plan.memory.arena_bytes),
                   bytes(plan.persistent_bytes), bytes(info.evaluation_bytes),
                   bytes(plan.memory.unshared_bytes + plan.persistent_bytes)));
  line("launches", fmt::format("{} a step", plan.launches.size()));
  if (!info.communication.empty()) line("ranks", info.communication);
  return text;
}

std::unique_ptr<TrainObserver> make_progress(std::FILE* stream) {
  const char* terminal = std::getenv("TERM");  // "dumb": one that cannot clear a line
  const bool draws = terminal == nullptr || std::string_view(terminal) != "dumb";
  if (draws && isatty(fileno(stream)) != 0) return std::make_unique<BarProgress>(stream);
  return std::make_unique<LineProgress>(stream);
}

}  // namespace residuum
