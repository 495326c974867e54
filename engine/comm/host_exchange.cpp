// Sums through the communicator's network. Each all-reduce is one row of floats in host memory, so a bucket
// of many small tensors costs one collective.
#include <chrono>
#include <deque>
#include <vector>

#include "engine/comm/communicator.h"
#include "engine/comm/exchange.h"

namespace residuum {
namespace {

class HostExchange : public Exchange {
 public:
  HostExchange(Communicator& communicator, Backend& backend)
      : communicator_(communicator), backend_(backend) {}
  ~HostExchange() override {
    // Those under way read and write sum.values; of one that failed, finish() has taken the error.
    for (Sum& sum : open_) {
      if (sum.done.valid()) sum.done.wait();
    }
  }
  HostExchange(const HostExchange&) = delete;
  HostExchange& operator=(const HostExchange&) = delete;

  std::string describe() const override { return communicator_.describe(); }

  void start(std::span<const SummedMemory> memory, float factor, const std::string& name) override {
    Sum& sum = open_.emplace_back();
    sum.memory.assign(memory.begin(), memory.end());
    sum.factor = factor;
    size_t count = 0;
    for (const SummedMemory& piece : memory) count += piece.count;
    sum.values.resize(count);
    float* next = sum.values.data();
    for (const SummedMemory& piece : memory) {
      backend_.copy_to_host(next, piece.data, piece.count * sizeof(float));
      next += piece.count;
    }
    sum.done = communicator_.begin_sum(sum.values, name);
  }

  void finish() override {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point begin = Clock::now();
    for (Sum& sum : open_) sum.done.wait();
    waited_ += std::chrono::duration<double>(Clock::now() - begin).count();
    while (!open_.empty()) {
      Sum& sum = open_.front();
      sum.done.get();
      if (sum.factor != 1) {
        for (float& value : sum.values) value *= sum.factor;
      }
      const float* next = sum.values.data();
      for (const SummedMemory& piece : sum.memory) {
        backend_.copy_to_device(piece.data, next, piece.count * sizeof(float));
        next += piece.count;
      }
      open_.pop_front();
    }
  }

  double waited_seconds() const override { return waited_; }

 private:
  struct Sum {
    std::vector<SummedMemory> memory;
    float factor = 1;
    std::vector<float> values;
    std::future<void> done;
  };

  Communicator& communicator_;
  Backend& backend_;
  std::deque<Sum> open_;  ///< in their order; a deque leaves the values where they are
  double waited_ = 0;
};

}  // namespace

std::unique_ptr<Exchange> make_host_exchange(Communicator& communicator, Backend& backend) {
  return std::make_unique<HostExchange>(communicator, backend);
}

}  // namespace residuum
