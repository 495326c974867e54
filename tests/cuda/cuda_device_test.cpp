// The device layer of the CUDA backend on the emulated runtime, whose streams run as late and in as bad an
// order as events allow: copies that overlap, errors of every kind, and that nothing is left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "engine/backend/cuda/cuda_backend.h"
#include "engine/backend/cuda/device/device.h"
#include "engine/backend/cuda/launch/cuda_launch.h"
#include "engine/backend/cuda/launch/program.h"
#include "engine/core/check.h"
#include "tests/emulator/execution.h"
#include "tests/emulator/options.h"
#include "tests/emulator/runtime.h"

namespace residuum::cuda {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// The message of the Error(kDevice) that `call` throws, on one line.
template <typename Call>
std::string device_error(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

class CudaDeviceTest : public ::testing::Test {
 protected:
  CudaDeviceTest() { emulator::reset(); }
  ~CudaDeviceTest() override {
    EXPECT_EQ(emulator::device_bytes(), 0u) << "memory left on the device";
    EXPECT_EQ(emulator::pinned_bytes(), 0u) << "pinned memory left";
    EXPECT_EQ(emulator::live_handles(), 0) << "streams, events or graphs left";
    emulator::reset();
  }
};

/// A launch that appends the value at `src` to the list at `dst`, whose first element counts.
std::unique_ptr<CudaLaunch> append_launch(Device& device) {
  Step step;
  step.inputs = {0};
  step.outputs = {1};
  step.enqueue = [](const Bound& bound) {
    const auto* const src = reinterpret_cast<const int32_t*>(bound.in[0]);
    auto* const dst = reinterpret_cast<int32_t*>(bound.out[0]);
    emulator::enqueue(bound.stream, [=] { dst[++dst[0]] = *src; });
  };
  return std::make_unique<CudaLaunch>(&device, "append", std::vector<Step>{std::move(step)});
}

class CudaStreamOrderTest : public CudaDeviceTest,
                            public ::testing::WithParamInterface<emulator::StreamOrder> {
 protected:
  CudaStreamOrderTest() { emulator::set_stream_order(GetParam(), 17); }
};
std::string order_name(const ::testing::TestParamInfo<emulator::StreamOrder>& info) {
  constexpr const char* kNames[] = {"forward", "reverse", "random"};
  return kNames[static_cast<size_t>(info.param)];
}
INSTANTIATE_TEST_SUITE_P(Orders, CudaStreamOrderTest,
                         ::testing::Values(emulator::StreamOrder::kForward, emulator::StreamOrder::kReverse,
                                           emulator::StreamOrder::kRandom),
                         order_name);

TEST_P(CudaStreamOrderTest, EveryStepSeesTheInputUploadedForIt) {
  constexpr int32_t kSteps = 20;
  const auto device = open_device(0);
  const auto src = device->allocate(sizeof(int32_t)), dst = device->allocate((kSteps + 1) * sizeof(int32_t));
  const auto launch = append_launch(*device);
  launch->bind(std::vector<std::byte*>{src->data(), dst->data()}, nullptr);
  std::vector<std::unique_ptr<Download>> downloads;
  for (int32_t i = 1; i <= kSteps; ++i) {
    int32_t value = i;
    device->upload(src->data(), &value, sizeof(value));
    value = -1;  // the caller may reuse it at once
    launch->run({});
    downloads.push_back(device->download(dst->data(), sizeof(int32_t)));
  }
  for (int32_t i = 1; i <= kSteps; ++i) {
    int32_t count = 0;
    std::memcpy(&count, downloads[static_cast<size_t>(i - 1)]->wait().data(), sizeof(count));
    EXPECT_EQ(count, i) << "a download shows the moment it was asked for";
  }
  std::vector<int32_t> list(kSteps + 1), expected(kSteps + 1);
  device->copy_to_host(list.data(), dst->data(), list.size() * sizeof(int32_t));
  std::iota(expected.begin(), expected.end(), 0);
  expected[0] = kSteps;
  EXPECT_EQ(list, expected);
}

TEST_P(CudaStreamOrderTest, AProgramIsRecordedOnceAndSeesTheValuesOfEachStep) {
  constexpr int32_t kSteps = 5;
  const auto device = open_device(0);
  const auto dst = device->allocate((kSteps + 1) * sizeof(float));
  Step step;
  step.outputs = {0};
  step.enqueue = [](const Bound& bound) {
    auto* const rates = reinterpret_cast<float*>(bound.out[0]);
    emulator::enqueue(bound.stream,
                      [=, values = bound.step] { rates[values->step] = values->learning_rate; });
  };
  CudaLaunch launch(device.get(), "rates", {std::move(step)});
  launch.bind(std::vector<std::byte*>{dst->data()}, nullptr);
  GraphProgram program(*device, {RecordedLaunch{&launch, 0, {}}}, true);
  for (int32_t i = 0; i < kSteps; ++i) {
    program.run({1, static_cast<uint64_t>(i), 0, 0.5f * static_cast<float>(i)});
  }
  std::vector<float> rates(kSteps);
  device->copy_to_host(rates.data(), dst->data(), rates.size() * sizeof(float));
  EXPECT_THAT(rates, ::testing::ElementsAre(0, 0.5f, 1, 1.5f, 2));
  EXPECT_EQ(emulator::call_count("cudaGraphInstantiate"), 1);
  EXPECT_EQ(emulator::call_count("launch"), 1);
  EXPECT_EQ(emulator::call_count("cudaGraphLaunch"), kSteps);
}

TEST_F(CudaDeviceTest, StepsTakeNoMemoryAfterTheFirstTwo) {
  const auto device = open_device(0);
  const auto memory = device->allocate(4096);
  const std::vector<std::byte> input(4096);
  const auto step = [&](uint64_t i) {
    device->upload(memory->data(), input.data(), input.size());
    device->set_step({0, i, 0, 0});
    device->download(memory->data(), 64)->wait();
  };
  step(0);
  step(1);
  const int allocations = emulator::call_count("cudaMalloc") + emulator::call_count("cudaMallocHost");
  for (uint64_t i = 2; i < 10; ++i) step(i);
  EXPECT_EQ(emulator::call_count("cudaMalloc") + emulator::call_count("cudaMallocHost"), allocations);
}

TEST_F(CudaDeviceTest, SaysWhatItIs) {
  EXPECT_EQ(open_device(0)->describe(),
            "Emulated GPU, sm_90, 132 multiprocessors, 0.25 GiB, driver 13.0, runtime 13.0");
}

TEST_F(CudaDeviceTest, MemoryIsZeroedAndItsEndNamesWhatIsFree) {
  emulator::set_memory(1 << 20);
  const auto device = open_device(0);
  const auto memory = device->allocate(1000);
  std::vector<uint8_t> bytes(1000, 1);
  device->copy_to_host(bytes.data(), memory->data(), bytes.size());
  EXPECT_EQ(bytes, std::vector<uint8_t>(1000, 0));
  try {
    device->allocate(2 << 20);
    FAIL() << "there is 1 MiB";
  } catch (const OutOfMemory& error) {
    EXPECT_THAT(error.what(),
                AllOf(HasSubstr("2097152 bytes"), HasSubstr(std::to_string(device->free_bytes()))));
  }
  EXPECT_EQ(device->allocate(1000)->bytes(), 1000u) << "the device can still be used";
}

TEST_F(CudaDeviceTest, EveryKindOfAbsenceIsOneClearLine) {
  const auto open = [] { open_device(0); };
  emulator::set_driver(cudaErrorInsufficientDriver, 0);
  EXPECT_THAT(device_error(open), HasSubstr("no NVIDIA driver"));
  emulator::set_driver(cudaErrorInsufficientDriver, 12040);
  EXPECT_THAT(device_error(open), AllOf(HasSubstr("supports CUDA 12.4"), HasSubstr("needs CUDA 13.0")));
  emulator::reset();
  emulator::set_device_count(0);
  EXPECT_THAT(device_error(open), HasSubstr("no GPU"));
  emulator::reset();
  emulator::set_compute_capability(7, 5);
  EXPECT_THAT(device_error(open), AllOf(HasSubstr("7.5"), HasSubstr("8.0 or later")));
  emulator::reset();
  EXPECT_THAT(device_error([] { open_device(3); }), AllOf(HasSubstr("GPU 3"), HasSubstr("has 1")));
}

TEST_F(CudaDeviceTest, AnErrorThatBreaksTheContextIsWhatEveryLaterCallSays) {
  const auto device = open_device(0);
  const auto memory = device->allocate(256);
  emulator::fail_call("cudaStreamSynchronize", 1, cudaErrorIllegalAddress);
  EXPECT_THAT(device_error([&] { device->synchronize(); }),
              AllOf(HasSubstr("cudaErrorIllegalAddress"), HasSubstr("can no longer be used")));
  int value = 0;
  EXPECT_THAT(device_error([&] { device->allocate(16); }), HasSubstr("cudaErrorIllegalAddress"));
  EXPECT_THAT(device_error([&] { device->copy_to_host(&value, memory->data(), sizeof(value)); }),
              HasSubstr("cudaErrorIllegalAddress"));
  EXPECT_THAT(device_error([&] { device->upload(memory->data(), &value, sizeof(value)); }),
              HasSubstr("cudaErrorIllegalAddress"));
  emulator::reset();  // what nobody can release any more
}

TEST_P(CudaStreamOrderTest, AProgramOfTwoStreamsKeepsItsWaits) {
  const auto device = open_device(0);
  std::vector<int> ran;
  std::vector<std::unique_ptr<CudaLaunch>> launches;
  for (int i = 0; i < 6; ++i) {
    Step step;
    step.enqueue = [&ran, i](const Bound& bound) {
      emulator::enqueue(bound.stream, [&ran, i] { ran.push_back(i); });
    };
    launches.push_back(
        std::make_unique<CudaLaunch>(device.get(), "note", std::vector<Step>{std::move(step)}));
    launches.back()->bind({}, nullptr);
  }
  const auto on = [&](size_t i, int stream, std::optional<size_t> wait) {
    return RecordedLaunch{launches[i].get(), stream, wait};
  };
  // 0 -> 2 -> 3 -> 5 on the main stream, 1 -> 4 beside it; 1 is awaited by 3, 4 by the end alone.
  GraphProgram program(
      *device, {on(0, 0, {}), on(1, 1, 0), on(2, 0, {}), on(3, 0, 1), on(4, 1, 3), on(5, 0, {})}, true);
  const auto place = [&](int launch) { return std::find(ran.begin(), ran.end(), launch) - ran.begin(); };
  for (int repeat = 0; repeat < 8; ++repeat) {
    ran.clear();
    program.run({});
    std::vector<std::byte> memory(16);
    const auto copied = device->allocate(memory.size());
    device->copy_to_host(memory.data(), copied->data(), memory.size());
    ASSERT_EQ(ran.size(), 6u) << "the program ends when all are done";
    const std::vector<std::pair<int, int>> ordered = {{0, 1}, {0, 2}, {2, 3}, {1, 3}, {3, 4}, {3, 5}};
    for (const auto& [first, second] : ordered)
      EXPECT_LT(place(first), place(second)) << first << " and " << second;
    if (GetParam() == emulator::StreamOrder::kReverse) {
      EXPECT_LT(place(2), place(1)) << "nothing orders these";
    }
  }
}

/// Which launches of a program of two streams are dependent ones.
std::vector<bool> dependent_launches(Device& device, bool allowed) {
  static constexpr kernels::Rows kRows{1, 4, kernels::Element::kF32};
  const auto memory = device.allocate(64);
  std::vector<std::unique_ptr<CudaLaunch>> launches;
  for (int i = 0; i < 4; ++i) {
    Step step;
    step.outputs = {0};
    step.enqueue = [](const Bound& bound) {
      for (int kernel = 0; kernel < 2; ++kernel) {
        kernels::add(kRows, bound.out[0], bound.out[0], bound.out[0], bound.stream);
      }
    };
    launches.push_back(std::make_unique<CudaLaunch>(&device, "add", std::vector<Step>{std::move(step)}));
    launches.back()->bind(std::vector<std::byte*>{memory->data() + (i == 1 ? 16 : 0)}, nullptr);
  }
  const std::vector<RecordedLaunch> recorded = {{launches[0].get(), 0, {}},
                                                {launches[1].get(), 1, 0},
                                                {launches[2].get(), 0, {}},
                                                {launches[3].get(), 0, 1}};
  GraphProgram program(device, recorded, allowed);
  emulator::options().record_launches = true;
  emulator::clear_launch_records();
  program.run({});
  device.synchronize();
  emulator::options().record_launches = false;
  std::vector<bool> dependent;
  for (const emulator::Launch& launch : emulator::launch_records()) dependent.push_back(launch.dependent);
  return dependent;
}

TEST_F(CudaDeviceTest, ALaunchBehindAWaitOrAtTheStartIsAnOrdinaryOne) {
  const auto device = open_device(0);
  EXPECT_THAT(dependent_launches(*device, true),
              ::testing::ElementsAre(false, true, /*side*/ false, true, true, true, /*waits*/ false, true));
  EXPECT_THAT(dependent_launches(*device, false), ::testing::Each(false));
}

TEST_F(CudaDeviceTest, AFaultOfAKernelIsAnErrorOfTheNextWait) {
  const auto device = open_device(0);
  emulator::enqueue(device->stream(0), [] { throw std::runtime_error("index 7 of 4"); });
  EXPECT_THAT(device_error([&] { device->synchronize(); }), HasSubstr("index 7 of 4"));
  EXPECT_THROW(emulator::drain(), std::runtime_error);
}

/// A launch of two kernels; `between` happens after the first.
CudaLaunch two_kernels(Device& device, std::function<void()> between) {
  Step step;
  step.enqueue = [between = std::move(between)](const Bound& bound) {
    emulator::enqueue(bound.stream, [] {});
    between();
    emulator::enqueue(bound.stream, [] {});
  };
  CudaLaunch launch(&device, "conv1 conv", {std::move(step)});
  launch.bind({}, nullptr);
  return launch;
}

TEST_F(CudaDeviceTest, AFailureInsideACaptureLeavesNothingHalfCaptured) {
  const auto device = open_device(0);
  bool fail_now = true;
  const std::vector<std::pair<const char*, std::function<void()>>> failures = {
      {"too many resources", [] { emulator::fail_call("launch", 1, cudaErrorLaunchOutOfResources); }},
      {"permitted", [&] { static_cast<void>(device->allocate(16)); }},
      {"permitted", [&] { device->synchronize(); }},
      {"previous error", [] { cudaDeviceSynchronize(); }},
  };
  for (const auto& [message, failure] : failures) {
    fail_now = true;
    CudaLaunch launch = two_kernels(*device, [&] {
      if (fail_now) failure();
    });
    GraphProgram program(*device, {RecordedLaunch{&launch, 0, {}}}, true);
    EXPECT_THAT(device_error([&] { program.run({}); }), HasSubstr(message));
    EXPECT_EQ(emulator::call_count("cudaGraphLaunch"), 0);
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusActive;
    cudaStreamIsCapturing(device->stream(0), &status);
    EXPECT_EQ(status, cudaStreamCaptureStatusNone);
    device->synchronize();
  }
  fail_now = false;
  CudaLaunch launch = two_kernels(*device, [] {});
  GraphProgram program(*device, {RecordedLaunch{&launch, 0, {}}}, true);
  program.run({});
  EXPECT_EQ(emulator::call_count("cudaGraphLaunch"), 1);
}

TEST_F(CudaDeviceTest, ALaunchThatIsRefusedIsNamed) {
  const auto device = open_device(0);
  CudaLaunch launch = two_kernels(*device, [] {});
  emulator::fail_call("launch", 2, cudaErrorInvalidValue);
  EXPECT_THAT(device_error([&] { launch.run({}); }), HasSubstr("'conv1 conv'"));
}

TEST_F(CudaDeviceTest, ConstantsAndCountersAreReadyWhenBound) {
  const auto device = open_device(0);
  const auto out = device->allocate(2 * sizeof(int32_t));
  Step step;
  step.outputs = {0};
  step.scratch_bytes = 100;
  step.constants = [](const Bound& bound) {
    EXPECT_NE(bound.out[0], nullptr);
    const int32_t value = 42;
    std::vector<std::byte> bytes(sizeof(value));
    std::memcpy(bytes.data(), &value, sizeof(value));
    return bytes;
  };
  step.enqueue = [](const Bound& bound) {
    emulator::enqueue(bound.stream, [=] {
      std::memcpy(bound.out[0], bound.constants, sizeof(int32_t));
      std::memcpy(bound.out[0] + sizeof(int32_t), bound.counter, sizeof(int32_t));
    });
  };
  CudaLaunch launch(device.get(), "constants", {step, step});
  EXPECT_EQ(launch.scratch_bytes(), 256u) << "steps run one after the other and share their scratch";
  launch.bind(std::vector<std::byte*>{out->data()}, nullptr);
  launch.run({});
  std::vector<int32_t> values(2, -1);
  device->copy_to_host(values.data(), out->data(), 2 * sizeof(int32_t));
  EXPECT_THAT(values, ::testing::ElementsAre(42, 0));
}

TEST_F(CudaDeviceTest, APlanWithoutAGpuCannotBeBound) {
  CudaLaunch launch(nullptr, "conv1 conv", {});
  EXPECT_THAT(device_error([&] { launch.bind({}, nullptr); }), HasSubstr("'conv1 conv'"));
  EXPECT_THAT(device_error([&] { launch.run({}); }), HasSubstr("without a GPU"));
}

}  // namespace
}  // namespace residuum::cuda
