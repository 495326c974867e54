// The laboratory on the CUDA backend: gates on gradients, deleted blocks and fixed gates are ordinary nodes
// there too. Whole nets on the CPU backend are the reference.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/lab/path_gradients.h"
#include "engine/lab/surgery.h"
#include "engine/lab/tied_units.h"
#include "tests/lab_net.h"

namespace residuum {
namespace {

double relative_difference(const std::vector<float>& found, const std::vector<float>& expected) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(static_cast<double>(found[i]) - static_cast<double>(expected[i]), 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  return std::sqrt(difference / norm);
}

TEST(CudaLab, PathsAndLesionsAgreeWithTheCpu) {
  LabNet cpu("cifar_resnet8", {}, cpu_backend(1)), cuda("cifar_resnet8", {}, test_backend());
  const SampleBatches samples = sample_batches(cpu.subject(), 4, 1, 1);
  PathProbe expected(cpu.subject(), samples, 1), found(cuda.subject(), samples, 1);
  expected.write(samples.batches[0]);
  found.write(samples.batches[0]);
  for (const std::vector<int>& branches : {std::vector<int>{}, {0, 2}, {0, 1, 2}}) {
    EXPECT_LT(relative_difference(found.along(branches), expected.along(branches)), 1e-4);
  }
  EXPECT_LT(relative_difference(found.whole(), expected.whole()), 1e-4);
  for (int block = 0; block < 2; ++block) {
    EXPECT_LT(relative_difference(cuda.logits(delete_block(cuda.graph(), block)),
                                  cpu.logits(delete_block(cpu.graph(), block))),
              1e-4);
  }
}

TEST(CudaLab, TiedUnitsPartOnlyWithAShortcut) {
  LabNet plain("cifar_plain8"), residual("cifar_resnet8");
  EXPECT_TRUE(tied_units(plain.subject(), "layer1.0", 1).moments[1].equal);
  EXPECT_FALSE(tied_units(residual.subject(), "layer1.0", 1).moments[1].equal);
}

}  // namespace
}  // namespace residuum
