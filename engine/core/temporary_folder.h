// A folder for what is needed a moment only. Invariant: it is gone, with all that is in it, when its object
// is.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

#include "engine/core/check.h"

namespace residuum {

/// A new folder below the system's one for temporaries. Throws Error(kIo).
class TemporaryFolder {
 public:
  TemporaryFolder() : path_((std::filesystem::temp_directory_path() / "residuum-XXXXXX").string()) {
    check(mkdtemp(path_.data()) != nullptr, ErrorKind::kIo, "cannot make the folder {}", path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace residuum
