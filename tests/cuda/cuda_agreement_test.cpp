// Whole training steps on CUDA: a small net's every value (activations, gradients, updated weights) is as
// close to the double references as on the CPU, joined into launches as a training run joins them and one
// node a launch; and a run through the executor, recorded as CUDA graphs and replayed, has one set of bits in
// every order of the emulator and ends where the CPU's run ends.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/backend/backend_passes.h"
#include "engine/exec/executor.h"
#include "engine/graph/passes.h"
#include "models/zoo.h"
#include "tests/support/backend_wrapper.h"
#include "tests/support/bottleneck_net.h"
#include "tests/support/compare.h"
#include "tests/support/golden_data.h"
#include "tests/support/graph_run.h"
#include "tests/support/test_device.h"

namespace residuum {
namespace {

using reference::Tensor;
using reference::Tensors;

constexpr int64_t kBatch = 4, kSize = 8, kClasses = 10;

/// How far values may be from the exact ones, as a part of their L2 norm: `factor` times as far as the CPU's
/// (or what it makes them of: a part of a tensor may miss the few elements that are off), or `floor` if that
/// is more. The CPU has no f16 and runs in bf16 instead, whose steps are eight times as
/// wide.
struct Metric {
  std::string_view name, reason;
  double floor, factor;
};
constexpr Metric kF32{"f32", "f32 sums over a dozen layers; the factor: other orders of adding", 2e-5, 4};
constexpr Metric kBF16{"bf16", "2^-8 a layer; a ReLU near zero that switches moves its whole gradient", 2e-2,
                       4};
constexpr Metric kF16{"f16", "2^-11 a layer; a ReLU near zero that switches moves its whole gradient", 1e-2,
                      1};

constexpr Metric k16BitRun{"16-bit run",
                           "ReLUs that switch, which is as the square root of a rounding, grown by each step",
                           2e-2, 4};
constexpr Metric kF32Run{"f32 run", "two f32 runs of some steps, grown by ReLUs that switch", 2e-3, 1};

const Metric& metric_of(DType type) {
  return type == DType::kF32 ? kF32 : type == DType::kBF16 ? kBF16 : kF16;
}
/// The type in which the CPU shows how far off a run in `type` may be.
DType cpu_type(DType type) {
  return type == DType::kF16 ? DType::kBF16 : type;
}

void expect_close(double found, const Metric& metric, double cpu, const std::string& what) {
  EXPECT_LE(found, std::max(metric.floor, metric.factor * cpu))
      << what << ": metric '" << metric.name << "' (" << metric.reason << "), the CPU is off by " << cpu;
}

// ---- the nets ----

ModelOptions options_of(DType type) {
  ModelOptions options;
  options.batch = kBatch;
  options.image_size = kSize;
  options.classes = kClasses;
  options.channels = 3;
  options.activation = type;
  return options;
}

Graph basic_net(DType type) {
  return build_model("cifar_resnet8", options_of(type));
}

Graph pre_activation_net(DType type) {
  return build_model("cifar_preresnet8", options_of(type));
}

/// What ResNet-50 is made of.
Graph bottlenecks(DType type) {
  return bottleneck_net(type, kBatch, 2 * kSize, kClasses);
}

struct NetCase {
  const char* name;
  Graph (*forward)(DType type);
};
constexpr NetCase kNets[] = {
    {"basic", basic_net}, {"pre-activation", pre_activation_net}, {"bottleneck", bottlenecks}};

/// As the trainer has them on CUDA.
TrainingPassOptions passes(DType type, int accumulation) {
  TrainingPassOptions options = backend_passes(test_backend());
  options.weight_copies = type != DType::kF32;
  options.update.loss_scale = type == DType::kF16 ? 1024 : 1;
  options.update.accumulation = accumulation;
  options.update.weight_decay = 1e-3f;
  options.update.ema_decay = 0.9f;
  options.update.clip_norm = 5;
  return options;
}

Tensor images(const Graph& graph, int step) {
  const Shape& shape = graph.desc(*graph.find("images")).shape;
  return golden_images(step, shape[0], shape[1]);
}

// ---- one step, value by value ----

/// Each floating point value after one step, nothing for those internal to a launch.
std::vector<std::optional<Tensor>> values_after_step(const Graph& graph, Backend& backend, Grouping grouping,
                                                     const Tensors& start, const StepParams& params) {
  GraphRun run(graph, backend, grouping);
  for (size_t id = 0; id < graph.values.size(); ++id) {
    if (graph.values[id].persistent()) run.write(static_cast<ValueId>(id), start[id]);
  }
  run.run(params);
  std::vector<bool> readable(graph.values.size(), true);
  for (const Group& group : run.groups()) {
    for (const ValueId id : group.internal) readable[static_cast<size_t>(id)] = false;
  }
  std::vector<std::optional<Tensor>> values(graph.values.size());
  for (size_t id = 0; id < graph.values.size(); ++id) {
    const Value& value = graph.values[id];
    if (!value.persistent() && value.producer == kNone) continue;  // a pass left it without a node
    const DType type = value.desc.dtype;
    if (type == DType::kU8 || type == DType::kI32 || !readable[id]) continue;
    values[id] = run.read(static_cast<ValueId>(id));
  }
  EXPECT_EQ(run.overruns(), std::vector<std::string>{});
  return values;
}

constexpr StepParams kParams{.seed = 1, .step = 0, .micro_step = 0, .learning_rate = 0.1f};

Tensors exact_step(const Graph& graph, const Tensors& start) {
  Tensors values = start;
  run_reference(graph, values, kParams);
  return values;
}

/// How far off each value of the graph, or one that its node reads, is on the CPU.
std::vector<double> cpu_deviations(const Graph& graph) {
  const Tensors start = golden_start(graph), exact = exact_step(graph, start);
  const auto found = values_after_step(graph, cpu_backend(2), Grouping::kSeparate, start, kParams);
  std::vector<double> deviations(found.size());
  for (size_t id = 0; id < found.size(); ++id) {
    if (found[id]) deviations[id] = deviation(*found[id], exact[id]);
  }
  const std::vector<double> own = deviations;
  for (const Node& node : graph.nodes) {
    for (const ValueId dst : node.outputs) {
      for (const ValueId src : node.inputs) {
        double& most = deviations[static_cast<size_t>(dst)];
        most = std::max(most, own[static_cast<size_t>(src)]);
      }
    }
  }
  return deviations;
}

/// `joining`: the backend whose launches are compared; one node a launch on it too when `separate`.
void expect_step(const NetCase& net, DType type, const TrainingPassOptions& options,
                 Backend& joining = test_backend(), bool separate = true) {
  const std::vector<double> cpu =
      cpu_deviations(run_passes(net.forward(cpu_type(type)), training_passes(options)));
  const Graph graph = run_passes(net.forward(type), training_passes(options));
  const Tensors start = golden_start(graph), exact = exact_step(graph, start);
  for (const Grouping grouping : {Grouping::kJoined, Grouping::kSeparate}) {
    if (grouping == Grouping::kSeparate && !separate) continue;
    const auto cuda = values_after_step(graph, joining, grouping, start, kParams);
    size_t compared = 0;
    for (size_t id = 0; id < cuda.size(); ++id) {
      if (!cuda[id]) continue;
      const NodeId producer = graph.values[id].producer;
      expect_close(deviation(*cuda[id], exact[id]), metric_of(type), cpu[id],
                   fmt::format("{} ({})", graph.values[id].name,
                               producer == kNone ? "persistent" : op_name(graph.node(producer).op)));
      ++compared;
    }
    EXPECT_GT(compared, graph.values.size() / 2) << "most values have memory of their own";
  }
}

TEST(CudaAgreement, EveryValueOfAStep) {
  for (const NetCase& net : kNets) {
    for (const DType type : activation_types()) {
      SCOPED_TRACE(fmt::format("{} {}", net.name, to_string(type)));
      expect_step(net, type, passes(type, 1));
    }
  }
}

/// One net of each family of the laboratory, and one with equal layers.
const NetCase kFamilies[] = {
    {"two blocks a stage", [](DType type) { return build_model("cifar_resnet14", options_of(type)); }},
    {"gated",
     [](DType type) {
       ModelOptions options = options_of(type);
       options.gate = ShortcutGate::kExclusive;
       options.gate_bias = -1;
       options.survival = 0.5;
       options.shortcut_dropout = 0.25;
       options.placement = Placement::kReluOnlyPreActivation;
       return build_model("cifar_resnet8", options);
     }},
    {"concatenated ReLU",
     [](DType type) {
       ModelOptions options = options_of(type);
       options.function = LayerFunction::kConcatRelu;
       options.sampled_blocks = 2;
       return build_model("cifar_resnet8", options);
     }},
    {"highway", [](DType type) { return build_model("mnist_highway3_24", options_of(type)); }},
    {"dense", [](DType type) { return build_model("cifar_densenet_bc10_4", options_of(type)); }},
};

TEST(CudaAgreement, EveryValueOfAStepOfEachFamily) {
  for (const NetCase& net : kFamilies) {
    SCOPED_TRACE(net.name);
    expect_step(net, DType::kBF16, passes(DType::kBF16, 1), test_backend(), false);
  }
}

TEST(CudaAgreement, EveryValueOfAStepWithoutAKindOfFusion) {
  const auto expect_without = [](const std::set<std::string>& off, bool gram) {
    const auto backend = make_backend("cuda", {.fusions_off = off});
    TrainingPassOptions options = passes(DType::kBF16, 1);
    options.gram_batch_norm = gram;
    options.absorbs = backend_passes(*backend).absorbs;
    expect_step(kNets[2], DType::kBF16, options, *backend, false);
  };
  std::set<std::string> all;
  for (const FusionKind& kind : test_backend().fusions()) {
    SCOPED_TRACE(kind.name);
    const bool of_gram = kind.name == "conv_source_concat" || kind.name == "conv_bias" ||
                         kind.name == "conv_apply" || kind.name == "conv_bias_gradient";
    expect_without({kind.name}, of_gram);
    all.insert(kind.name);
  }
  for (const bool gram : {false, true}) expect_without(all, gram);
}

/// Convolutions whose batch norm is known before them, and gradients that are read from two tensors.
TEST(CudaAgreement, EveryValueOfAStepWithGramBatchNorm) {
  for (const DType type : activation_types()) {
    SCOPED_TRACE(to_string(type));
    TrainingPassOptions options = passes(type, 1);
    options.gram_batch_norm = true;
    expect_step(kNets[2], type, options, test_backend(), type == DType::kF32);
  }
}

TEST(CudaAgreement, EveryValueOfAStepThatAccumulates) {
  for (const DType type : activation_types()) {
    SCOPED_TRACE(to_string(type));
    expect_step(kNets[0], type, passes(type, 2));
  }
}

TEST(CudaAgreement, EveryValueOfAStepThatRecomputesBlocks) {
  TrainingPassOptions options = passes(DType::kBF16, 1);
  options.recompute = true;
  expect_step(kNets[0], DType::kBF16, options);
}

// ---- runs through the executor ----

struct RunResult {
  std::vector<float> losses;
  std::map<std::string, std::vector<std::byte>> state;
  std::map<std::string, TensorDesc> learned;  ///< parameters and running statistics

