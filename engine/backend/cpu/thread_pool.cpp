#include "engine/backend/cpu/thread_pool.h"

#include <omp.h>

#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace residuum::cpu {
namespace {

// Long enough to bridge the gap between two launches, short enough to leave a shared core alone (about 20
// us).
constexpr int kSpins = 2000;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

/// Waits until `value` differs from `old`: spinning first, then asleep.
template <typename T>
void wait_change(const std::atomic<T>& value, T old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

OneOpenMpThread::OneOpenMpThread() : before_(omp_get_max_threads()) {
  omp_set_num_threads(1);
}
OneOpenMpThread::~OneOpenMpThread() {
  omp_set_num_threads(before_);
}

ThreadPool::ThreadPool(int threads) : ranges_(static_cast<size_t>(threads)) {
  for (int thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { worker(thread); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run_task(int task, int thread) {
  try {
    call_(self_, task, thread);
  } catch (...) {
    while (failing_.test_and_set(std::memory_order_acquire)) pause();
    if (!failure_ || task < failed_task_) {
      failure_ = std::current_exception();
      failed_task_ = task;
    }
    failing_.clear(std::memory_order_release);
  }
}

void ThreadPool::work(int thread) {
  const int count = threads();
  for (int i = 0; i < count; ++i) {
    Range& range = ranges_[static_cast<size_t>((thread + i) % count)];
    for (;;) {
      const int task = range.next.fetch_add(1, std::memory_order_relaxed);
      if (task >= range.end) break;
      run_task(task, thread);
    }
  }
}

void ThreadPool::worker(int thread) {
  omp_set_num_threads(1);
  uint32_t seen = 0;
  for (;;) {
    wait_change(generation_, seen);
    seen = generation_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    work(thread);
    if (working_.fetch_sub(1, std::memory_order_acq_rel) == 1) working_.notify_one();
  }
}

void ThreadPool::run_erased(int tasks, void* self, Call call) {
  if (tasks <= 0) return;
  const OneOpenMpThread sequential;
  self_ = self;
  call_ = call;
  const int count = threads();
  for (int i = 0; i < count; ++i) {
    Range& range = ranges_[static_cast<size_t>(i)];
    range.next.store(static_cast<int>(int64_t{tasks} * i / count), std::memory_order_relaxed);
    range.end = static_cast<int>(int64_t{tasks} * (i + 1) / count);
  }
  if (count == 1 || tasks == 1) {
    work(0);
  } else {
    working_.store(count - 1, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    work(0);
    for (int left = working_.load(std::memory_order_acquire); left != 0;
         left = working_.load(std::memory_order_acquire)) {
      wait_change(working_, left);
    }
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

}  // namespace residuum::cpu
