#include "engine/backend/cuda/autotune/trial.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "engine/core/half.h"
#include "engine/core/random.h"

namespace residuum::cuda {
namespace {

/// Elements of random data that are made; longer tensors repeat them. No power of two, so that repeated
/// pieces do not lie alike in rows.
constexpr int64_t kPatternElements = 1'000'003;
/// What is compared of an output: at most so many pieces of so many bytes, evenly spread, both ends included.
constexpr size_t kPieces = 16, kPieceBytes = 32768;

/// One more than the largest byte that means something: positions in a max pool's window, else anything.
uint32_t byte_bound(const Graph& graph, const Group& group, ValueId id) {
  for (const NodeId node_id : group.nodes) {
    const Node& node = graph.node(node_id);
    const auto* pool = std::get_if<MaxPoolBackward>(&node.op);
    if (pool != nullptr && node.inputs[1] == id) {
      return static_cast<uint32_t>(pool->shape.window * pool->shape.window);
    }
  }
  return 256;
}

/// The first elements are the same however many there are.
std::vector<std::byte> random_pattern(DType type, bool vector, uint32_t bound, size_t elements) {
  RandomStream random(1, RandomPurpose::kAnalysis, 0, 0);
  if (type == DType::kU8) {
    std::vector<std::byte> bytes(elements);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.uniform_below(bound));
    return bytes;
  }
  if (type == DType::kI32 || type == DType::kI64) {
    std::vector<std::byte> bytes(elements * size_of(type));
    for (size_t i = 0; i < bytes.size(); i += size_of(type)) {
      bytes[i] = static_cast<std::byte>(random.uniform_below(2));
    }
    return bytes;
  }
  std::vector<float> values(elements);
  for (float& value : values) value = vector ? 0.5f + random.uniform() : 2 * random.uniform() - 1;
  return encode_floats(values, type);
}

/// The node that made a value, when it is a ReLU behind a batch_norm_apply; else kNone.
NodeId gate_of(const Graph& graph, ValueId id) {
  const NodeId relu = graph.value(id).producer;
  if (relu == kNone || !is_relu(graph.node(relu).op)) return kNone;
  const NodeId apply = graph.value(graph.node(relu).inputs[0]).producer;
  return apply != kNone && std::holds_alternative<BatchNormApply>(graph.node(apply).op) ? relu : kNone;
}
const Node& normalisation_of(const Graph& graph, NodeId gate) {
  return graph.node(graph.value(graph.node(gate).inputs[0]).producer);
}

double value_at(const std::vector<std::byte>& bytes, DType type, size_t i) {
  if (type == DType::kF32) {
    float value = 0;
    std::memcpy(&value, bytes.data() + i * sizeof(value), sizeof(value));
    return double{value};
  }
  uint16_t bits = 0;
  std::memcpy(&bits, bytes.data() + i * sizeof(bits), sizeof(bits));
  return double{type == DType::kBF16 ? from_bf16(bits) : from_f16(bits)};
}

/// NaN when one of the two has a NaN.
double relative_error(const std::vector<std::byte>& found, const std::vector<std::byte>& expected,
                      DType type) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < expected.size() / size_of(type); ++i) {
    const double a = value_at(found, type, i), b = value_at(expected, type, i);
    difference += (a - b) * (a - b);
    size += b * b;
  }
  return difference == 0 ? 0 : std::sqrt(difference / size);
}

double differing_share(const std::vector<std::byte>& found, const std::vector<std::byte>& expected) {
  int64_t bits = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    bits += std::popcount(static_cast<unsigned>(found[i] ^ expected[i]));
  }
  return static_cast<double>(bits) / static_cast<double>(8 * expected.size());
}

}  // namespace

TrialLimit trial_limit(const Graph& graph, const Group& group, kernels::F32Math f32_math) {
  constexpr double kRounding = 4, kDiffering = 1.0 / 64;
  double unit = f32_math == kernels::F32Math::kTf32 ? 0x1p-11 : 0x1p-18;  // of f32 products, see launch.h
  for (const NodeId id : group.nodes) {
    const Node& node = graph.node(id);
    for (const auto* ids : {&node.inputs, &node.outputs}) {
      for (const ValueId value : *ids) {
        const DType type = graph.desc(value).dtype;
        unit = std::max(unit, type == DType::kBF16 ? 0x1p-8 : type == DType::kF16 ? 0x1p-11 : 0);
      }
    }
  }
  return {kRounding * unit, kDiffering};
}

std::span<const std::byte> RandomPatterns::of(const TensorDesc& desc, uint32_t byte_bound) {
  const bool vector = desc.shape.rank() <= 1;
  const auto elements = static_cast<size_t>(std::min(desc.elements(), kPatternElements));
  const size_t bytes = elements * size_of(desc.dtype);
  std::vector<std::byte>& made = made_[{desc.dtype, vector, byte_bound}];
  if (made.size() < bytes) made = random_pattern(desc.dtype, vector, byte_bound, elements);
  return std::span(made).first(bytes);
}