  bool operator==(const RunResult& other) const { return losses == other.losses && state == other.state; }
};

RunResult run_steps(const Graph& graph, Backend& backend, int accumulation, const PlanOptions& plan = {}) {
  State state(backend);
  Executor executor(graph, backend, state, {plan, 7, {}});
  RunResult result;
  for (int step = 0; step < 2; ++step) {
    for (int micro = 0; micro < accumulation; ++micro) {
      const int batch = step * accumulation + micro;
      executor.write("images", encode(images(graph, batch), DType::kU8));
      executor.write("labels", encode(golden_labels(batch, kBatch, kClasses), DType::kI32));
      executor.run_micro_step({1, static_cast<uint64_t>(step), static_cast<uint32_t>(micro), 0.05f});
      result.losses.push_back(executor.read<float>("loss")[0]);
    }
    executor.run_update({1, static_cast<uint64_t>(step), 0, 0.05f});
  }
  for (const State::Entry& entry : state.entries()) {
    result.state[entry.name] = state.read(entry.name);
    if (entry.kind == ValueKind::kParameter || entry.kind == ValueKind::kBuffer)
      result.learned[entry.name] = entry.desc;
  }
  return result;
}

Graph training(const NetCase& net, DType type, int accumulation) {
  return run_passes(net.forward(type), training_passes(passes(type, accumulation)));
}

void expect_run(const NetCase& net, DType type, int accumulation) {
  const Graph graph = training(net, type, accumulation);
  std::optional<RunResult> first;
  for_each_variant([&](const Variant& variant) {
    const RunResult found = run_steps(graph, *variant.backend, accumulation);
    if (!first) first = found;
    EXPECT_TRUE(found == *first) << "other bits: " << variant.name;
    PlanOptions one_stream;
    one_stream.second_stream = false;
    EXPECT_TRUE(run_steps(graph, *variant.backend, accumulation, one_stream) == *first)
        << "other bits on one stream: " << variant.name;
  });
  const RunResult exact = run_steps(training(net, DType::kF32, accumulation), cpu_backend(2), accumulation),
                  cpu = run_steps(training(net, cpu_type(type), accumulation), cpu_backend(2), accumulation);
  // The CPU's run in f32 stands for the exact one; against itself it says nothing.
  const Metric& metric = type == DType::kF32 ? kF32Run : k16BitRun;
  for (const auto& [name, desc] : exact.learned) {
    const Tensor expected = decode(exact.state.at(name), desc);
    expect_close(deviation(decode(first->state.at(name), desc), expected), metric,
                 deviation(decode(cpu.state.at(name), desc), expected), name);
  }
  for (size_t i = 0; i < exact.losses.size(); ++i) {
    const auto off = [&](float loss) { return std::abs(loss / exact.losses[i] - 1); };
    expect_close(double{off(first->losses[i])}, metric, double{off(cpu.losses[i])},
                 fmt::format("loss {}", i));
  }
}

TEST(CudaAgreement, RunsThroughTheExecutor) {
  for (const NetCase& net : {kNets[0], kNets[2]}) {
    for (const DType type : activation_types()) {
      SCOPED_TRACE(fmt::format("{} {}", net.name, to_string(type)));
      expect_run(net, type, 1);
    }
  }
}

TEST(CudaAgreement, RunsThatAccumulate) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    SCOPED_TRACE(to_string(type));
    expect_run(kNets[0], type, 2);
  }
}

