// What the CPU backend tells of itself and of what it is asked to compute.
#include "engine/backend/cpu/cpu_backend.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>

#include "engine/backend/cpu/simd.h"
#include "tests/support/log_capture.h"

namespace residuum::cpu {
namespace {

Graph relu_of(DType type) {
  Graph graph;
  const ValueId src = graph.add_persistent("src", {type, {2, 3, 3, 8}}, ValueKind::kInput);
  graph.outputs["dst"] = graph.add_node("relu", Activation{ActivationKind::kRelu}, {src})[0];
  return graph;
}

/// What is logged when a backend prepares the same launch twice.
std::string told_of(DType type) {
  const auto backend = make_cpu_backend({});
  const Graph graph = relu_of(type);
  const LogCapture log;
  for (int time = 0; time < 2; ++time) backend->prepare(graph, backend->groups(graph).at(0));
  return log.text();
}

TEST(CpuBackend, TellsOnceOfBf16WithoutInstructionsForIt) {
  const bool has_instructions = simd_level() == std::string_view("avx512_bf16");
  const std::string told = told_of(DType::kBF16);
  const size_t first = told.find("no instructions for bf16");
  EXPECT_EQ(first != std::string::npos, !has_instructions) << told;
  if (first != std::string::npos) {
    EXPECT_EQ(told.find("no instructions for bf16", first + 1), std::string::npos) << told;
  }
  EXPECT_EQ(told_of(DType::kF32), "");
}

TEST(CpuBackend, DescribesProcessorThreadsAndLoops) {
  BackendOptions options;
  for (const auto& [threads, text] : {std::pair{1, ", 1 thread, "}, std::pair{3, ", 3 threads, "}}) {
    options.threads = threads;
    const std::string description = make_cpu_backend(options)->describe();
    EXPECT_NE(description.find(text), std::string::npos) << description;
    EXPECT_NE(description.find(simd_level()), std::string::npos) << description;
  }
}

}  // namespace
}  // namespace residuum::cpu
