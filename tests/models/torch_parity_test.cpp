// Whole nets against PyTorch: the same weights and images give the same logits, loss, gradients and training
// run. Two comparisons: the graph run by the double references must agree with float64 torch to rounding
// (structure, conventions, gradients), and the CPU backend in f32 as well as float32 torch does, within a
// factor.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>

#include "engine/exec/executor.h"
#include "engine/graph/autodiff.h"
#include "engine/graph/passes.h"
#include "models/zoo.h"
#include "tests/support/golden_data.h"
#include "tests/support/graph_run.h"
#include "tests/support/test_device.h"

namespace residuum {
namespace {

using nlohmann::json;
using reference::Tensor;
using reference::Tensors;
using Numbers = std::vector<double>;

/// An f32 result may be `kFactor` times as far from the exact one as torch's own float32 run is, or `floor`
/// if that is more.
constexpr double kFactor = 8;
struct Metric {
  std::string_view name, reason;
  double floor;
};
constexpr Metric kLogits{"logits", "f32 sums over a few dozen layers, relative to the RMS", 1e-5};
constexpr Metric kFirstLoss{"first loss", "as the logits", 1e-5};
constexpr Metric kLaterLoss{"later loss", "follows gradients in which single ReLUs may have switched", 1e-3};
constexpr Metric kGradient{
    "gradient",
    "a ReLU whose input is within rounding of zero may switch: 1% of a gradient in nets this small", 2e-2};
constexpr Metric kWeights{"weights", "the sum of some learning rates times such gradients", 5e-3};
/// Double against double: rounding of 2^-53 grown by batch norms over few values.
constexpr Metric kDouble{"double", "float64 on both sides; committed with 12 digits", 1e-8};

void expect_close(double deviation, const Metric& metric, double torch_deviation, const std::string& what) {
  EXPECT_LE(deviation, std::max(metric.floor, kFactor * torch_deviation))
      << what << ": metric '" << metric.name << "' (" << metric.reason << "), float32 torch is off by "
      << torch_deviation;
}

struct Net {
  std::string name;
  json golden = golden_json(name + ".json");

