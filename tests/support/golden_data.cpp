#include "tests/support/golden_data.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tests/support/graph_run.h"
#include "tests/support/source_tree.h"

namespace residuum {
namespace {

using reference::Tensor;

/// Multiples of 2^-23 in [-1, 1).
std::vector<double> uniform(const std::string& name, int64_t count) {
  std::vector<double> values;
  for (const uint64_t word : golden_words(name, count))
    values.push_back(static_cast<double>(word >> 40) * 0x1p-23 - 1);
  return values;
}

/// Calls visit(position in torch's O,I,H,W, position in the engine's O,H,W,I); the same for other ranks
/// than 4.
template <typename Visit>
void for_each_position(const Shape& shape, const Visit& visit) {
  if (shape.rank() != 4) {
    for (int64_t i = 0; i < shape.elements(); ++i) visit(i, i);
    return;
  }
  int64_t torch = 0;
  for (int64_t k = 0; k < shape[0]; ++k)
    for (int64_t c = 0; c < shape[3]; ++c)
      for (int64_t r = 0; r < shape[1]; ++r)
        for (int64_t s = 0; s < shape[2]; ++s)
          visit(torch++, ((k * shape[1] + r) * shape[2] + s) * shape[3] + c);
}

/// The random byte of position (n, y, x, c) of an extent x extent image.
class RandomBytes {
 public:
  RandomBytes(const std::string& name, int step, int64_t batch, int64_t extent)
      : extent_(extent),
        words_(golden_words(fmt::format("{}.{}", name, step), batch * extent * extent * 3)) {}
  uint64_t at(int64_t n, int64_t y, int64_t x, int64_t c) const {
    return words_[static_cast<size_t>(((n * extent_ + y) * extent_ + x) * 3 + c)] >> 56;
  }

 private:
  int64_t extent_;
  std::vector<uint64_t> words_;
};

}  // namespace

std::vector<uint64_t> golden_words(const std::string& name, int64_t count) {
  uint64_t state = 0xCBF29CE484222325;
  for (const char c : name) state = (state ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  std::vector<uint64_t> words;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t z = state + (static_cast<uint64_t>(i) + 1) * 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    words.push_back(z ^ (z >> 31));
  }
  return words;
}

Tensor golden_parameter(const std::string& name, const Shape& shape) {
  const std::vector<double> u = uniform(name, shape.elements());
  const double scale = std::sqrt(3.0 / static_cast<double>(shape.elements() / shape[0]));
  const double gamma = name.ends_with("bn3.weight") ? 0.25 : 0.5;
  Tensor tensor(shape);
  for_each_position(shape, [&](int64_t torch, int64_t ours) {
    const double x = u[static_cast<size_t>(torch)];
    const double value = name.ends_with("running_var")                   ? 1 + 0.5 * x
                         : shape.rank() == 1 && name.ends_with("weight") ? gamma * (1 + 0.25 * x)
                         : shape.rank() == 1                             ? 0.125 * x
                                                                         : scale * x;
    tensor[ours] = double{static_cast<float>(value)};
  });
  return tensor;
}

Tensor golden_images(int step, int64_t batch, int64_t size) {
  const RandomBytes patches("patches", step, batch, 4), noise("noise", step, batch, size);
  Tensor images({batch, size, size, 3});
  for (int64_t n = 0; n < batch; ++n)
    for (int64_t y = 0; y < size; ++y)
      for (int64_t x = 0; x < size; ++x)
        for (int64_t c = 0; c < 3; ++c)
          images.at(n, y, x, c) = static_cast<double>(
              (3 * patches.at(n, y / (size / 4), x / (size / 4), c) + noise.at(n, y, x, c)) / 4);
  return images;
}

Tensor golden_labels(int step, int64_t batch, int64_t classes) {
  Tensor labels({batch});
  const std::vector<uint64_t> words = golden_words(fmt::format("labels.{}", step), batch);
  for (int64_t n = 0; n < batch; ++n)
    labels[n] = static_cast<double>(words[static_cast<size_t>(n)] % static_cast<uint64_t>(classes));
  return labels;
}

reference::Tensors golden_start(const Graph& graph) {
  reference::Tensors values(graph.values.size());
  for (size_t id = 0; id < graph.values.size(); ++id) {
    const Value& value = graph.values[id];
    if (value.kind == ValueKind::kOptimizer || value.kind == ValueKind::kSum)
      values[id] = Tensor(value.desc.shape);
    if (value.kind == ValueKind::kParameter || value.kind == ValueKind::kBuffer)
      values[id] = golden_parameter(value.name, value.desc.shape);
    if (value.kind == ValueKind::kCopy)
      values[id] = rounded_to(value.desc.dtype,
                              golden_parameter(value.name.substr(kCopyPrefix.size()), value.desc.shape));
  }
  const ValueId images = *graph.find("images"), labels = *graph.find("labels");
  const Shape &size = graph.desc(images).shape, &logits = graph.desc(graph.output("logits")).shape;
  values[static_cast<size_t>(images)] = golden_images(0, size[0], size[1]);
  values[static_cast<size_t>(labels)] = golden_labels(0, logits[0], logits[1]);
  return values;
}

std::vector<double> golden_digest(const std::string& name, const Tensor& tensor) {
  std::vector<double> flat(tensor.data.size());
  for_each_position(tensor.shape,
                    [&](int64_t torch, int64_t ours) { flat[static_cast<size_t>(torch)] = tensor[ours]; });
  double squares = 0, sum = 0;
  for (const double value : flat) {
    squares += value * value;
    sum += value;
  }
  std::vector<double> digest = {std::sqrt(squares), sum};
  for (const uint64_t word : golden_words("sample." + name, 4)) digest.push_back(flat[word % flat.size()]);
  return digest;
}

double digest_deviation(const std::vector<double>& found, const std::vector<double>& expected,
                        int64_t count) {
  const double norm = expected[0], rms = norm / std::sqrt(static_cast<double>(count));
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double off = std::abs(found[i] - expected[i]) / (i < 2 ? norm : rms);
    worst = std::isnan(off) ? std::numeric_limits<double>::infinity() : std::max(worst, off);
  }
  return worst;
}

double vector_deviation(const std::vector<double>& found, const std::vector<double>& expected) {
  if (found.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double squares = 0, worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    squares += expected[i] * expected[i];
    const double off = std::abs(found[i] - expected[i]);
    worst = std::isnan(off) ? std::numeric_limits<double>::infinity() : std::max(worst, off);
  }
  return worst / std::sqrt(squares / static_cast<double>(expected.size()));
}

nlohmann::json golden_json(const std::string& name) {
  return parse_json(read_text_file(source_tree() / "tests/golden" / name));
}

}  // namespace residuum
