// What the engine logs, for tests of warnings.
#pragma once

#include <functional>
#include <memory>
#include <string>

namespace residuum {

/// Takes the lines of spdlog's default logger while it lives. For tests of one thread.
class LogCapture {
 public:
  /// `on_line` is called for each line.
  explicit LogCapture(std::function<void()> on_line = {});
  ~LogCapture();

  std::string text() const;  ///< all lines since the last clear()
  void clear();

 private:
  struct Sink;
  struct Before;
  std::shared_ptr<Sink> sink_;
  std::unique_ptr<Before> before_;
};

}  // namespace residuum
