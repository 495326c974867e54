#include "engine/train/weights.h"

#include <algorithm>

#include "engine/checkpoint/state_dict.h"
#include "engine/checkpoint/tensor_values.h"
#include "engine/core/check.h"
#include "engine/core/json.h"

namespace residuum {
namespace {

constexpr std::string_view kVariance = ".running_var";

bool is_model_value(const State::Entry& entry) {
  return entry.kind == ValueKind::kParameter || entry.kind == ValueKind::kBuffer;
}

/// What a training state holds: copies follow from parameters, sums are begun anew by each step.
bool is_saved(const State::Entry& entry) {
  return entry.kind != ValueKind::kCopy && entry.kind != ValueKind::kSum;
}

std::vector<int64_t> extents(const Shape& shape) {
  std::vector<int64_t> result;
  for (int i = 0; i < shape.rank(); ++i) result.push_back(shape[i]);
  return result;
}

/// The shape a value has in a torch-style file: convolution weights K,R,S,C become O,I,H,W.
std::vector<int64_t> file_shape(const Shape& shape) {
  if (shape.rank() != 4) return extents(shape);
  return {shape[0], shape[3], shape[1], shape[2]};
}

template <typename T>
std::vector<std::byte> bytes_of_values(const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}

void append(TensorFileContent& content, std::string name, std::string dtype, std::vector<int64_t> shape,
            std::vector<std::byte> bytes) {
  content.storage.push_back(std::move(bytes));
  content.tensors.push_back({std::move(name), std::move(dtype), std::move(shape), content.storage.back()});
}

/// Whether two shapes differ in their first extent only.
bool differs_in_first_extent(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  return a.size() == b.size() && !a.empty() && a[0] != b[0] &&
         std::equal(a.begin() + 1, a.end(), b.begin() + 1);
}

/// "bn1.num_batches_tracked" for "bn1.running_var".
std::string counter_name(const std::string& variance) {
  return variance.substr(0, variance.size() - kVariance.size()) + ".num_batches_tracked";
}

}  // namespace

std::string class_names_text(const std::vector<std::string>& names) {
  // Names of folders may be any bytes; what is no UTF-8 is replaced.
  return lossy_json_text(nlohmann::json(names));
}

std::vector<std::string> class_names(const SafetensorsFile& file) {
  const auto found = file.metadata().find(kClassesKey);
  if (found == file.metadata().end()) return {};
  const nlohmann::json names = try_parse_json(found->second);
  const auto is_text = [](const nlohmann::json& name) { return name.is_string(); };
  if (!names.is_array() || !std::ranges::all_of(names, is_text)) return {};
  return names.get<std::vector<std::string>>();
}

const StoredTensor* find_weight(const SafetensorsFile& file, const std::string& name) {
  const StoredTensor* tensor = file.find(name);
  return tensor != nullptr ? tensor : file.find("module." + name);
}

TensorFileContent export_weights(const State& state, const std::string& prefix, int64_t batches_tracked) {
  TensorFileContent content;
  for (const State::Entry& entry : state.entries()) {
    if (!is_model_value(entry)) continue;
    const bool copy = !prefix.empty() && state.contains(prefix + entry.name);
    std::vector<float> values = state.read_floats(copy ? prefix + entry.name : entry.name);
    const Shape& shape = entry.desc.shape;
    if (shape.rank() == 4) values = krsc_to_oihw(values, {shape[0], shape[1], shape[2], shape[3]});
    append(content, entry.name, "F32", file_shape(shape), bytes_of_values(values));
    if (entry.name.ends_with(kVariance)) {
      append(content, counter_name(entry.name), "I64", {},
             bytes_of_values(std::vector<int64_t>{batches_tracked}));
    }
  }
  return content;
}

void import_weights(State& state, const SafetensorsFile& file) {
  import_initial_weights(state, file, {});
}

bool import_initial_weights(State& state, const SafetensorsFile& file, const std::vector<std::string>& head) {
  std::vector<ExpectedTensor> expected;
  std::vector<const State::Entry*> entries;
  const auto of_head = [&](const std::string& name) { return std::ranges::find(head, name) != head.end(); };
  bool head_fits = true;
  for (const State::Entry& entry : state.entries()) {
    if (!is_model_value(entry)) continue;
    expected.push_back({entry.name, file_shape(entry.desc.shape)});
    entries.push_back(&entry);
    const StoredTensor* other = of_head(entry.name) ? find_weight(file, entry.name) : nullptr;
    if (other == nullptr || !differs_in_first_extent(other->shape, expected.back().shape)) continue;
    expected.back().shape = other->shape;
    head_fits = false;
  }
  const std::vector<const StoredTensor*> found = match_state_dict(expected, file);
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!head_fits && of_head(entries[i]->name)) continue;
    std::vector<float> values = to_floats(*found[i]);
    const std::vector<int64_t>& s = expected[i].shape;
    if (s.size() == 4) values = oihw_to_krsc(values, {s[0], s[1], s[2], s[3]});
    state.write(entries[i]->name, std::as_bytes(std::span(values)));
  }
  return head_fits;
}

TensorFileContent export_state(const State& state) {
  TensorFileContent content;
  for (const State::Entry& entry : state.entries()) {
    if (!is_saved(entry)) continue;
    check(entry.desc.dtype == DType::kF32, ErrorKind::kInternal, "state '{}' is {}, not f32", entry.name,
          to_string(entry.desc));
    append(content, entry.name, "F32", extents(entry.desc.shape), state.read(entry.name));
  }
  return content;
}

void import_state(State& state, const SafetensorsFile& file) {
  std::vector<ExpectedTensor> expected;
  for (const State::Entry& entry : state.entries()) {
    if (is_saved(entry)) expected.push_back({entry.name, extents(entry.desc.shape)});
  }
  const std::vector<const StoredTensor*> found =
      match_state_dict(expected, file, {.strip_module_prefix = false, .optional_num_batches_tracked = false});
  for (size_t i = 0; i < found.size(); ++i) state.write(expected[i].name, found[i]->data);
}

}  // namespace residuum
