// Which launches may be dependent ones: blocks of such a grid start while the grid before it on its stream
// ends (programmatic dependent launch, compute capability 9.0 and newer), which hides the time between two
// kernels. Invariant: a dependent grid's threads call grid_dependency_wait (kernels/device/ptx.cuh) before
// they touch memory that the grid before it writes, and the work before it on its stream is a kernel of
// launch() and nothing else. (Grids further back are done: each waits before it lets the next one start.)
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/launch.h"

namespace residuum::kernels {

/// The choice of this host thread: what it captures says nothing of what other threads put on streams.
class DependentLaunches {
 public:
  static DependentLaunches& of_this_thread() {
    static thread_local DependentLaunches instance;
    return instance;
  }

  /// Off at first. The next launch on any stream is an ordinary one: what is there is not known.
  void use(bool on) {
    on_ = on;
    after_kernel_.clear();
  }
  /// The next launch on `stream` is an ordinary one: it comes after an event of another stream, or after work
  /// of someone else.
  void interrupt(Stream stream) { std::erase(after_kernel_, stream); }
  /// Whether a launch() on `stream`, made now, may be dependent; from here on that kernel is the stream's
  /// last work.
  bool take(Stream stream) {
    if (!on_) return false;
    if (std::find(after_kernel_.begin(), after_kernel_.end(), stream) != after_kernel_.end()) return true;
    after_kernel_.push_back(stream);
    return false;
  }

 private:
  bool on_ = false;
  std::vector<Stream> after_kernel_;  ///< streams whose last work is a kernel of launch()
};

}  // namespace residuum::kernels
