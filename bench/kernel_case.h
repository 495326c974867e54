// One operation of a problem on a device, in several sets of buffers of random data, so that runs in turn do
// not find their data in the cache, and the check of its results.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/reference.h"
#include "engine/backend/backend.h"

namespace residuum::bench {

/// How far a result is off: |found - expected| / max(|expected|, RMS of expected), the worst of the elements
/// looked at, in proportion to what is allowed.
struct Verdict {
  double error = 0, allowed = 0;
  int64_t checked = 0;  ///< elements compared
  std::string problem;  ///< what is wrong; empty: nothing

  bool passed() const { return problem.empty(); }
};

class KernelCase {
 public:
  /// `sets` buffers and launches. Throws Error(kDevice) for what the backend cannot run, OutOfMemory.
  KernelCase(Backend& backend, const Problem& problem, std::string operation, DType activation, size_t sets);

  /// Who computes it (Launch::implementation).
  std::string implementation() const { return launches_.front()->implementation(); }
  std::vector<Launch*> launches() const;
  /// By counting, whoever computes it: each input read once, each output written once.
  Cost cost() const { return node_cost(graph_, graph_.node(0)); }
  /// Bytes of one set.
  size_t set_bytes() const { return set_bytes_; }
  /// Runs the first launch on outputs that begin as NaNs and compares a sample of what it wrote with the
  /// definition; `tf32`: factors may have been rounded to TF32.
  Verdict verify(bool tf32);

  /// Sets so that they are together larger than twice the cache, at most `most`, and that `sharers` cases
  /// with as many have room in half of the free memory.
  static size_t sets_for(const Backend& backend, size_t set_bytes, size_t most, size_t sharers);

 private:
  struct Set {
    std::vector<std::unique_ptr<Memory>> memory;
    std::vector<std::byte*> addresses;
  };
  struct Element {
    int64_t index = 0;
    double found = 0;
    Expected expected;
  };

  Set make_set(size_t scratch_bytes);
  void poison(size_t output);
  /// Elements of an output, spread over all of it; stops at one that is not finite.
  std::vector<Element> sampled(size_t output, Verdict& verdict) const;
  void compare(size_t output, bool tf32, Verdict& verdict) const;

  Backend& backend_;
  Problem problem_;
  std::string operation_;
  Graph graph_;
  std::vector<Pattern> inputs_;
  std::vector<Set> sets_;
  std::vector<std::unique_ptr<Launch>> launches_;
  size_t set_bytes_ = 0;
};

}  // namespace residuum::bench
