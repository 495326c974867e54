// The ring of batches between workers and consumer. Rows are claimed in chunks, in order, under one mutex:
// batch b may be claimed only while b < consumed_ + slots, so a slot is never written while the consumer owns
// it.
#include "engine/data/loader.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <set>
#include <stop_token>
#include <thread>
#include <utility>

#include "engine/core/check.h"
#include "engine/core/log.h"
#include "engine/data/batch_filler.h"

namespace residuum {

class Loader::Impl {
 public:
  Impl(const Dataset& dataset, const LoaderOptions& options)
      : filler_(dataset, options),
        options_(options),
        chunk_(chunk_rows(filler_.local_batch(), options.threads)),
        slots_(static_cast<size_t>(options.threads == 0 ? 1 : options.prefetch)) {
    for (int i = 0; i < options.threads; ++i) {
      workers_.emplace_back([this](std::stop_token stop) { work(stop); });
    }
  }

  void start(uint64_t epoch, int64_t first_batch) {
    check(first_batch >= 0 && first_batch <= filler_.batches(), ErrorKind::kConfig,
          "loader: first batch is {}, allowed are 0 to {}", first_batch, filler_.batches());
    started_ = false;
    std::unique_lock lock(mutex_);
    end_ = 0;  // nothing more to claim
    idle_.wait(lock, [this] { return filling_ == 0; });
    filler_.start(epoch);
    consumed_ = claimed_ = first_batch;
    claimed_rows_ = 0;
    for (size_t i = 0; i < slots_.size(); ++i) reset(first_batch + static_cast<int64_t>(i));
    end_ = filler_.batches();
    started_ = true;
    lock.unlock();
    work_.notify_all();
  }

  bool next(Batch& batch) {
    check(started_, ErrorKind::kInternal, "Loader::next() before start()");
    if (consumed_ == filler_.batches()) return false;
    Slot& slot = slot_of(consumed_);
    const auto begin = std::chrono::steady_clock::now();
    if (options_.threads == 0) {
      fill_here(slot);
    } else {
      std::unique_lock lock(mutex_);
      ready_.wait(lock, [&slot] { return slot.missing_rows == 0; });
    }
    wait_ += std::chrono::steady_clock::now() - begin;
    if (slot.error) std::rethrow_exception(slot.error);
    note_bad_samples(slot);
    const std::vector<int32_t>& labels = slot.batch.labels;
    slot.batch.valid = std::count_if(labels.begin(), labels.end(), [](int32_t label) { return label >= 0; });
    std::swap(batch, slot.batch);
    release();
    return true;
  }

  const BatchFiller& filler() const { return filler_; }
  int64_t bad_samples() const { return static_cast<int64_t>(bad_ids_.size()); }
  double wait_seconds() const { return std::chrono::duration<double>(wait_).count(); }

 private:
  struct Slot {
    Batch batch;
    int64_t missing_rows = 0;
    std::vector<BadSample> bad;
    std::exception_ptr error;
  };

  /// Small enough that every worker finds rows in two batches, large enough that the lock costs nothing.
  static int64_t chunk_rows(int64_t rows, int threads) {
    constexpr int64_t kLargest = 64;
    return std::clamp(rows / std::max(1, threads), int64_t{1}, kLargest);
  }

  Slot& slot_of(int64_t index) { return slots_[static_cast<size_t>(index) % slots_.size()]; }

  void reset(int64_t index) {
    Slot& slot = slot_of(index);
    filler_.prepare(slot.batch, index);
    slot.missing_rows = filler_.local_batch();
    slot.bad.clear();
    slot.error = nullptr;
  }

  /// Gives the slot just consumed back to the workers for a later batch.
  void release() {
    reset(consumed_ + static_cast<int64_t>(slots_.size()));
    {
      const std::lock_guard lock(mutex_);
      ++consumed_;
    }
    work_.notify_all();
  }

