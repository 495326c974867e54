// Samples are handed out by an atomic counter; the report is sorted, so it does not depend on the threads.
#include "engine/data/verify.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "engine/core/check.h"

namespace residuum {
namespace {

/// The state shared by the verifying threads.
struct Verification {
  const Dataset& dataset;
  const VerifyProgress& progress;
  VerifyReport& report;
  std::atomic<int64_t> claimed{0};
  std::mutex mutex{};  // of all below, and of report.bad
  int64_t done = 0;
  std::exception_ptr error{};

  void check_sample(int64_t index, Image& scratch) {
    std::string reason;
    try {
      dataset.read(index, scratch);
    } catch (const Error& e) {
      reason = e.what();
    }
    const std::lock_guard lock(mutex);
    if (!reason.empty()) report.bad.push_back({index, dataset.describe(index), reason});
    ++done;
    if (progress) progress(done, dataset.size());
  }

  void run() {
    Image scratch;
    try {
      for (int64_t index; (index = claimed++) < dataset.size();) check_sample(index, scratch);
    } catch (...) {
      claimed = dataset.size();  // the other threads stop
      const std::lock_guard lock(mutex);
      error = std::current_exception();
    }
  }
};

}  // namespace

VerifyReport verify_dataset(const std::filesystem::path& root, Split split, const VerifyProgress& progress,
                            int threads, const OpenOptions& options) {
  check(threads >= 1 && threads <= 1024, ErrorKind::kConfig, "verify: threads is {}, allowed are 1 to 1024",
        threads);
  const auto dataset = open_dataset(root, split, options);
  VerifyReport report;
  report.samples = dataset->size();
  report.classes = dataset->classes();
  report.class_counts.resize(report.classes.size());
  for (int64_t i = 0; i < dataset->size(); ++i) ++report.class_counts[static_cast<size_t>(dataset->label(i))];

  Verification verification{*dataset, progress, report};
  {
    std::vector<std::jthread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back([&verification] { verification.run(); });
    verification.run();
  }
  if (verification.error) std::rethrow_exception(verification.error);
  std::sort(report.bad.begin(), report.bad.end(),
            [](const VerifyReport::BadFile& a, const VerifyReport::BadFile& b) { return a.index < b.index; });
  return report;
}

}  // namespace residuum
