// Runs a plan on a backend: one arena, every address bound once, then step after step without allocating.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engine/exec/plan.h"
#include "engine/exec/state.h"

namespace residuum {

struct ExecutorOptions {
  PlanOptions plan;
  uint64_t seed = 0;  ///< of the initial values of state that is not there yet
  /// Which state holds a persistent value of the graph; default: the one of its name. (Evaluating averaged
  /// weights reads "ema.NAME" for NAME.)
  std::function<std::string(const std::string&)> state_name;
};

/// An output on its way to the host.
template <typename T>
class Fetched {
 public:
  explicit Fetched(std::unique_ptr<Download> download) : download_(std::move(download)) {}
  /// Waits for the values; valid until this is destroyed.
  std::span<const T> wait() {
    const std::span<const std::byte> bytes = download_->wait();
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }

 private:
  std::unique_ptr<Download> download_;
};

class Executor {
 public:
  /// Plans `graph`, adds its persistent values to `state` and allocates the arena. `backend` and `state` must
  /// outlive this.
  Executor(Graph graph, Backend& backend, State& state, const ExecutorOptions& options = {});

  const Plan& plan() const { return plan_; }
  const Graph& graph() const { return plan_.graph; }

  /// Writes the graph input `name` for what runs from now on; `bytes` must be its size and may be reused when
  /// this returns.
  void write(const std::string& name, std::span<const std::byte> bytes);
  template <typename T>
  void write(const std::string& name, const std::vector<T>& values) {
    write(name, std::as_bytes(std::span(values)));
  }
  /// Forward, backward and accumulation (for a graph without updates: everything).
  void run_micro_step(const StepParams& params);
  /// The optimizer's part.
  void run_update(const StepParams& params);

  /// Starts to read a named output of the graph as what ran so far leaves it; `T` must have its element size.
  template <typename T>
  Fetched<T> fetch(const std::string& output) {
    const Output found = find_output(output, sizeof(T));
    return Fetched<T>(backend_.download(found.address, found.bytes));
  }
  /// Waits for everything that runs, then reads.
  template <typename T>
  std::vector<T> read(const std::string& output) {
    const Output found = find_output(output, sizeof(T));
    std::vector<T> values(found.bytes / sizeof(T));
    backend_.copy_to_host(values.data(), found.address, found.bytes);
    return values;
  }

 private:
  struct Output {
    const std::byte* address = nullptr;
    size_t bytes = 0;
  };
  /// A stretch of launches, the start of an all-reduce beside what follows, or the wait for those begun.
  struct Part {
    std::unique_ptr<Program> program;
    Launch* all_reduce = nullptr;
  };
  /// Groups [begin, end) in parts; none leaves all-reduces under way.
  std::vector<Part> parts(size_t begin, size_t end) const;
  void run(const std::vector<Part>& parts, const StepParams& params);
  Output find_output(const std::string& name, size_t element_size) const;

  Backend& backend_;
  Exchange* exchange_;
  Plan plan_;
  std::unique_ptr<Memory> arena_;
  std::vector<std::byte*> addresses_;
  std::vector<Part> micro_step_, update_;
};

}  // namespace residuum