  bool may_claim() const {
    return claimed_ < end_ && claimed_ < consumed_ + static_cast<int64_t>(slots_.size());
  }

  void work(const std::stop_token& stop) {
    Image scratch;
    std::vector<BadSample> bad;
    std::unique_lock lock(mutex_);
    while (work_.wait(lock, stop, [this] { return may_claim(); }) && !stop.stop_requested()) {
      Slot& slot = slot_of(claimed_);
      const int64_t first = claimed_rows_, last = std::min(first + chunk_, filler_.local_batch());
      claimed_rows_ = last;
      if (last == filler_.local_batch()) {
        ++claimed_;
        claimed_rows_ = 0;
      }
      ++filling_;
      lock.unlock();
      std::exception_ptr error;
      bad.clear();
      try {
        filler_.fill(slot.batch, first, last, scratch, bad);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      if (error && !slot.error) slot.error = error;
      slot.bad.insert(slot.bad.end(), bad.begin(), bad.end());
      slot.missing_rows -= last - first;
      if (slot.missing_rows == 0) ready_.notify_one();
      if (--filling_ == 0) idle_.notify_one();
    }
  }

  void fill_here(Slot& slot) {
    if (slot.missing_rows == 0) return;  // filled before an earlier throw
    try {
      filler_.fill(slot.batch, 0, slot.missing_rows, scratch_, slot.bad);
    } catch (...) {
      slot.error = std::current_exception();
    }
    slot.missing_rows = 0;
  }

  /// Counted here, in the order of batches and ids, so that the decision does not depend on threads.
  void note_bad_samples(Slot& slot) {
    std::sort(slot.bad.begin(), slot.bad.end(),
              [](const BadSample& a, const BadSample& b) { return a.id < b.id; });
    for (const BadSample& sample : slot.bad) {
      if (bad_ids_.contains(sample.id)) continue;
      check(bad_samples() < options_.bad_sample_limit, ErrorKind::kData,
            "{} (unreadable sample {}, the limit is {})", sample.reason, bad_samples() + 1,
            options_.bad_sample_limit);
      log_warning("sample {} masked: {}", sample.id, sample.reason);
      bad_ids_.insert(sample.id);
    }
  }

  BatchFiller filler_;
  const LoaderOptions options_;
  const int64_t chunk_;  // rows claimed at once

  // Of the consumer.
  Image scratch_;
  bool started_ = false;
  std::set<int64_t> bad_ids_;
  std::chrono::steady_clock::duration wait_{};

  // Shared, guarded by mutex_; a slot's batch belongs to the worker that claimed the rows, or to the
  // consumer.
  std::mutex mutex_;
  std::condition_variable_any work_;
  std::condition_variable ready_, idle_;
  std::vector<Slot> slots_;
  int64_t consumed_ = 0;      // batch that next() returns; written by the consumer only
  int64_t claimed_ = 0;       // batch whose rows are handed out next
  int64_t claimed_rows_ = 0;  // of it
  int64_t end_ = 0;           // batches to claim in this epoch
  int64_t filling_ = 0;       // chunks in work

  std::vector<std::jthread> workers_;  // last: stopped and joined before anything they use goes
};

Loader::Loader(const Dataset& dataset, const LoaderOptions& options)
    : impl_(std::make_unique<Impl>(dataset, options)) {}
Loader::~Loader() = default;

void Loader::start(uint64_t epoch, int64_t first_batch) {
  impl_->start(epoch, first_batch);
}
bool Loader::next(Batch& batch) {
  return impl_->next(batch);
}
int64_t Loader::batches() const {
  return impl_->filler().batches();
}
int64_t Loader::local_batch() const {
  return impl_->filler().local_batch();
}
ImageShape Loader::image_shape() const {
  return impl_->filler().image_shape();
}
int64_t Loader::bad_samples() const {
  return impl_->bad_samples();
}
double Loader::wait_seconds() const {
  return impl_->wait_seconds();
}

}  // namespace residuum
