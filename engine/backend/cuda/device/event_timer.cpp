#include "engine/backend/cuda/device/event_timer.h"

#include "engine/backend/cuda/device/cuda_call.h"

namespace residuum::cuda {
namespace {

constexpr const char* kPurpose = "to measure time";

class EventTimer : public Timer {
 public:
  explicit EventTimer(Device& device) : device_(device) {}

  void mark() override {
    if (marks_ == events_.size()) events_.push_back(make_timed_event());
    check_call(cudaEventRecord(events_[marks_].get(), device_.stream(0)), "cudaEventRecord", kPurpose);
    ++marks_;
  }

  std::vector<double> intervals() override {
    std::vector<double> seconds;
    if (marks_ > 0) {
      check_call(cudaEventSynchronize(events_[marks_ - 1].get()), "cudaEventSynchronize", kPurpose);
    }
    for (size_t i = 1; i < marks_; ++i) {
      float milliseconds = 0;
      check_call(cudaEventElapsedTime(&milliseconds, events_[i - 1].get(), events_[i].get()),
                 "cudaEventElapsedTime", kPurpose);
      seconds.push_back(double{milliseconds} / 1000);
    }
    marks_ = 0;
    return seconds;
  }

 private:
  Device& device_;
  std::vector<EventHandle> events_;  ///< used again after intervals()
  size_t marks_ = 0;
};

}  // namespace

std::unique_ptr<Timer> make_event_timer(Device& device) {
  return std::make_unique<EventTimer>(device);
}

}  // namespace residuum::cuda