// ---- the second stream, and dependent launches ----

/// Forgets to wait for the second stream before the end of the program.
class ForgetfulBackend : public BackendWrapper {
 public:
  using BackendWrapper::BackendWrapper;
  std::unique_ptr<Program> record(std::vector<RecordedLaunch> launches) override {
    for (RecordedLaunch& recorded : launches) {
      beside_ += recorded.stream == kSideStream ? 1 : 0;
      if (recorded.stream == kMainStream) recorded.wait.reset();
    }
    return inner_.record(std::move(launches));
  }
  int beside() const { return beside_; }

 private:
  int beside_ = 0;
};

TEST(CudaAgreement, AMissingWaitForTheSecondStreamChangesBits) {
  if (!on_emulator()) GTEST_SKIP() << "a GPU's order of launches is not ours to choose";
  const Graph graph = training(kNets[0], DType::kF32, 1);
  const RunResult right = run_steps(graph, cuda_backend(), 1);
  bool seen = false;
  for (const EmulatorOrder& order : emulator_orders()) {
    order.select();
    ForgetfulBackend forgetful(cuda_backend());
    seen |= !(run_steps(graph, forgetful, 1) == right);
    EXPECT_GT(forgetful.beside(), 0);
  }
  emulator_orders().front().select();
  EXPECT_TRUE(seen) << "some order lets the main stream overwrite what the second still reads";
}

}  // namespace
}  // namespace residuum
