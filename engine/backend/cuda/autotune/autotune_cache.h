// What was measured, in a file that processes share. Entries stand in sections, one for each header (chip,
// versions): what was measured under one is never used under another, nor lost. Invariant: the file is
// replaced as a whole under a lock, after joining it with what other processes wrote meanwhile.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace residuum::cuda {

/// One group's measurement.
struct Measured {
  std::string choice;                                         ///< the fastest candidate
  std::vector<std::pair<std::string, double>> microseconds;   ///< of each candidate that could be used
  std::vector<std::pair<std::string, std::string>> excluded;  ///< the others, and why

  bool operator==(const Measured&) const = default;
};

class AutotuneCache {
 public:
  /// Names and values that together say where the times hold.
  using Header = std::map<std::string, std::string>;

  /// `path` may be absent; empty: nothing is read or kept. A file that is damaged is named in a warning and
  /// ignored; the next add() replaces it.
  AutotuneCache(std::filesystem::path path, Header header);

  /// What is known of a signature under this header.
  const Measured* find(const std::string& signature) const;
  /// Keeps a measurement, and puts it into the file. A file that cannot be written costs a warning, once.
  void add(const std::string& signature, Measured measured);
  const std::filesystem::path& path() const { return path_; }

 private:
  void write();

  std::filesystem::path path_;
  Header header_;
  std::map<std::string, Measured> entries_;
  bool writable_ = true;
};

}  // namespace residuum::cuda
