// The cost report against the truth: whole steps run on the emulated GPU launch by launch, and the bytes that
// each launch's cost claims are held against the distinct bytes of device memory that the emulator saw its
// kernels read and write. Runs under the race detector, which is what sees every access.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>

#include "engine/backend/backend_passes.h"
#include "engine/exec/executor.h"
#include "engine/graph/image_windows.h"
#include "engine/graph/passes.h"
#include "models/zoo.h"
#include "tests/emulator/execution.h"
#include "tests/emulator/options.h"
#include "tests/emulator/traffic.h"
#include "tests/support/golden_data.h"
#include "tests/support/graph_run.h"
#include "tests/support/test_device.h"

namespace residuum {
namespace {

constexpr int64_t kBatch = 4, kSize = 8, kClasses = 10;

/// How far a launch's bytes may be from those seen: a part of them, and a few bytes that stand in no tensor.
struct Metric {
  std::string_view name, reason;
  double share;
  int64_t bytes;
};
constexpr Metric kCostError{
    "cost error",
    "the promise of the cost report; the bytes: kernels skip the padding of the step's "
    "values and of a block's partial loss",
    0.02, 4};

void expect_bytes(int64_t claimed, size_t seen, const std::string& what) {
  const auto truth = static_cast<int64_t>(seen);
  const double allowed =
      kCostError.share * static_cast<double>(truth) + static_cast<double>(kCostError.bytes);
  EXPECT_LE(static_cast<double>(std::abs(claimed - truth)), allowed)
      << what << ": claimed " << claimed << ", seen " << truth << "; metric '" << kCostError.name << "' ("
      << kCostError.reason << ")";
}

/// Records what kernels touch, for as long as it lives.
class Recording {
 public:
  Recording() { emulator::options().record_launches = true; }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording() {
    emulator::options().record_launches = false;
    emulator::clear_launch_records();
  }
};

std::string name_of(const Plan& plan, size_t g) {
  std::string text;
  for (const NodeId id : plan.groups[g].nodes)
    text += fmt::format("{} {}, ", plan.graph.node(id).name, op_name(plan.graph.node(id).op));
  return text;
}

void expect_launch(const Plan& plan, size_t g, const StepParams& params) {
  emulator::clear_launch_records();
  plan.launches[g]->run(params);
  test_backend().synchronize();
  emulator::Traffic seen;
  for (const emulator::Traffic& traffic : emulator::traffic_records()) {
    seen.bytes_read += traffic.bytes_read;
    seen.bytes_written += traffic.bytes_written;
  }
  const Cost cost = plan.launches[g]->cost();
  const std::string name = name_of(plan, g);
  EXPECT_EQ(cost.launches, std::ssize(emulator::traffic_records())) << name << "kernel launches";
  expect_bytes(cost.bytes_read, seen.bytes_read, name + "read");
  expect_bytes(cost.bytes_written, seen.bytes_written, name + "written");
}

/// Images, labels and, for crops, windows that lie inside of the images.
void write_inputs(Executor& executor) {
  const Graph& graph = executor.graph();
  const auto shape = [&](const char* name) { return graph.desc(*graph.find(name)).shape; };
  executor.write("images", encode(golden_images(0, shape("images")[0], shape("images")[1]), DType::kU8));
  if (graph.find("labels")) executor.write("labels", encode(golden_labels(0, kBatch, kClasses), DType::kI32));
  if (!graph.find("windows")) return;
  std::vector<int32_t> windows;
  for (int32_t image = 0; image < kBatch; ++image) windows.insert(windows.end(), {0, 0, image % 2});
  executor.write("windows", windows);
}

/// Every launch of a plan costs what it says; `micro_step` is that of every launch.
void expect_costs(const Graph& graph, const PlanOptions& options = {}, uint32_t micro_step = 0,
                  const std::function<bool(const Op&)>& is_left_out = {}) {
  State state(test_backend());
  Executor executor(graph, test_backend(), state, {options, 7, {}});
  write_inputs(executor);
  const Recording recording;
  const Plan& plan = executor.plan();
  Cost total;
  const StepParams params{.seed = 1, .step = 0, .micro_step = micro_step, .learning_rate = 0.1f};
  for (size_t g = 0; g < plan.launches.size(); ++g) {
    total += plan.launches[g]->cost();
    const auto& nodes = plan.groups[g].nodes;
    const bool left_out = is_left_out && std::any_of(nodes.begin(), nodes.end(), [&](NodeId id) {
                            return is_left_out(plan.graph.node(id).op);
                          });
    if (left_out) {
      plan.launches[g]->run(params);
      test_backend().synchronize();
    } else {
      expect_launch(plan, g, params);
    }
  }
  EXPECT_EQ(total.bytes_read, plan.cost().bytes_read);
  EXPECT_EQ(total.launches, plan.cost().launches);
}

// ---- nets ----

ModelOptions options_of(DType type) {
  ModelOptions options;
  options.batch = kBatch;
  options.image_size = kSize;
  options.classes = kClasses;
  options.activation = type;
  return options;
}

Graph basic_net(DType type) {
  return build_model("cifar_resnet8", options_of(type));
}

Graph pre_activation_net(DType type) {
  return build_model("cifar_preresnet8", options_of(type));
}

ValueId images_of(GraphBuilder& builder, int64_t size) {
  return builder.images(kBatch, size, size, 3, {0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f});
}

/// A stem with a max pool, bottlenecks with projections, one of them with groups and the stride on its 1x1.
Graph bottleneck_net(Mode mode, DType type) {
  GraphBuilder builder(mode, type);
  ValueId x = builder.conv("conv1", images_of(builder, 2 * kSize), 16, 7, {.stride = 2, .pad = 3});
  x = builder.max_pool(builder.relu(builder.batch_norm("bn1", x)), 3, 2, 1);
  BlockStyle style;
  style.kind = BlockKind::kBottleneck;
  x = residual_block(builder, "layer1.0", style, {.width = 8}, x);
  x = residual_block(builder, "layer1.1", style, {.width = 8}, x);
  style.stride_on_first = true;
  x = residual_block(builder, "layer2.0", style, {.width = 16, .stride = 2}, x);
  builder.classification_loss(builder.linear("fc", builder.global_avg_pool(x), kClasses, {.logits = true}),
                              0.1f);
  return builder.take();
}

/// What the nets above have not: gaps between windows, both kinds of option A, moved channels, gates of every
/// kind, a lone batch norm, groups, biases of convolutions, channels that are no whole units.
Graph mixed_net(Mode mode, DType type) {
  GraphBuilder builder(mode, type);
  ValueId x = builder.conv("conv1", images_of(builder, 11), 24, 3, {.stride = 1, .pad = 1, .bias = true});
  x = builder.activation(ActivationKind::kTanh, builder.batch_norm("bn1", x));
  const ValueId y = builder.activation(ActivationKind::kSigmoid, builder.scale(x, 0.5f, 0.25f));
  x = builder.dropout(builder.concat({builder.multiply(x, y), y, x}), 0.25f);
  x = builder.conv("conv2", x, 24, 3, {.stride = 1, .pad = 1, .groups = 3});
  x = builder.avg_pool(builder.relu(x), 2, 3, 0);
  x = builder.shortcut_a(x, 2, 40, ZeroChannels::kEnd);
  x = builder.relu(builder.conv("conv3", x, 21, 2, {.stride = 3, .pad = 1}));
  x = builder.shortcut_a(builder.max_pool(x, 1, 1, 0), 1, 25, ZeroChannels::kBothSides);
  builder.classification_loss(builder.linear("fc", builder.global_avg_pool(x), kClasses, {.logits = true}),
                              0.1f);
  return builder.take();
}

/// Crops smaller than the images.
Graph small_crop() {
  Graph graph;
  const ValueId images = graph.add_persistent("images", {DType::kU8, {kBatch, 16, 16, 3}}, ValueKind::kInput);
  const ValueId windows = graph.add_persistent("windows", {DType::kI32, {kBatch, 3}}, ValueKind::kInput);
  const ValueId cropped = graph.add_node("crop", CropFlip{9, 10}, {images, windows})[0];
  graph.outputs["dst"] = graph.add_node(
      "normalize", Normalize{{0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f}, DType::kBF16}, {cropped})[0];
  return graph;
}

/// As the trainer has them on CUDA.
TrainingPassOptions passes(DType type) {
  TrainingPassOptions options = backend_passes(test_backend());
  options.weight_copies = type != DType::kF32;
  options.update.loss_scale = type == DType::kF16 ? 1024 : 1;
  options.update.weight_decay = 1e-3f;
  options.update.ema_decay = 0.9f;
  options.update.clip_norm = 5;
  return options;
}

Graph trained(Graph forward, const TrainingPassOptions& options) {
  return run_passes(std::move(forward), training_passes(options));
}

TEST(CudaCost, TrainingSteps) {
  for (const DType type : {DType::kBF16, DType::kF32}) {
    SCOPED_TRACE(to_string(type));
    expect_costs(trained(basic_net(type), passes(type)));
    expect_costs(trained(pre_activation_net(type), passes(type)));
    expect_costs(trained(bottleneck_net(Mode::kTrain, type), passes(type)));
  }
}

/// Two blocks a stage, each with a pair of equal layers; the first stage has three of them.
TEST(CudaCost, WeightGradientsOfEqualLayers) {
  const Graph graph = trained(build_model("cifar_resnet14", options_of(DType::kBF16)), passes(DType::kBF16));
  const auto is_filter = [&](NodeId id) {
    return std::holds_alternative<ConvBackwardFilter>(graph.node(id).op);
  };
  std::vector<int64_t> together;
  for (const Group& group : test_backend().groups(graph)) {
    const int64_t filters = std::count_if(group.nodes.begin(), group.nodes.end(), is_filter);
    if (filters > 1) together.push_back(filters);
  }
  EXPECT_EQ(together, (std::vector<int64_t>{2, 2, 3}));
  expect_costs(graph);
}

TEST(CudaCost, AStepWithGramBatchNorm) {
  for (const DType type : {DType::kBF16, DType::kF32}) {
    SCOPED_TRACE(to_string(type));
    TrainingPassOptions options = passes(type);
    options.gram_batch_norm = true;
    expect_costs(trained(bottleneck_net(Mode::kTrain, type), options));
  }
}

TEST(CudaCost, AStepInF16WithAScaledLoss) {
  // The detector does not see the products (tests/emulator/CMakeLists.txt), which read and write what those
  // in bf16 do.
  expect_costs(trained(basic_net(DType::kF16), passes(DType::kF16)), {}, 0, [](const Op& op) {
    const std::string_view name = op_name(op);
    return name.starts_with("conv") || name.starts_with("linear");
  });
}

TEST(CudaCost, AStepThatRecomputesBlocks) {
  TrainingPassOptions options = passes(DType::kBF16);
  options.recompute = true;
  expect_costs(trained(basic_net(DType::kBF16), options));
}

TEST(CudaCost, AStepOfOneNodeALaunch) {
  expect_costs(trained(bottleneck_net(Mode::kTrain, DType::kBF16), passes(DType::kBF16)), {.group = false});
}

/// Without copies of the weights, each convolution rounds its own; without a limit of the norm, SGD reads
/// less of it.
TEST(CudaCost, AStepWithoutWeightCopiesAndClipping) {
  TrainingPassOptions options = passes(DType::kBF16);
  options.weight_copies = false;
  options.relu_masks = false;
  options.update.clip_norm = 0;
  expect_costs(trained(basic_net(DType::kBF16), options));
}

/// The second micro-step: it adds to the sums of the first.
TEST(CudaCost, AMicroStepThatAccumulates) {
  TrainingPassOptions options = passes(DType::kBF16);
  options.update.accumulation = 2;
  expect_costs(trained(basic_net(DType::kBF16), options), {}, 1);
}

TEST(CudaCost, StepsOfAllOtherOperations) {
  for (const DType type : {DType::kBF16, DType::kF32}) {
    SCOPED_TRACE(to_string(type));
    expect_costs(trained(mixed_net(Mode::kTrain, type), passes(type)));
    expect_costs(trained(mixed_net(Mode::kTrain, type), passes(type)), {.group = false});
  }
}

TEST(CudaCost, AStepWithFrozenStatistics) {
  expect_costs(trained(mixed_net(Mode::kEval, DType::kBF16), passes(DType::kBF16)));
}

TEST(CudaCost, Inference) {
  for (const DType type : {DType::kBF16, DType::kF32}) {
    SCOPED_TRACE(to_string(type));
    expect_costs(bottleneck_net(Mode::kEval, type));
  }
}

TEST(CudaCost, CropsOnTheDevice) {
  for (const PlanOptions& options : {PlanOptions{}, PlanOptions{.group = false}}) {
    expect_costs(trained(add_image_windows(basic_net(DType::kBF16)), passes(DType::kBF16)), options);
    expect_costs(small_crop(), options);
  }
}

/// Planned, not run: activation memory grows with the depth unless blocks are computed again.
TEST(CudaCost, ANetOf1202LayersFitsIn16GiB) {
  ModelOptions model = options_of(DType::kBF16);
  model.batch = 128;
  model.image_size = 32;
  TrainingPassOptions options = passes(DType::kBF16);
  options.recompute = true;
  const auto backend = make_planning_backend("cuda", {});
  const Plan plan = make_plan(trained(build_model("cifar_resnet1202", model), options), *backend);
  EXPECT_LE(plan.peak_bytes(), size_t{16} << 30);
}

}  // namespace
}  // namespace residuum
