// ptx_golden_gpu: the tests on a real GPU; with --record FILE, writes what it answers instead. Without a GPU
// it says so and ends with 77, which ctest calls skipped.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <exception>
#include <string_view>

#include "tests/ptx_golden/recording.h"

namespace residuum::ptx {
namespace {

constexpr int kSkipped = 77;

void record(const char* file) {
  cudaDeviceProp properties{};
  cudaGetDeviceProperties(&properties, 0);
  Recording recording{
      fmt::format("{}, compute capability {}.{}", properties.name, properties.major, properties.minor), {}};
  for (const PtxCase& question : ptx_cases()) {
    if (can_answer(question)) recording.answers[question.name] = ask(question);
  }
  write_recording(file, recording);
  fmt::print("{} cases of {} in {}\n", recording.answers.size(), recording.device, file);
}

}  // namespace
}  // namespace residuum::ptx

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  int devices = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&devices); status != cudaSuccess || devices == 0) {
    std::printf("skipped, no GPU: %s\n", cudaGetErrorString(status));
    return residuum::ptx::kSkipped;
  }
  try {
    if (argc == 3 && std::string_view(argv[1]) == "--record") {
      residuum::ptx::record(argv[2]);
      return 0;
    }
    return RUN_ALL_TESTS();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ptx_golden_gpu: %s\n", error.what());
    return 1;
  }
}
