// Launchers over lists of tensors, directly: chunks that start and end anywhere, low-precision copies of some
// tensors, clipping, and steps whose gradient is not finite.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/kernel_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using kernels::Chunk;
using kernels::TensorLists;
using reference::Tensor;

/// One element, odd counts, several chunks.
const std::vector<int64_t> kSizes = {1, 64, 3, 20001, 255, 8192};

/// Lists of tensors of kSizes in device memory, cut in chunks.
class Lists {
 public:
  explicit Lists(int32_t longest = kernels::kChunkElements) {
    for (size_t i = 0; i < kSizes.size(); ++i) {
      for (int64_t first = 0; first < kSizes[i]; first += longest) {
        const auto count = static_cast<int32_t>(std::min<int64_t>(longest, kSizes[i] - first));
        chunks_.push_back({static_cast<int32_t>(i), count, first});
      }
    }
  }

  /// The next role: values in [low, high), rounded to f32.
  const std::vector<Tensor>& role(double low, double high) {
    std::vector<Tensor> list;
    for (const int64_t size : kSizes) {
      const uint64_t seed = 100 * host_.size() + list.size();
      list.push_back(rounded_to(DType::kF32, uniform_tensor({size}, seed, low, high)));
      pointers_.push_back(test.floats(list.back()));
    }
    host_.push_back(list);
    return host_.back();
  }
  /// The next role: memory of `type` for every second tensor, null for the others.
  void copies(DType type) {
    for (size_t i = 0; i < kSizes.size(); ++i) {
      pointers_.push_back(i % 2 == 0 ? nullptr : test.output(type, {kSizes[i]}));
    }
  }
  TensorLists lists() {
    return {test.values(chunks_), test.values(pointers_), static_cast<int32_t>(chunks_.size()),
            static_cast<int32_t>(kSizes.size())};
  }
  void* pointer(size_t role, size_t tensor) const { return pointers_[role * kSizes.size() + tensor]; }
  Tensor found(size_t role, size_t tensor) const {
    return test.read(pointer(role, tensor), DType::kF32, {kSizes[tensor]});
  }
  int32_t chunks() const { return static_cast<int32_t>(chunks_.size()); }
  std::vector<std::vector<Tensor>>& host() { return host_; }
  bool unchanged() const {
    return std::all_of(pointers_.begin(), pointers_.end(),
                       [&](void* p) { return p == nullptr || test.unchanged(p); });
  }

  KernelCase test;

 private:
  std::vector<Chunk> chunks_;
  std::vector<void*> pointers_;
  std::vector<std::vector<Tensor>> host_;
};

/// `norm` first, then pointers to every tensor of every role, as the references want them.
std::vector<Tensor*> arguments(Tensor& norm, std::vector<std::vector<Tensor>>& roles) {
  std::vector<Tensor*> all{&norm};
  for (std::vector<Tensor>& list : roles) {
    for (Tensor& tensor : list) all.push_back(&tensor);
  }
  return all;
}

TEST(KernelUpdate, GradientNormOverChunksOfAnySize) {
  for (const int32_t longest : {kernels::kChunkElements, 1000, 37}) {
    Lists lists(longest);
    lists.role(-1, 1);
    std::vector<const Tensor*> all;
    for (const Tensor& g : lists.host()[0]) all.push_back(&g);
    float* const norm = lists.test.output<float>(2 * sizeof(float));
    void* const workspace = lists.test.workspace(kernels::gradient_norm_workspace(lists.chunks()));
    unsigned* const counter = lists.test.counter();
    const TensorLists on_device = lists.lists();
    lists.test.run([&] { kernels::gradient_norm(on_device, norm, workspace, counter, nullptr); });
    EXPECT_TRUE(matches(lists.test.read(norm, DType::kF32, {2}), reference::gradient_norm(all), kRoundedF32));
  }
}

TEST(KernelUpdate, OneBadGradientIsSeenAndLargeOnesAreNot) {
  for (const double value : {double{INFINITY}, double{-INFINITY}, double{NAN}, 3e38}) {
    Tensor gradient = uniform_tensor({100}, 1);
    gradient[99] = value;
    KernelCase test;
    const TensorLists lists{test.values<Chunk>({{0, 100, 0}}), test.values<void*>({test.floats(gradient)}), 1,
                            1};
    float* const norm = test.output<float>(2 * sizeof(float));
    void* const workspace = test.workspace(kernels::gradient_norm_workspace(1));
    unsigned* const counter = test.counter();
    test.run([&] { kernels::gradient_norm(lists, norm, workspace, counter, nullptr); });
    EXPECT_EQ(test.read(norm, DType::kF32, {2})[1], value == 3e38 ? 1 : 0) << value;
  }
}

TEST(KernelUpdate, NoGradientsAreFinite) {
  KernelCase test;
  float* const norm = test.output<float>(2 * sizeof(float));
  void* const workspace = test.workspace(kernels::gradient_norm_workspace(0));
  unsigned* const counter = test.counter();
  test.run([&] { kernels::gradient_norm({}, norm, workspace, counter, nullptr); });
  EXPECT_EQ(test.read(norm, DType::kF32, {2}).data, (std::vector<double>{0, 1}));
}