  template <typename T>
  T config(const char* key) const {
    return golden["config"][key].get<T>();
  }
  int batches() const { return config<int>("batches"); }
  Tensor images(int step) const {
    return golden_images(step % batches(), config<int64_t>("batch"), config<int64_t>("size"));
  }
  Tensor labels(int step) const {
    return golden_labels(step % batches(), config<int64_t>("batch"), config<int64_t>("classes"));
  }
  Graph forward(Mode mode) const {
    ModelOptions options;
    options.mode = mode;
    options.batch = config<int64_t>("batch");
    options.image_size = config<int64_t>("size");
    options.classes = config<int64_t>("classes");
    return build_model(name, options);
  }
  /// Forward, backward and update; every gradient is the output "gradient.NAME".
  Graph training() const {
    Graph graph = differentiate(forward(Mode::kTrain));
    for (const auto& [parameter, gradient] : graph.gradients)
      graph.outputs["gradient." + graph.value(parameter).name] = gradient;
    UpdateOptions update;
    update.momentum = config<float>("momentum");
    update.weight_decay = config<float>("weight_decay");
    return append_update(std::move(graph), update);
  }
  StepParams params(int step) const {
    return {.seed = 1,
            .step = static_cast<uint64_t>(step),
            .micro_step = 0,
            .learning_rate = config<float>("lr")};
  }
  double float32_deviation(const char* key) const { return golden["float32_deviation"][key].get<double>(); }
};

/// Compares `digests` with the golden ones of that key, and that none is missing.
void expect_digests(const Net& net, const char* key, const std::map<std::string, Tensor>& found,
                    const Metric& metric, double torch_deviation) {
  EXPECT_EQ(found.size(), net.golden[key].size());
  for (const auto& [name, expected] : net.golden[key].items()) {
    ASSERT_TRUE(found.contains(name)) << "no " << key << " of " << name;
    const Tensor& tensor = found.at(name);
    expect_close(digest_deviation(golden_digest(name, tensor), expected.get<Numbers>(), tensor.elements()),
                 metric, torch_deviation, std::string(key) + " of " + name);
  }
}

// ---- the references, in double

/// Golden values for every parameter and buffer, zeros for the optimizer.
Tensors start_values(const Graph& graph) {
  Tensors values(graph.values.size());
  for (size_t id = 0; id < graph.values.size(); ++id) {
    const Value& value = graph.values[id];
    if (value.kind == ValueKind::kOptimizer) values[id] = Tensor(value.desc.shape);
    if (value.kind == ValueKind::kParameter || value.kind == ValueKind::kBuffer)
      values[id] = golden_parameter(value.name, value.desc.shape);
  }
  return values;
}

void run_double(const Net& net, const Graph& graph, Tensors& values, int step) {
  values[static_cast<size_t>(*graph.find("images"))] = net.images(step);
  values[static_cast<size_t>(*graph.find("labels"))] = net.labels(step);
  run_reference(graph, values, net.params(step));
}

void expect_double_parity(const Net& net, int steps) {
  const Graph eval = net.forward(Mode::kEval);
  Tensors values = start_values(eval);
  run_double(net, eval, values, 0);
  expect_close(
      vector_deviation(values[static_cast<size_t>(eval.output("logits"))].data, net.golden["eval_logits"]),
      kDouble, 0, "logits of evaluation");

  const Graph graph = net.training();
  values = start_values(graph);
  for (int step = 0; step < steps; ++step) {
    run_double(net, graph, values, step);
    const double loss = values[static_cast<size_t>(graph.output("loss"))][0],
                 expected = net.golden["losses"][step];
    expect_close(std::abs(loss - expected) / expected, kDouble, 0, fmt::format("loss of step {}", step));
    if (step > 0) continue;
    expect_close(vector_deviation(values[static_cast<size_t>(graph.output("logits"))].data,
                                  net.golden["train_logits"]),
                 kDouble, 0, "logits of training");
    std::map<std::string, Tensor> gradients;
    for (const auto& [parameter, gradient] : graph.gradients)
      gradients[graph.value(parameter).name] = values[static_cast<size_t>(gradient)];
    expect_digests(net, "gradients", gradients, kDouble, 0);
  }
}

TEST(TorchParity, DoubleCifarResNet20) {
  expect_double_parity({"cifar_resnet20"}, 3);
}
TEST(TorchParity, DoubleResNet18) {
  expect_double_parity({"resnet18"}, 1);
}
TEST(TorchParity, DoubleResNet50) {
  expect_double_parity({"resnet50"}, 1);
}

// ---- the CPU backend, in f32

Numbers read_numbers(Executor& executor, const std::string& output) {
  const std::vector<float> values = executor.read<float>(output);
  return {values.begin(), values.end()};
}

void write_batch(const Net& net, Executor& executor, int step) {
  executor.write("images", encode(net.images(step), DType::kU8));
  executor.write("labels", encode(net.labels(step), DType::kI32));
}

void write_parameters(State& state) {
  for (const State::Entry& entry : state.entries()) {
    if (entry.kind == ValueKind::kOptimizer) continue;
    state.write(entry.name, encode(golden_parameter(entry.name, entry.desc.shape), entry.desc.dtype));
  }
}

void expect_first_step(const Net& net, Executor& executor) {
  expect_close(vector_deviation(read_numbers(executor, "logits"), net.golden["train_logits"]), kLogits,
               net.float32_deviation("train_logits"), "logits of training");
  std::map<std::string, Tensor> gradients;
  for (const auto& [parameter, gradient] : executor.graph().gradients) {
    const std::string& name = executor.graph().value(parameter).name;
    gradients[name] = {executor.graph().desc(gradient).shape, read_numbers(executor, "gradient." + name)};
  }
  expect_digests(net, "gradients", gradients, kGradient, net.float32_deviation("gradients"));
}

void expect_cpu_parity(const Net& net) {
  Backend& backend = cpu_backend(2);
  State state(backend);
  Executor training(prune(rematerialize(net.training())), backend, state);
  Executor evaluation(net.forward(Mode::kEval), backend, state);
  write_parameters(state);

  write_batch(net, evaluation, 0);
  evaluation.run_micro_step(net.params(0));
  expect_close(vector_deviation(read_numbers(evaluation, "logits"), net.golden["eval_logits"]), kLogits,
               net.float32_deviation("eval_logits"), "logits of evaluation");

  double torch_deviation = 0;  // the worst so far: deviations grow, but not step by step
  for (int step = 0; step < net.config<int>("steps"); ++step) {
    write_batch(net, training, step);
    training.run_micro_step(net.params(step));
    if (step == 0) expect_first_step(net, training);
    training.run_update(net.params(step));
    const double loss = read_numbers(training, "loss")[0], expected = net.golden["losses"][step];
    torch_deviation =
        std::max(torch_deviation, net.golden["float32_deviation"]["losses"][step].get<double>());
    expect_close(std::abs(loss - expected) / expected, step == 0 ? kFirstLoss : kLaterLoss, torch_deviation,
                 fmt::format("loss of step {}", step));
  }
  std::map<std::string, Tensor> weights;
  for (const State::Entry& entry : state.entries()) {
    if (entry.kind != ValueKind::kOptimizer) weights[entry.name] = decode(state.read(entry.name), entry.desc);
  }
  expect_digests(net, "final_weights", weights, kWeights, net.float32_deviation("final_weights"));
}

TEST(TorchParity, CpuCifarResNet20) {
  expect_cpu_parity({"cifar_resnet20"});
}
TEST(TorchParity, CpuResNet18) {
  expect_cpu_parity({"resnet18"});
}
TEST(TorchParity, CpuResNet50) {
  expect_cpu_parity({"resnet50"});
}

}  // namespace
}  // namespace residuum