Trial::Trial(Device& device, const Graph& graph, const Group& group, const std::vector<Candidate>& candidates,
             RandomPatterns& patterns)
    : device_(device), graph_(graph) {
  std::set<ValueId> known(group.internal.begin(), group.internal.end());
  const auto place = [&](std::vector<Place>& places, const std::vector<ValueId>& ids) {
    for (const ValueId id : ids) {
      if (known.insert(id).second) places.push_back({id, device.allocate(graph.desc(id).bytes())});
    }
  };
  for (const NodeId id : group.nodes) place(outputs_, graph.node(id).outputs);
  for (const NodeId id : group.nodes) place(inputs_, graph.node(id).inputs);
  size_t scratch_bytes = 0;
  for (const Candidate& candidate : candidates) {
    for (const Step& step : candidate.steps) place(inputs_, step.inputs);
    const CudaLaunch launch(&device, candidate.name, candidate.steps, {}, candidate.passed);
    scratch_bytes = std::max(scratch_bytes, launch.scratch_bytes());
  }
  std::vector<NodeId> gates;
  for (size_t i = 0; i < inputs_.size(); ++i) {  // grows
    const NodeId gate = gate_of(graph, inputs_[i].id);
    if (gate == kNone) continue;
    gates.push_back(gate);
    place(inputs_, normalisation_of(graph, gate).inputs);
  }
  scratch_ = device.allocate(scratch_bytes);
  for (const Place& input : inputs_) {
    fill(*input.memory, patterns.of(graph.desc(input.id), byte_bound(graph, group, input.id)));
  }
  compute(gates);
}

/// Sources before what is computed from them: the last were found from the first.
void Trial::compute(const std::vector<NodeId>& gates) const {
  for (const NodeId gate : std::vector<NodeId>(gates.rbegin(), gates.rend())) {
    const Node& apply = normalisation_of(graph_, gate);
    std::vector<Step> steps;
    for (const NodeId id : {graph_.value(apply.outputs[0]).producer, gate}) {
      for (Step& step : make_steps(graph_, {{id}, {}}, {})) steps.push_back(std::move(step));
    }
    const ValueId between = apply.outputs[0];
    CudaLaunch launch(&device_, graph_.node(gate).name, std::move(steps), {},
                      {{between, graph_.desc(between).bytes()}});
    const auto scratch = device_.allocate(launch.scratch_bytes());
    launch.bind(addresses(), scratch->data());
    launch.run({});
    device_.synchronize();
  }
}

std::vector<std::byte*> Trial::addresses() const {
  std::vector<std::byte*> addresses(graph_.values.size());
  for (const auto* places : {&inputs_, &outputs_}) {
    for (const Place& place : *places) addresses[static_cast<size_t>(place.id)] = place.memory->data();
  }
  return addresses;
}

void Trial::bind(CudaLaunch& launch) const {
  launch.bind(addresses(), scratch_->data());
}

std::vector<std::vector<std::byte>> Trial::results_of(const std::function<void()>& run) {
  const std::vector<std::byte> unwritten(kPieceBytes, std::byte{0xFF});
  for (const Place& place : outputs_) fill(*place.memory, unwritten);
  run();
  device_.synchronize();
  std::vector<std::vector<std::byte>> results;
  for (const Place& place : outputs_) {
    const size_t bytes = place.memory->bytes(), piece = std::min(bytes, kPieceBytes);
    const size_t pieces = std::clamp<size_t>(bytes / kPieceBytes, 1, kPieces);
    std::vector<std::byte>& sample = results.emplace_back(pieces * piece);
    for (size_t i = 0; i < pieces; ++i) {
      const size_t step = pieces == 1 ? 0 : (bytes - piece) / (pieces - 1) / sizeof(float) * sizeof(float);
      const size_t first = i + 1 == pieces ? bytes - piece : i * step;
      device_.copy_to_host(sample.data() + i * piece, place.memory->data() + first, piece);
    }
  }
  return results;
}

std::string Trial::difference(const std::vector<std::vector<std::byte>>& found,
                              const std::vector<std::vector<std::byte>>& expected,
                              const TrialLimit& limit) const {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const TensorDesc& desc = graph_.desc(outputs_[i].id);
    const bool floats = is_float(desc.dtype);
    const double error =
        floats ? relative_error(found[i], expected[i], desc.dtype) : differing_share(found[i], expected[i]);
    const double allowed = floats ? limit.relative : limit.differing;
    if (error <= allowed) continue;  // false for NaN
    return fmt::format("output {} of {}: {} {:.3g}, allowed {:.3g}", i, to_string(desc),
                       floats ? "relative error" : "share of differing bits", error, allowed);
  }
  return {};
}

void Trial::fill(Memory& memory, std::span<const std::byte> pattern) const {
  const size_t bytes = memory.bytes();
  size_t done = std::min(pattern.size(), bytes);
  device_.copy_to_device(memory.data(), pattern.data(), done);
  while (done < bytes) {  // what is there is copied behind it: one slow copy from the host
    const size_t more = std::min(done, bytes - done);
    device_.copy(memory.data() + done, memory.data(), more);
    done += more;
  }
}

}  // namespace residuum::cuda
