// What tests of the autotuner and of its candidates share: an emulated device with the stand-ins of cuBLAS
// and cuDNN, and a group that has two candidates.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend/cuda/autotune/candidates.h"
#include "tests/emulator/runtime.h"
#include "tests/support/graph_chain.h"

namespace residuum::cuda {

/// The program's build gives the paths of the stand-ins.
class StandInTest : public ::testing::Test {
 protected:
  StandInTest() {
    setenv("RESIDUUM_CUDNN_LIBRARY", RESIDUUM_CUDNN_STAND_IN, 1);
    setenv("RESIDUUM_CUBLAS_LIBRARY", RESIDUUM_CUBLAS_STAND_IN, 1);
    emulator::reset();
    device_ = open_device(0);
    cudnn_ = open_cudnn();
  }
  ~StandInTest() override {
    cudnn_.reset();
    device_.reset();
    emulator::reset();
  }

  std::vector<Candidate> candidates(const GraphChain& chain, const Group& group) const {
    return candidates_of(chain.graph, group, {}, {cudnn_.get(), nullptr});
  }

  std::unique_ptr<Device> device_;
  std::unique_ptr<Cudnn> cudnn_;
};

/// A chain of batch_norm_apply and relu: one fused launch.
struct FusedApply {
  explicit FusedApply(int64_t channels = 16) {
    const ValueId src = chain.input("src", DType::kF32, uniform_tensor({2, 3, 3, channels}, 11));
    std::vector<ValueId> inputs = {src};
    for (const char* name : {"mean", "variance", "gamma", "beta"}) {
      inputs.push_back(chain.vector(name, channels, 0.2, 0.4));
    }
    const ValueId normal = chain.graph.add_node("bn", BatchNormApply{}, inputs)[0];
    chain.result(chain.graph.add_node("relu", Activation{}, {normal}));
    group = {{0, 1}, {normal}};
  }

  GraphChain chain;
  Group group;
};

inline std::vector<std::string> names(const std::vector<Candidate>& candidates) {
  std::vector<std::string> names;
  for (const Candidate& candidate : candidates) names.push_back(candidate.name);
  return names;
}

}  // namespace residuum::cuda
