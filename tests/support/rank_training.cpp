#include "tests/support/rank_training.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/backend/backend_passes.h"
#include "engine/core/random.h"
#include "engine/graph/builder.h"

namespace residuum {
namespace {

Graph small_net(int64_t batch, int64_t size, bool batch_norms) {
  GraphBuilder builder(Mode::kTrain, DType::kF32);
  ValueId x = builder.images(batch, size, size, 3, {0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f});
  for (const char* layer : {"a", "b"}) {
    const std::string name = layer;
    x = builder.conv("conv_" + name, x, 8, 3, {.pad = 1, .bias = !batch_norms});
    if (batch_norms) x = builder.batch_norm("bn_" + name, x);
    x = builder.relu(x);
  }
  builder.classification_loss(builder.linear("fc", builder.global_avg_pool(x), 10, {.logits = true}), 0.1f);
  return builder.take();
}

Values values_of(const State& state) {
  Values values;
  for (const State::Entry& entry : state.entries()) {
    if (entry.kind == ValueKind::kSum || entry.kind == ValueKind::kCopy) continue;
    const std::vector<std::byte> bytes = state.read(entry.name);
    std::vector<float>& floats = values[entry.name];
    floats.resize(bytes.size() / sizeof(float));
    std::memcpy(floats.data(), bytes.data(), bytes.size());
  }
  return values;
}

}  // namespace

TrainingPassOptions rank_passes(const Backend& backend, int ranks, size_t bucket_bytes) {
  TrainingPassOptions options = backend_passes(backend);
  options.update.ranks = ranks;
  options.update.weight_decay = 1e-4f;
  options.bucket_bytes = bucket_bytes;
  return options;
}

void write_rows(Executor& executor, int64_t rows, int64_t first_row, uint64_t step) {
  const Graph& graph = executor.graph();
  const size_t row_bytes = graph.desc(*graph.find("images")).bytes() / static_cast<size_t>(rows);
  std::vector<uint8_t> images;
  std::vector<int32_t> labels;
  for (int64_t row = 0; row < rows; ++row) {
    RandomStream random(5, RandomPurpose::kAnalysis, step, static_cast<uint64_t>(first_row + row));
    labels.push_back(static_cast<int32_t>(random.uniform_below(10)));
    for (size_t i = 0; i < row_bytes; ++i) images.push_back(static_cast<uint8_t>(random.next_u32()));
  }
  executor.write("images", images);
  executor.write("labels", labels);
}

Values train_rank(const RankRun& run, int rank, Backend& backend, Exchange* exchange) {
  TrainingPassOptions options = rank_passes(backend, run.ranks, 600);
  options.sync_batch_norm = run.sync;
  options.update.accumulation = static_cast<int>(run.micro_steps);
  options.update.in_pairs = run.in_pairs;
  const int64_t rows = run.images / run.ranks / run.micro_steps;
  State state(backend);
  Executor executor(run_passes(small_net(rows, run.size, run.batch_norms), training_passes(options)), backend,
                    state, {{.exchange = exchange}, 3, {}});
  for (uint64_t step = 0; step < run.steps; ++step) {
    StepParams params{1, step, 0, 0.1f};
    for (int64_t micro = 0; micro < run.micro_steps; ++micro) {
      params.micro_step = static_cast<uint32_t>(micro);
      write_rows(executor, rows, (rank * run.micro_steps + micro) * rows, step);
      executor.run_micro_step(params);
    }
    executor.run_update(params);
  }
  return values_of(state);
}

void expect_close(const Values& found, const Values& expected, double tolerance) {
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [name, values] : expected) {
    double largest = 1e-6;
    for (const float value : values) largest = std::max(largest, std::abs(static_cast<double>(value)));
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_NEAR(found.at(name).at(i), values[i], tolerance * largest) << name << ", element " << i;
    }
  }
}

}  // namespace residuum
