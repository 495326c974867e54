#include "engine/exec/state.h"

#include "engine/core/check.h"
#include "engine/core/half.h"
#include "engine/core/random.h"
#include "engine/graph/memory_plan.h"

namespace residuum {
namespace {

std::vector<float> initial_values(const Init& init, int64_t count, uint64_t seed, uint64_t index) {
  std::vector<float> values(static_cast<size_t>(count), static_cast<float>(init.value));
  RandomStream random(seed, RandomPurpose::kInit, 0, index);
  switch (init.kind) {
    case Init::Kind::kConstant:
      break;
    case Init::Kind::kNormal:
      for (float& value : values) value = static_cast<float>(init.value * random.normal());
      break;
    case Init::Kind::kUniform:
      for (float& value : values) value = static_cast<float>(init.value * (2 * random.uniform_double() - 1));
      break;
  }
  return values;
}

}  // namespace

void State::add(const Graph& graph, uint64_t seed) {
  std::vector<std::pair<size_t, Init>> added;
  size_t bytes = 0;
  for (size_t id = 0; id < graph.values.size(); ++id) {
    const Value& value = graph.values[id];
    if (!value.persistent() || value.kind == ValueKind::kInput) continue;
    if (contains(value.name)) {
      check(entry(value.name).desc == value.desc, ErrorKind::kInternal, "state '{}' is {}, a graph wants {}",
            value.name, to_string(entry(value.name).desc), to_string(value.desc));
      continue;
    }
    added.emplace_back(entries_.size(), graph.inits.at(static_cast<ValueId>(id)));
    index_[value.name] = entries_.size();
    entries_.push_back({value.name, value.desc, value.kind, nullptr});
    bytes += arena_aligned(value.desc.bytes());
  }
  if (added.empty()) return;
  memory_.push_back(backend_.allocate(bytes));
  total_bytes_ += bytes;
  std::byte* next = memory_.back()->data();
  for (const auto& [i, init] : added) {
    Entry& entry = entries_[i];
    entry.data = next;
    next += arena_aligned(entry.desc.bytes());
    if (entry.kind == ValueKind::kCopy) {
      refresh_copy(entry);  // its parameter comes before it
      continue;
    }
    if (init.kind == Init::Kind::kConstant && init.value == 0) continue;  // memory starts as zeros
    const std::vector<float> values = initial_values(init, entry.desc.elements(), seed, i);
    backend_.copy_to_device(entry.data, values.data(), entry.desc.bytes());
  }
}

const State::Entry& State::entry(const std::string& name) const {
  const auto found = index_.find(name);
  check(found != index_.end(), ErrorKind::kInternal, "there is no state '{}'", name);
  return entries_[found->second];
}

std::vector<std::byte> State::read(const std::string& name) const {
  const Entry& e = entry(name);
  std::vector<std::byte> bytes(e.desc.bytes());
  backend_.copy_to_host(bytes.data(), e.data, bytes.size());
  return bytes;
}

std::vector<float> State::read_floats(const std::string& name) const {
  return decode_floats(read(name), entry(name).desc.dtype);
}

void State::write(const std::string& name, std::span<const std::byte> bytes) {
  const Entry& e = entry(name);
  check(bytes.size() == e.desc.bytes(), ErrorKind::kInternal, "state '{}' has {} bytes, {} were given", name,
        e.desc.bytes(), bytes.size());
  backend_.copy_to_device(e.data, bytes.data(), bytes.size());
  const std::string copy = std::string(kCopyPrefix) + name;
  if (contains(copy)) refresh_copy(entry(copy));
}

void State::refresh_copy(const Entry& copy) {
  const std::vector<float> parameter = read_floats(copy.name.substr(kCopyPrefix.size()));
  const std::vector<std::byte> bytes = encode_floats(parameter, copy.desc.dtype);
  backend_.copy_to_device(copy.data, bytes.data(), bytes.size());
}

void State::copy(const std::string& from, const std::string& to) {
  write(to, read(from));
}

}  // namespace residuum
