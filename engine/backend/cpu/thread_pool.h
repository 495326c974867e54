// A fixed set of threads that share numbered tasks. Which thread runs a task is not determined, so tasks must
// not depend on it; each thread starts with a run of neighbouring tasks of its own (the same in every call,
// so data stays in that core's cache) and then takes what others have left.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <type_traits>
#include <vector>

namespace residuum::cpu {

/// While it lives, OpenMP regions of the calling thread run in that thread alone. oneDNN reads this setting
/// both when it makes a primitive and when it runs one.
class OneOpenMpThread {
 public:
  OneOpenMpThread();
  ~OneOpenMpThread();
  OneOpenMpThread(const OneOpenMpThread&) = delete;
  OneOpenMpThread& operator=(const OneOpenMpThread&) = delete;

 private:
  int before_;
};

class ThreadPool {
 public:
  /// `threads` >= 1 counts the caller of run().
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(ranges_.size()); }

  /// Calls body(task, thread) for every task in [0, tasks) and returns when all are done. Does not allocate.
  /// When tasks throw, the exception of the lowest task is rethrown here after all tasks ended. Not
  /// reentrant.
  template <typename Body>
  void run(int tasks, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run_erased(tasks, const_cast<std::remove_const_t<Plain>*>(&body),
               [](void* self, int task, int thread) { (*static_cast<Plain*>(self))(task, thread); });
  }

 private:
  using Call = void (*)(void* self, int task, int thread);
  struct alignas(64) Range {
    std::atomic<int> next{0};
    int end = 0;
  };

  void run_erased(int tasks, void* self, Call call);
  void worker(int thread);
  void work(int thread);
  void run_task(int task, int thread);

  std::vector<Range> ranges_;
  std::vector<std::thread> workers_;
  void* self_ = nullptr;
  Call call_ = nullptr;
  std::atomic<uint32_t> generation_{0};
  std::atomic<int> working_{0};
  std::atomic<bool> stop_{false};
  std::atomic_flag failing_ = ATOMIC_FLAG_INIT;
  int failed_task_ = 0;
  std::exception_ptr failure_;
};

}  // namespace residuum::cpu
