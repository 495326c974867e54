#include "engine/exec/executor.h"

#include "engine/core/check.h"

namespace residuum {

Executor::Executor(Graph graph, Backend& backend, State& state, const ExecutorOptions& options)
    : backend_(backend),
      exchange_(options.plan.exchange),
      plan_(make_plan(std::move(graph), backend, options.plan)) {
  state.add(plan_.graph, options.seed);
  arena_ = backend.allocate(plan_.memory.arena_bytes);
  addresses_.assign(plan_.graph.values.size(), nullptr);
  for (size_t i = 0; i < plan_.placed.size(); ++i) {
    addresses_[static_cast<size_t>(plan_.placed[i])] = arena_->data() + plan_.memory.offsets[i];
  }
  for (size_t id = 0; id < addresses_.size(); ++id) {
    const Value& value = plan_.graph.values[id];
    if (!value.persistent() || value.kind == ValueKind::kInput) continue;
    addresses_[id] = state.entry(options.state_name ? options.state_name(value.name) : value.name).data;
  }
  for (size_t id = 0; id < addresses_.size(); ++id) {
    addresses_[id] = addresses_[static_cast<size_t>(place_of(plan_.graph, static_cast<ValueId>(id)))];
  }
  for (size_t g = 0; g < plan_.launches.size(); ++g) {
    plan_.launches[g]->bind(addresses_, arena_->data() + plan_.memory.offsets[plan_.placed.size() + g]);
  }
  micro_step_ = parts(0, plan_.update_begin);
  update_ = parts(plan_.update_begin, plan_.launches.size());
}

std::vector<Executor::Part> Executor::parts(size_t begin, size_t end) const {
  std::vector<Part> found;
  bool open = false;  // all-reduces are under way
  const auto close = [&](size_t until) {
    if (until > begin) found.push_back({backend_.record(recorded_launches(plan_, begin, until)), nullptr});
    begin = until;
  };
  for (size_t g = begin; g < end; ++g) {
    if (open && reads_sums(graph(), plan_.groups[g])) {
      close(g);
      found.emplace_back();
      open = false;
    }
    if (!is_all_reduce(graph(), plan_.groups[g])) continue;
    close(g);
    found.push_back({nullptr, plan_.launches[g].get()});
    begin = g + 1;
    open = true;
  }
  close(end);
  if (open) found.emplace_back();
  return found;
}

void Executor::run(const std::vector<Part>& parts, const StepParams& params) {
  for (const Part& part : parts) {
    if (part.program) {
      part.program->run(params);
    } else if (part.all_reduce != nullptr) {
      part.all_reduce->run(params);
    } else {
      exchange_->finish();
    }
  }
}

void Executor::write(const std::string& name, std::span<const std::byte> bytes) {
  const auto id = graph().find(name);
  check(id && graph().value(*id).kind == ValueKind::kInput, ErrorKind::kInternal,
        "the graph has no input '{}'", name);
  check(bytes.size() == graph().desc(*id).bytes(), ErrorKind::kInternal,
        "input '{}' is {} ({} bytes), {} bytes were given", name, to_string(graph().desc(*id)),
        graph().desc(*id).bytes(), bytes.size());
  backend_.upload(addresses_[static_cast<size_t>(*id)], bytes.data(), bytes.size());
}

void Executor::run_micro_step(const StepParams& params) {
  run(micro_step_, params);
}

void Executor::run_update(const StepParams& params) {
  run(update_, params);
}

Executor::Output Executor::find_output(const std::string& name, size_t element_size) const {
  const ValueId id = graph().output(name);
  const TensorDesc& desc = graph().desc(id);
  check(desc.bytes() % element_size == 0, ErrorKind::kInternal, "'{}' is {}, its element size does not fit",
        graph().value(id).name, to_string(desc));
  return {addresses_[static_cast<size_t>(id)], desc.bytes()};
}

}  // namespace residuum
