// Inside of the emulated runtime: its one state and the opaque handle types.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/emulator/runtime.h"

namespace residuum::emulator {

using Work = std::function<void()>;

/// A node of a graph: work that may run when the nodes `after` are done.
struct GraphNode {
  Work work;
  std::vector<size_t> after;
};
using GraphNodes = std::vector<GraphNode>;

/// A capture in progress; streams that waited for one of its events take part.
struct Capture {
  CUstream_st* origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  GraphNodes nodes;
  bool invalid = false;
};

/// One recording of an event.
struct Recording {
  bool done = false;
  std::shared_ptr<Capture> capture;  ///< set: recorded inside of a capture ...
  std::vector<size_t> after;         ///< ... behind these nodes
};

/// A piece of work on a stream: waits until `wait` is done, runs, then marks `record` done.
struct Task {
  Work work;
  std::shared_ptr<Recording> wait, record;
};

struct Runtime {
  int device_count = 1, driver_version = 13000, major = 9, minor = 0;
  size_t memory = size_t{256} << 20;
  cudaError_t driver = cudaSuccess;
  cudaError_t sticky = cudaSuccess, last = cudaSuccess;
  std::string fault;             ///< message of the exception behind `sticky`
  std::exception_ptr exception;  ///< thrown by work, kept for drain()
  StreamOrder order = StreamOrder::kForward;
  uint64_t random = 0;

  std::map<std::string, int> calls;
  std::map<std::string, std::map<int, cudaError_t>> failures;  ///< by function and number of the call

  std::map<const std::byte*, size_t> device_blocks, pinned_blocks;
  std::vector<CUstream_st*> streams;  ///< in order of creation
  std::set<CUevent_st*> events;
  std::set<CUgraph_st*> graphs;
  std::set<CUgraphExec_st*> execs;
};

Runtime& runtime();

/// What every API call does first: counts it, then says whether it fails before it does anything.
cudaError_t enter(const char* function);
/// Remembers an error for cudaGetLastError.
cudaError_t finish(cudaError_t error);

/// Whether [address, address + bytes) lies inside one block.
bool inside(const std::map<const std::byte*, size_t>& blocks, const void* address, size_t bytes);
size_t total_bytes(const std::map<const std::byte*, size_t>& blocks);

/// The captures in progress, and their end with an error.
bool capturing_anywhere();
void invalidate_captures();
/// The error of a call that is not allowed while a stream captures; ends every capture. Success if none does.
cudaError_t forbid_capture();

/// Puts a task on a stream, or work into the stream's capture.
cudaError_t submit(CUstream_st* stream, Task task);
/// Runs pending work, as the stream order chooses, until `done` returns true or nothing is left.
void run_until(const std::function<bool()>& done);
void run_all();
/// Runs work and turns an exception into a broken context.
void run_guarded(const Work& work);
size_t choose(size_t count);

}  // namespace residuum::emulator

struct CUstream_st {
  unsigned flags = 0;
  std::deque<residuum::emulator::Task> tasks;
  std::shared_ptr<residuum::emulator::Capture> capture;
  std::vector<size_t> after;  ///< nodes that the next captured node comes after
};
struct CUevent_st {
  std::shared_ptr<residuum::emulator::Recording> recording;
};
struct CUgraph_st {
  residuum::emulator::GraphNodes nodes;
};
struct CUgraphExec_st {
  std::shared_ptr<const residuum::emulator::GraphNodes> nodes;
};
