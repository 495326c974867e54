// Weight copies in the activations' type: what the pass changes in a graph, that the copies follow their
// parameters whoever writes those, and that they leave no trace in files.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "engine/checkpoint/safetensors.h"
#include "engine/core/half.h"
#include "engine/core/random.h"
#include "engine/exec/executor.h"
#include "engine/graph/cost.h"
#include "engine/graph/passes.h"
#include "engine/train/weights.h"
#include "models/zoo.h"
#include "tests/support/compare.h"
#include "tests/support/graph_run.h"
#include "tests/support/random_tensor.h"
#include "tests/support/test_device.h"

namespace residuum {
namespace {

using reference::Tensor;
using reference::Tensors;

Graph training_graph(DType activation, bool copies, float ema_decay = 0) {
  ModelOptions options;
  options.activation = activation;
  options.batch = 4;
  options.image_size = 8;
  TrainingPassOptions passes{.weight_copies = copies};
  passes.update.ema_decay = ema_decay;
  return run_passes(build_model("cifar_resnet8", options), training_passes(passes));
}

const Node& sgd_of(const Graph& graph) {
  return *std::find_if(graph.nodes.begin(), graph.nodes.end(),
                       [](const Node& node) { return std::holds_alternative<SgdUpdate>(node.op); });
}

/// Whether the node reads a weight and its activations, and which value that weight is.
const Value* weight_of(const Graph& graph, const Node& node) {
  const std::string_view name = op_name(node.op);
  const bool reads =
      name == "conv" || name == "conv_backward_data" || name == "linear" || name == "linear_backward_data";
  return reads ? &graph.value(node.inputs[1]) : nullptr;
}

std::vector<float> floats_of(const std::vector<std::byte>& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// Every copy of the state holds its parameter's values, rounded.
void expect_copies_follow(const State& state) {
  size_t copies = 0;
  for (const State::Entry& entry : state.entries()) {
    if (entry.kind != ValueKind::kCopy) continue;
    ++copies;
    const std::string parameter = entry.name.substr(kCopyPrefix.size());
    EXPECT_EQ(state.read(entry.name), encode_floats(floats_of(state.read(parameter)), entry.desc.dtype))
        << parameter;
  }
  EXPECT_EQ(copies, 8u) << "seven convolutions and a linear layer";
}

void write_batch(Executor& executor, uint64_t index) {
  RandomStream random(3, RandomPurpose::kAnalysis, 0, index);
  std::vector<uint8_t> images(4 * 8 * 8 * 3);
  for (uint8_t& pixel : images) pixel = static_cast<uint8_t>(random.next_u32());
  executor.write("images", images);
  executor.write("labels", std::vector<int32_t>{1, 5, 0, 9});
}

void step(Executor& executor, uint64_t index) {
  write_batch(executor, index);
  executor.run_micro_step({7, index, 0, 0.1f});
  executor.run_update({7, index, 0, 0.1f});
}

TEST(WeightCopies, EveryWeightReaderOf16BitActivationsReadsACopy) {
  const Graph graph = training_graph(DType::kBF16, true);
  size_t readers = 0;
  for (const Node& node : graph.nodes) {
    const Value* weight = weight_of(graph, node);
    if (weight == nullptr) continue;
    ++readers;
    EXPECT_EQ(weight->kind, ValueKind::kCopy) << node.name;
    EXPECT_EQ(weight->desc.dtype, DType::kBF16) << node.name;
  }
  EXPECT_GT(readers, 8u);
  const auto& sgd = std::get<SgdUpdate>(sgd_of(graph).op);
  ASSERT_EQ(sgd.copy_of.size(), 8u);
  const std::vector<ValueId>& inputs = sgd_of(graph).inputs;
  for (size_t k = 0; k < sgd.copy_of.size(); ++k) {
    const Value& weight = graph.value(inputs[1 + static_cast<size_t>(sgd.copy_of[k])]);
    const Value& copy = graph.value(inputs[1 + 3 * sgd.weight_decay.size() + k]);
    EXPECT_EQ(copy.name, std::string(kCopyPrefix) + weight.name);
  }
}

TEST(WeightCopies, NoneForF32ActivationsOrWithoutAnOptimizer) {
  EXPECT_TRUE(std::get<SgdUpdate>(sgd_of(training_graph(DType::kF32, true)).op).copy_of.empty());
  ModelOptions options;
  options.activation = DType::kF16;
  const Graph forward = build_model("cifar_resnet8", options);
  EXPECT_EQ(weight_copies(forward).values.size(), forward.values.size());
}

TEST(WeightCopies, AreWrittenButNotReadByTheUpdate) {
  const Graph plain = training_graph(DType::kBF16, false), graph = training_graph(DType::kBF16, true);
  const Cost before = node_cost(plain, sgd_of(plain)), after = node_cost(graph, sgd_of(graph));
  int64_t bytes = 0;
  for (const Value& value : graph.values) {
    if (value.kind == ValueKind::kCopy) bytes += static_cast<int64_t>(value.desc.bytes());
  }
  EXPECT_EQ(after.bytes_read, before.bytes_read);
  EXPECT_EQ(after.bytes_written, before.bytes_written + bytes);
}

TEST(WeightCopies, AStepOfTheReferencesIsTheSame) {
  const auto evaluate = [](const Graph& graph) {
    Tensors values(graph.values.size());
    for (size_t id = 0; id < graph.values.size(); ++id) {
      const Value& value = graph.values[id];
      if (!value.persistent()) continue;
      const auto index = static_cast<size_t>(value.kind == ValueKind::kCopy
                                                 ? *graph.find(value.name.substr(kCopyPrefix.size()))
                                                 : static_cast<ValueId>(id));
      values[id] = value.name == "images" || value.name == "labels" ? integer_tensor(value.desc.shape, 1, 10)
                                                                    : uniform_tensor(value.desc.shape, index);
    }
    run_reference(graph, values, {.learning_rate = 0.1f});
    return values;
  };
  const Graph plain = training_graph(DType::kBF16, false), graph = training_graph(DType::kBF16, true);
  const Tensors expected = evaluate(plain), found = evaluate(graph);
  for (size_t id = 0; id < plain.values.size(); ++id) {
    const Value& value = plain.values[id];
    if (value.kind != ValueKind::kParameter) continue;
    EXPECT_TRUE(matches(found[id], expected[id], kExact)) << value.name;
    if (const auto copy = graph.find(std::string(kCopyPrefix) + value.name)) {
      EXPECT_TRUE(matches(found[static_cast<size_t>(*copy)], found[id], kExact)) << value.name;
    }
  }
}

TEST(WeightCopies, FollowTheirParametersThroughInitialValuesStepsAndWrites) {
  Backend& backend = cpu_backend(2);
  State state(backend);
  Executor executor(training_graph(DType::kBF16, true), backend, state);
  expect_copies_follow(state);
  for (uint64_t i = 0; i < 3; ++i) step(executor, i);
  expect_copies_follow(state);
  std::vector<float> weight = floats_of(state.read("conv1.weight"));
  for (float& value : weight) value *= 1.001f;
  state.write("conv1.weight", std::as_bytes(std::span(weight)));
  expect_copies_follow(state);
  state.copy("layer1.0.conv1.weight", "layer1.0.conv2.weight");
  expect_copies_follow(state);
}

TEST(WeightCopies, ANonFiniteStepLeavesThemAsTheyWere) {
  Backend& backend = cpu_backend(2);
  State state(backend);
  Executor executor(training_graph(DType::kBF16, true), backend, state);
  step(executor, 0);
  const std::vector<std::byte> before = state.read("copy.conv1.weight");
  std::vector<float> bad(16, std::numeric_limits<float>::quiet_NaN());
  state.write("bn1.weight", std::as_bytes(std::span(bad)));
  step(executor, 1);
  EXPECT_EQ(executor.read<float>("norm")[1], 0.0f);
  EXPECT_EQ(state.read("copy.conv1.weight"), before);
}

TEST(WeightCopies, ChangeNoConvolutionsBits) {
  // The first loss and every gradient of the CPU are the same, but for the linear layer, which without a copy
  // reads its weight unrounded: so it is rounded here.
  const auto first_norm = [](bool copies) {
    Backend& backend = cpu_backend(2);
    State state(backend);
    Executor executor(training_graph(DType::kBF16, copies), backend, state);
    std::vector<float> weight = floats_of(state.read("fc.weight"));
    for (float& value : weight) value = from_bf16(to_bf16(value));
    state.write("fc.weight", std::as_bytes(std::span(weight)));
    step(executor, 0);
    return std::pair(executor.read<float>("loss"), executor.read<float>("norm"));
  };
  EXPECT_EQ(first_norm(true), first_norm(false));
}

TEST(WeightCopies, AreNeitherSavedNorExportedAndComeBackWithTheState) {
  Backend& backend = cpu_backend(2);
  State state(backend), restored(backend);
  Executor executor(training_graph(DType::kBF16, true, 0.9f), backend, state);
  step(executor, 0);
  for (const TensorFileContent& content : {export_state(state), export_weights(state, "ema.", 1)}) {
    for (const StoredTensor& tensor : content.tensors) EXPECT_FALSE(tensor.name.starts_with(kCopyPrefix));
  }
  const TensorFileContent saved = export_state(state);
  const SafetensorsImage image(saved.tensors, {});
  std::vector<std::byte> bytes;
  for (const auto& part : image.parts()) bytes.insert(bytes.end(), part.begin(), part.end());

  Executor again(training_graph(DType::kBF16, true, 0.9f), backend, restored, {{}, 99, {}});
  import_state(restored, SafetensorsFile::parse("saved", std::move(bytes)));
  expect_copies_follow(restored);
  step(executor, 1);
  step(again, 1);
  for (const State::Entry& entry : state.entries())
    EXPECT_EQ(state.read(entry.name), restored.read(entry.name)) << entry.name;
}

}  // namespace
}  // namespace residuum
