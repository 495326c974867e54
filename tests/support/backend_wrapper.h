// A backend that hands everything on to another one, for tests that change one thing of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/backend/backend.h"

namespace residuum {

class BackendWrapper : public Backend {
 public:
  explicit BackendWrapper(Backend& inner) : inner_(inner) {}

  std::string name() const override { return inner_.name(); }
  std::string describe() const override { return inner_.describe(); }
  std::unique_ptr<Memory> allocate(size_t bytes) override { return inner_.allocate(bytes); }
  size_t free_bytes() const override { return inner_.free_bytes(); }
  void copy_to_device(std::byte* dst, const void* src, size_t bytes) override {
    inner_.copy_to_device(dst, src, bytes);
  }
  void copy_to_host(void* dst, const std::byte* src, size_t bytes) override {
    inner_.copy_to_host(dst, src, bytes);
  }
  void upload(std::byte* dst, const void* src, size_t bytes) override { inner_.upload(dst, src, bytes); }
  std::unique_ptr<Download> download(const std::byte* src, size_t bytes) override {
    return inner_.download(src, bytes);
  }
  void copy(std::byte* dst, const std::byte* src, size_t bytes) override { inner_.copy(dst, src, bytes); }
  std::vector<Group> groups(const Graph& graph) const override { return inner_.groups(graph); }
  bool absorbs(const Graph& graph, NodeId reader, size_t input) const override {
    return inner_.absorbs(graph, reader, input);
  }
  int filter_layers(const Graph& graph, NodeId filter) const override {
    return inner_.filter_layers(graph, filter);
  }
  std::vector<FusionKind> fusions() const override { return inner_.fusions(); }
  std::unique_ptr<Launch> prepare(const Graph& graph, const Group& group) override {
    return inner_.prepare(graph, group);
  }
  int streams() const override { return inner_.streams(); }
  std::unique_ptr<Program> record(std::vector<RecordedLaunch> launches) override {
    return inner_.record(std::move(launches));
  }
  bool launches_wait() const override { return inner_.launches_wait(); }
  bool wants_weight_copies() const override { return inner_.wants_weight_copies(); }
  void synchronize() override { inner_.synchronize(); }
  std::unique_ptr<Timer> make_timer() override { return inner_.make_timer(); }
  size_t cache_bytes() const override { return inner_.cache_bytes(); }

 protected:
  Backend& inner_;
};

}  // namespace residuum
