// The persistent values of a model by name: parameters, running statistics, momentum, averages. Several
// executors (training, evaluation at another batch size) share one State.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/graph/graph.h"

namespace residuum {

class State {
 public:
  explicit State(Backend& backend) : backend_(backend) {}

  struct Entry {
    std::string name;
    TensorDesc desc;
    ValueKind kind = ValueKind::kParameter;
    std::byte* data = nullptr;
  };

  /// Makes room for every persistent value of `graph` (but its inputs) that is not there yet and initialises
  /// it: value i in the graph's order from RandomStream(seed, kInit, 0, i), a copy from its parameter. Throws
  /// Error(kInternal) when a value is there with another shape.
  void add(const Graph& graph, uint64_t seed);

  /// In the order in which the graphs declared them.
  const std::vector<Entry>& entries() const { return entries_; }
  bool contains(const std::string& name) const { return index_.contains(name); }
  /// Throws Error(kInternal) for an unknown name.
  const Entry& entry(const std::string& name) const;
  std::vector<std::byte> read(const std::string& name) const;
  /// The same, of a floating point value, as f32.
  std::vector<float> read_floats(const std::string& name) const;
  /// `bytes` must be the value's size. The copy of a parameter is written with it, rounded to nearest even.
  void write(const std::string& name, std::span<const std::byte> bytes);
  /// Copies the content of `from` to `to` (equal shapes).
  void copy(const std::string& from, const std::string& to);
  size_t total_bytes() const { return total_bytes_; }

 private:
  void refresh_copy(const Entry& copy);

  Backend& backend_;
  std::vector<Entry> entries_;
  std::map<std::string, size_t> index_;
  std::vector<std::unique_ptr<Memory>> memory_;
  size_t total_bytes_ = 0;
};

}  // namespace residuum
