// `data verify`: every sample of a data set is read once, so that damage is known before hour 20 of a
// training run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/data/dataset.h"

namespace residuum {

struct VerifyReport {
  struct BadFile {
    int64_t index = 0;  ///< sample number
    std::string name;   ///< Dataset::describe
    std::string reason;
  };
  int64_t samples = 0;
  std::vector<std::string> classes;
  std::vector<int64_t> class_counts;  ///< samples of each class, bad ones included
  std::vector<BadFile> bad;           ///< by sample number
};

/// Called with samples done and samples in all; from several threads, but never from two at once.
using VerifyProgress = std::function<void(int64_t done, int64_t total)>;

/// Decodes every sample with `threads` >= 1 threads. What keeps the data set from opening at all is thrown as
/// open_dataset throws it; unreadable samples are listed in the report.
VerifyReport verify_dataset(const std::filesystem::path& root, Split split,
                            const VerifyProgress& progress = {}, int threads = 1,
                            const OpenOptions& options = {});

}  // namespace residuum
