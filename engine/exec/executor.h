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

class Executor {
 public:
  /// Plans `graph`, adds its persistent values to `state` and allocates the arena. `backend` and `state` must
  /// outlive this.
  Executor(Graph graph, Backend& backend, State& state, const ExecutorOptions& options = {});

  const Plan& plan() const { return plan_; }
  const Graph& graph() const { return plan_.graph; }

  /// Writes the graph input `name`; `bytes` must be its size.
  void write(const std::string& name, std::span<const std::byte> bytes);
  template <typename T>
  void write(const std::string& name, const std::vector<T>& values) {
    write(name, std::as_bytes(std::span(values)));
  }
  /// Forward, backward and accumulation (for a graph without updates: everything).
  void run_micro_step(const StepParams& params);
  /// The optimizer's part.
  void run_update(const StepParams& params);

  /// Reads a named output of the graph; `T` must have its element size.
  template <typename T>
  std::vector<T> read(const std::string& output) {
    const ValueId id = graph().output(output);
    std::vector<T> values(graph().desc(id).bytes() / sizeof(T));
    read_bytes(id, values.data(), values.size() * sizeof(T));
    return values;
  }

 private:
  void read_bytes(ValueId id, void* out, size_t bytes);

  Backend& backend_;
  Plan plan_;
  std::unique_ptr<Memory> arena_;
  std::vector<std::byte*> addresses_;
};

}  // namespace residuum
