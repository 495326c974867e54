// The emulated CUDA runtime behaves as the documentation of the real one says, and takes the liberties that
// it allows: late copies, any order between streams without an event.
#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "kernels/launch.h"
#include "tests/emulator/runtime.h"

namespace residuum::emulator {
namespace {

class CudaRuntimeTest : public ::testing::Test {
 protected:
  CudaRuntimeTest() { reset(); }
  ~CudaRuntimeTest() override { reset(); }

  static int32_t* device_ints(size_t count) {
    void* address = nullptr;
    EXPECT_EQ(cudaMalloc(&address, count * sizeof(int32_t)), cudaSuccess);
    return static_cast<int32_t*>(address);
  }
  static int32_t* pinned_ints(size_t count) {
    void* address = nullptr;
    EXPECT_EQ(cudaMallocHost(&address, count * sizeof(int32_t)), cudaSuccess);
    return static_cast<int32_t*>(address);
  }
  static cudaStream_t make_stream(unsigned flags = cudaStreamNonBlocking) {
    cudaStream_t stream = nullptr;
    EXPECT_EQ(cudaStreamCreateWithFlags(&stream, flags), cudaSuccess);
    return stream;
  }
  static cudaEvent_t make_event() {
    cudaEvent_t event = nullptr;
    EXPECT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
    return event;
  }
  static int32_t read(const int32_t* device) {
    int32_t value = 0;
    EXPECT_EQ(cudaMemcpy(&value, device, sizeof(value), cudaMemcpyDeviceToHost), cudaSuccess);
    return value;
  }
};

TEST_F(CudaRuntimeTest, FreshMemoryIsPoisonedAndBlocksHaveTheirExactSize) {
  int32_t* const memory = device_ints(3);
  EXPECT_EQ(read(memory), -1);
  int32_t value = 0;
  EXPECT_EQ(cudaMemcpy(memory + 2, &value, 4, cudaMemcpyHostToDevice), cudaSuccess);
  EXPECT_EQ(cudaMemcpy(memory + 3, &value, 4, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(&value, memory + 2, 8, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(&value, &value, 4, cudaMemcpyHostToDevice), cudaErrorInvalidValue)
      << "host memory is not the device's";
  EXPECT_EQ(cudaFree(memory + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
  EXPECT_EQ(cudaFree(memory), cudaErrorInvalidValue) << "freed twice";
  EXPECT_EQ(cudaFree(nullptr), cudaSuccess);
}

TEST_F(CudaRuntimeTest, MemoryEnds) {
  set_memory(1000);
  void* block = nullptr;
  EXPECT_EQ(cudaMalloc(&block, 600), cudaSuccess);
  void* another = nullptr;
  EXPECT_EQ(cudaMalloc(&another, 600), cudaErrorMemoryAllocation);
  size_t free = 0, total = 0;
  EXPECT_EQ(cudaMemGetInfo(&free, &total), cudaSuccess);
  EXPECT_EQ(free, 400u);
  EXPECT_EQ(total, 1000u);
  EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation) << "the last error stays until it is asked for";
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(CudaRuntimeTest, PinnedMemoryIsReadWhenTheCopyRunsPageableAtOnce) {
  const cudaStream_t stream = make_stream();
  int32_t* const memory = device_ints(2);
  int32_t* const pinned = pinned_ints(1);
  int32_t pageable = 1;
  *pinned = 1;
  EXPECT_EQ(cudaMemcpyAsync(memory, pinned, 4, cudaMemcpyHostToDevice, stream), cudaSuccess);
  EXPECT_EQ(cudaMemcpyAsync(memory + 1, &pageable, 4, cudaMemcpyHostToDevice, stream), cudaSuccess);
  *pinned = pageable = 2;
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(read(memory), 2) << "the buffer was used again too early";
  EXPECT_EQ(read(memory + 1), 1);
}

TEST_F(CudaRuntimeTest, SynchronousCopiesDoNotWaitForNonBlockingStreams) {
  int32_t* const memory = device_ints(1);
  EXPECT_EQ(cudaMemset(memory, 0, 4), cudaSuccess);
  const cudaStream_t apart = make_stream(cudaStreamNonBlocking);
  enqueue(apart, [=] { *memory = 5; });
  EXPECT_EQ(read(memory), 0);
  const cudaStream_t blocking = make_stream(cudaStreamDefault);
  enqueue(blocking, [=] { *memory = 6; });
  EXPECT_EQ(read(memory), 6);
}

/// Streams a and b write to one place; the value that stays tells which came last.
int32_t last_writer(StreamOrder order, bool with_event) {
  reset();
  set_stream_order(order);
  int32_t value = 0;
  cudaStream_t a = nullptr, b = nullptr;
  cudaEvent_t event = nullptr;
  cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking);
  cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  enqueue(a, [&] { value = 1; });
  cudaEventRecord(event, a);
  if (with_event) cudaStreamWaitEvent(b, event, 0);
  enqueue(b, [&] { value = 2; });
  cudaDeviceSynchronize();
  return value;
}

TEST_F(CudaRuntimeTest, OnlyAnEventOrdersTwoStreams) {
  EXPECT_EQ(last_writer(StreamOrder::kForward, false), 2);
  EXPECT_EQ(last_writer(StreamOrder::kReverse, false), 1);
  EXPECT_EQ(last_writer(StreamOrder::kForward, true), 2);
  EXPECT_EQ(last_writer(StreamOrder::kReverse, true), 2);
}

TEST_F(CudaRuntimeTest, NothingRunsBeforeSomethingWaits) {
  const cudaStream_t stream = make_stream();
  const cudaEvent_t event = make_event();
  int done = 0;
  enqueue(stream, [&] { ++done; });
  EXPECT_EQ(cudaEventRecord(event, stream), cudaSuccess);
  enqueue(stream, [&] { ++done; });
  EXPECT_EQ(cudaEventQuery(event), cudaErrorNotReady);
  EXPECT_EQ(done, 0);
  EXPECT_EQ(cudaEventSynchronize(event), cudaSuccess);
  EXPECT_EQ(done, 1);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(done, 2);
}

TEST_F(CudaRuntimeTest, ACapturedGraphKeepsTheOrderOfEventsAcrossStreams) {
  for (const StreamOrder order : {StreamOrder::kForward, StreamOrder::kReverse}) {
    reset();
    set_stream_order(order);
    const cudaStream_t a = make_stream(), b = make_stream();
    const cudaEvent_t fork = make_event(), join = make_event();
    std::vector<int> ran;
    EXPECT_EQ(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal), cudaSuccess);
    enqueue(a, [&] { ran.push_back(1); });
    EXPECT_EQ(cudaEventRecord(fork, a), cudaSuccess);
    EXPECT_EQ(cudaStreamWaitEvent(b, fork, 0), cudaSuccess);
    enqueue(b, [&] { ran.push_back(2); });
    enqueue(a, [&] { ran.push_back(3); });
    EXPECT_EQ(cudaEventRecord(join, b), cudaSuccess);
    EXPECT_EQ(cudaStreamWaitEvent(a, join, 0), cudaSuccess);
    enqueue(a, [&] { ran.push_back(4); });
    cudaGraph_t graph = nullptr;
    ASSERT_EQ(cudaStreamEndCapture(a, &graph), cudaSuccess);
    size_t nodes = 0;
    EXPECT_EQ(cudaGraphGetNodes(graph, nullptr, &nodes), cudaSuccess);
    EXPECT_EQ(nodes, 4u);
    cudaGraphExec_t exec = nullptr;
    EXPECT_EQ(cudaGraphInstantiate(&exec, graph, 0), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
    EXPECT_TRUE(ran.empty()) << "capturing runs nothing";
    EXPECT_EQ(cudaGraphLaunch(exec, a), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(a), cudaSuccess);
    EXPECT_EQ(ran, order == StreamOrder::kForward ? std::vector({1, 2, 3, 4}) : std::vector({1, 3, 2, 4}));
    EXPECT_EQ(cudaGraphExecDestroy(exec), cudaSuccess);
  }
}

TEST_F(CudaRuntimeTest, WhatACaptureForbidsEndsIt) {
  const cudaStream_t stream = make_stream();
  void* address = nullptr;
  int32_t value = 0;
  int32_t* const memory = device_ints(1);
  const std::vector<std::function<cudaError_t()>> forbidden = {
      [&] { return cudaMalloc(&address, 16); },
      [&] { return cudaMallocHost(&address, 16); },
      [&] { return cudaMemcpy(memory, &value, 4, cudaMemcpyHostToDevice); },
      [&] { return cudaStreamSynchronize(stream); },
      [&] { return cudaDeviceSynchronize(); },
      [&] { return cudaMemcpyAsync(memory, &value, 4, cudaMemcpyHostToDevice, stream); },
  };
  for (const auto& call : forbidden) {
    EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    EXPECT_EQ(call(), cudaErrorStreamCaptureUnsupported);
    EXPECT_THROW(enqueue(stream, [] {}), kernels::LaunchError);
    cudaGraph_t graph = nullptr;
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    EXPECT_EQ(graph, nullptr);
    EXPECT_EQ(call(), cudaSuccess) << "allowed again";
  }
}

TEST_F(CudaRuntimeTest, ACaptureMustBeJoinedAndIsolated) {
  const cudaStream_t a = make_stream(), b = make_stream();
  const cudaEvent_t fork = make_event(), before = make_event();
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(a, &graph), cudaErrorIllegalState);
  EXPECT_EQ(cudaEventRecord(before, b), cudaSuccess);
  EXPECT_EQ(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal), cudaSuccess);
  EXPECT_EQ(cudaStreamWaitEvent(a, before, 0), cudaErrorStreamCaptureIsolation);
  EXPECT_EQ(cudaStreamEndCapture(a, &graph), cudaErrorStreamCaptureInvalidated);

  for (const bool end_other : {false, true}) {
    EXPECT_EQ(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal), cudaSuccess);
    EXPECT_EQ(cudaEventRecord(fork, a), cudaSuccess);
    EXPECT_EQ(cudaStreamWaitEvent(b, fork, 0), cudaSuccess);
    enqueue(b, [] {});
    if (end_other) {
      EXPECT_EQ(cudaStreamEndCapture(b, &graph), cudaErrorStreamCaptureUnmatched);
    }
    EXPECT_EQ(cudaStreamEndCapture(a, &graph),
              end_other ? cudaErrorStreamCaptureInvalidated : cudaErrorStreamCaptureUnjoined);
  }
}

TEST_F(CudaRuntimeTest, ABrokenContextAnswersEveryCallWithItsError) {
  const cudaStream_t stream = make_stream();
  fail_call("cudaMemset", 2, cudaErrorIllegalAddress);
  int32_t* const memory = device_ints(1);
  EXPECT_EQ(cudaMemset(memory, 0, 4), cudaSuccess);
  EXPECT_EQ(cudaMemset(memory, 0, 4), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress);
  EXPECT_EQ(cudaGetLastError(), cudaErrorIllegalAddress) << "cannot be cleared";
}

TEST_F(CudaRuntimeTest, AnExceptionOfAKernelIsKept) {
  enqueue(make_stream(), [] { throw std::runtime_error("barrier diverged"); });
  EXPECT_EQ(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
  EXPECT_THAT(cudaGetErrorString(cudaErrorLaunchFailure), ::testing::HasSubstr("barrier diverged"));
  EXPECT_THROW(drain(), std::runtime_error);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess) << "forgotten once it was thrown";
  EXPECT_THROW(enqueue(nullptr, [] { throw std::runtime_error("at once"); }), std::runtime_error);
}

}  // namespace
}  // namespace residuum::emulator
