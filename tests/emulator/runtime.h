// The emulated CUDA runtime: host versions of the cuda* functions that the CUDA backend calls, and what tests
// set and ask of them. Device memory is host memory in blocks of exact size. Streams are queues: work runs
// only when something waits for it, in an order that respects nothing but stream order and events, so a
// missing dependency is a wrong result. One host thread at a time.
#pragma once

#include <driver_types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

struct CUstream_st;

namespace residuum::emulator {

/// What kernel launches are made of: puts `work` on a stream, or into the graph the stream is capturing. On
/// the null stream it runs before this returns. Throws kernels::LaunchError as a refused launch does.
void enqueue(CUstream_st* stream, std::function<void()> work);

/// Runs everything that was put on any stream, and throws again the first exception that work has thrown (API
/// calls report it as cudaErrorLaunchFailure).
void drain();

/// Which stream goes first when several could. The default is RESIDUUM_EMULATOR_STREAMS: "forward" (oldest
/// stream), "reverse", or a number, the seed of a random choice at every piece of work.
enum class StreamOrder : uint8_t { kForward, kReverse, kRandom };
void set_stream_order(StreamOrder order, uint64_t seed = 0);

/// Everything below back to one sm_90 GPU with 256 MB; frees what was not freed, forgets errors.
void reset();
void set_memory(size_t bytes);
/// 0: calls say cudaErrorNoDevice.
void set_device_count(int count);
/// cudaSuccess, or cudaErrorInsufficientDriver: every call says so. `version` as cudaDriverGetVersion gives
/// it (13000), 0 without a driver.
void set_driver(cudaError_t status, int version);
void set_compute_capability(int major, int minor);

/// The n-th call (1: the next one) of an API function, or of "launch", fails with `error`. An error that
/// breaks the context (cudaErrorIllegalAddress, cudaErrorLaunchFailure, ...) is what every later call returns
/// too.
void fail_call(const std::string& function, int n, cudaError_t error);
/// Calls of a function since reset().
int call_count(const std::string& function);

/// Device memory allocated now, pinned host memory, and handles (streams, events, graphs) not yet destroyed.
size_t device_bytes();
size_t pinned_bytes();
int live_handles();

}  // namespace residuum::emulator
