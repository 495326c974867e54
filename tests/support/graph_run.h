// A graph run on a backend with every value in memory of its own, to test operations without executor or
// memory plan. Invariant: memory a kernel must write starts as 0xFF bytes (NaN), and a guard behind every
// value and behind the scratch finds writes past the end.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "tests/reference/reference.h"

namespace residuum {

/// The values of a tensor as `type` stores them, and back. bf16 and f16 round to nearest even.
std::vector<std::byte> encode(const reference::Tensor& tensor, DType type);
reference::Tensor decode(const std::vector<std::byte>& bytes, const TensorDesc& desc);
/// The tensor with every value rounded to `type`.
reference::Tensor rounded_to(DType type, const reference::Tensor& tensor);

enum class Grouping { kSeparate, kJoined };

class GraphRun {
 public:
  /// kSeparate: one launch a node; kJoined: launches as the backend joins nodes. `graph` must outlive this.
  GraphRun(const Graph& graph, Backend& backend, Grouping grouping);

  size_t launches() const { return launches_.size(); }
  const std::vector<Group>& groups() const { return groups_; }
  void write(ValueId id, const reference::Tensor& tensor);
  void run(const StepParams& params);
  /// The bytes of a value; fails the test for a value internal to a group.
  std::vector<std::byte> bytes(ValueId id) const;
  reference::Tensor read(ValueId id) const { return decode(bytes(id), graph_.desc(id)); }
  /// Names of values, and "scratch", behind which something was written.
  std::vector<std::string> overruns() const;

 private:
  struct Place {
    std::string name;
    size_t bytes = 0;
    std::unique_ptr<Memory> memory;
  };
  Place make_place(std::string name, size_t bytes);

  const Graph& graph_;
  Backend& backend_;
  std::vector<Group> groups_;
  std::vector<std::unique_ptr<Launch>> launches_;
  std::vector<Place> values_, scratch_;
};

/// Runs every node of a graph by the references, in double. `values[id]` must hold every persistent value;
/// the others are filled in, and the persistent ones changed by updates.
void run_reference(const Graph& graph, reference::Tensors& values, const StepParams& params);

}  // namespace residuum