/// Chunks of 37 do not start at multiples of 16 bytes.
TEST(KernelUpdate, SgdClipsStepsAndCopies) {
  for (const int32_t longest : {kernels::kChunkElements, 37}) {
    for (const float clip : {0.0f, 0.25f, 1e6f}) {
      if (clip > 1 && under_race_detector()) continue;  // the accesses of the one before
      for (const DType copy : element_types()) {
        Lists lists(longest);
        lists.role(-1, 1), lists.role(-0.1, 0.1), lists.role(-3, 3);
        lists.copies(copy);
        SgdUpdate op{0.875f, clip != 0, clip, 0.5f, {}};
        for (size_t i = 0; i < kSizes.size(); ++i) op.weight_decay.push_back(0.01f * static_cast<float>(i));
        Tensor norm({2}, {7, 1});
        const kernels::StepValues step{1, 2, 0, 0.3f};
        kernels::SgdArgs args;
        args.momentum = op.momentum, args.nesterov = op.nesterov;
        args.clip_norm = op.clip_norm, args.gradient_scale = op.gradient_scale;
        args.weight_decay = lists.test.values(op.weight_decay);
        args.norm = lists.test.floats(norm);
        args.step = lists.test.values<kernels::StepValues>({step});
        args.copy_type = element_of(copy);
        const TensorLists on_device = lists.lists();
        lists.test.run([&] { kernels::sgd_update(on_device, args, nullptr); });

        reference::sgd_update(op, arguments(norm, lists.host()), {1, 2, 0, step.learning_rate});
        for (size_t i = 0; i < kSizes.size(); ++i) {
          SCOPED_TRACE(fmt::format("chunks of {}, clip {}, tensor {}", longest, clip, i));
          EXPECT_TRUE(matches(lists.found(0, i), lists.host()[0][i], kRoundedF32, 1)) << "weight";
          EXPECT_TRUE(matches(lists.found(1, i), lists.host()[1][i], kRoundedF32, 1)) << "momentum";
          EXPECT_TRUE(lists.test.unchanged(lists.pointer(2, i))) << "gradient";
          if (lists.pointer(3, i) == nullptr) continue;
          EXPECT_TRUE(matches(lists.test.read(lists.pointer(3, i), copy, {kSizes[i]}),
                              rounded_to(copy, lists.found(0, i)), kExact))
              << "copy";
        }
      }
    }
  }
}

TEST(KernelUpdate, AStepThatIsNotFiniteChangesNothing) {
  Lists lists;
  for (int i = 0; i < 4; ++i) lists.role(0, 1);
  const float* const norm = lists.test.values<float>({INFINITY, 0});
  const TensorLists on_device = lists.lists();
  kernels::SgdArgs args;
  args.weight_decay = lists.test.values(std::vector<float>(kSizes.size(), 0.1f));
  args.norm = norm;
  args.step = lists.test.values<kernels::StepValues>({{1, 2, 0, 0.3f}});
  args.copy_type = kernels::Element::kF32;
  const int64_t* const counts = lists.test.values(std::vector<int64_t>(kSizes.size(), 10));
  lists.test.run([&] {
    kernels::sgd_update(on_device, args, nullptr);
    kernels::ema_update(on_device, 0.5f, norm, nullptr);
    kernels::batch_norm_commit(on_device, {.momentum = 0.5f, .counts = counts, .norm = norm}, nullptr);
  });
  EXPECT_TRUE(lists.unchanged());
}

TEST(KernelUpdate, AccumulateStartsOnTheFirstMicroStep) {
  for (const uint32_t micro_step : {0u, 1u, 5u}) {
    Lists lists(1000);
    lists.role(-1, 1), lists.role(-1, 1);
    if (micro_step == 0) lists.host()[1].assign(kSizes.size(), Tensor());
    const TensorLists on_device = lists.lists();
    const auto* const step = lists.test.values<kernels::StepValues>({{1, 2, micro_step, 0.3f}});
    lists.test.run([&] { kernels::accumulate_gradient(on_device, {.step = step}, nullptr); });
    for (size_t i = 0; i < kSizes.size(); ++i) {
      const Tensor& g = lists.host()[0][i];
      const Tensor expected = micro_step == 0 ? g : reference::add(g, lists.host()[1][i]);
      EXPECT_TRUE(matches(lists.found(1, i), expected, kRoundedF32, 1)) << micro_step << ", tensor " << i;
    }
  }
}

TEST(KernelUpdate, EmaAndRunningStatistics) {
  for (const int32_t longest : {kernels::kChunkElements, 37}) {
    Tensor norm({2}, {3, 1});
    Lists ema(longest);
    ema.role(-1, 1), ema.role(-1, 1);
    const float* const finite = ema.test.floats(norm);
    const TensorLists averages = ema.lists();
    ema.test.run([&] { kernels::ema_update(averages, 0.999f, finite, nullptr); });
    reference::ema_update({0.999f}, arguments(norm, ema.host()));

    Lists batch(longest);
    for (int i = 0; i < 4; ++i) batch.role(0, 1);
    BatchNormCommit op{0.1f, 0.25f, {}};
    for (size_t i = 0; i < kSizes.size(); ++i) op.counts.push_back(static_cast<int64_t>(i * i * 1000 + 2));
    const float* const also_finite = batch.test.floats(norm);
    const int64_t* const counts = batch.test.values(op.counts);
    const TensorLists statistics = batch.lists();
    batch.test.run([&] {
      kernels::batch_norm_commit(
          statistics, {.momentum = op.momentum, .scale = op.scale, .counts = counts, .norm = also_finite},
          nullptr);
    });
    reference::batch_norm_commit(op, arguments(norm, batch.host()));

    for (size_t i = 0; i < kSizes.size(); ++i) {
      EXPECT_TRUE(matches(ema.found(1, i), ema.host()[1][i], kRoundedF32, 1)) << "average " << i;
      EXPECT_TRUE(matches(batch.found(2, i), batch.host()[2][i], kRoundedF32, 1)) << "mean " << i;
      EXPECT_TRUE(matches(batch.found(3, i), batch.host()[3][i], kRoundedF32, 1)) << "variance " << i;
    }
  }
}

}  // namespace
}  // namespace residuum
