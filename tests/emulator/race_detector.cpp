// The race detector: keeps the clock of every thread under way and the shadow of memory, and stops the launch
// at the first race. It checks one run in one order, but finds races that this order did not suffer from.
#include <dlfcn.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tests/emulator/grid.h"
#include "tests/emulator/race_access.h"
#include "tests/emulator/race_shadow.h"
#include "tests/emulator/race_traffic.h"

namespace residuum::emulator {
namespace {

/// "kernel.cu:12" of a return address, or "program+0x123" without addr2line or line numbers.
std::string describe_code(const void* code) {
  Dl_info info{};
  if (!code || dladdr(code, &info) == 0) return "an emulator function";
  char place[64];
  const auto offset = static_cast<const char*>(code) - 1 - static_cast<const char*>(info.dli_fbase);
  std::snprintf(place, sizeof place, "0x%zx", static_cast<size_t>(offset));
  const std::string command = std::string("addr2line -e '") + info.dli_fname + "' " + place + " 2>/dev/null";
  std::string line;
  if (FILE* pipe = popen(command.c_str(), "r")) {
    for (int c = fgetc(pipe); c != EOF && c != '\n'; c = fgetc(pipe)) line += static_cast<char>(c);
    pclose(pipe);
  }
  if (line.empty() || line[0] == '?') return std::string(info.dli_fname) + "+" + place;
  return line;
}

const char* name_of(AccessKind kind) {
  return kind == AccessKind::kRead ? "read" : kind == AccessKind::kWrite ? "write" : "atomic";
}

std::string describe_lanes(const Moment& moment) {
  char text[80];
  std::snprintf(text, sizeof text, "block %u of the grid, warp %u, lanes 0x%08x", moment.block, moment.warp,
                moment.lanes);
  return text;
}

class Detector : public RaceDetector {
 public:
  void begin_launch(const Launch& launch, const Call& call) override {
    arguments_ = call;
    last_[stream_] = std::exchange(traffic_, {});
    stream_ = launch.stream;
    shadow_.clear();
    released_.clear();
    clocks_.clear();
  }
  void launches_are_done() override {
    last_.clear();
    traffic_.clear();
  }
  Traffic end_launch() override { return traffic_.total(); }
  void begin_block(const Block& block) override {
    if (clocks_.size() <= block.slot) clocks_.resize(block.slot + 1);
    std::vector<ThreadClock>& clocks = clocks_[block.slot];
    clocks.resize(block.size);
    for (unsigned i = 0; i < block.size; ++i) {
      clocks[i].start(static_cast<uint32_t>(block.index), static_cast<uint8_t>(i / 32), i % 32);
    }
  }
  void barrier(const Block& block) override {
    std::vector<ThreadClock>& clocks = clocks_[block.slot];
    Knowledge known;
    for (const ThreadClock& clock : clocks) known = join(known, clock.known());
    for (ThreadClock& clock : clocks) clock.pass_barrier(known);
  }
  void sync_warp(const Warp& warp, uint32_t lanes) override;
  void fence(const Thread& thread) override { clock_of(thread).fence(); }
  void fence_for_products(const Thread& thread) override { clock_of(thread).fence_for_products(); }
  void product_access(const Thread& thread, const void* address, size_t bytes) override;
  void atomic(const Thread& thread, const void* address, size_t bytes) override {
    Access access;
    access.kind = AccessKind::kAtomic;
    access.moment = clock_of(thread).atomic(released_[address]);
    add(thread, address, bytes, access);
  }
  void access(const Thread& thread, const void* address, size_t bytes, bool write) override {
    record(thread, address, bytes, write ? AccessKind::kWrite : AccessKind::kRead, nullptr);
  }
  void early_read(const void* address, size_t bytes) override {
    if (last_[stream_].has_written(reinterpret_cast<uintptr_t>(address), bytes)) {
      current_thread().waited = true;  // the text's own strings may be watched too
      fault("a copy before grid_dependency_wait reads what the launch before this one writes");
    }
  }
  void forget(const void* address, size_t bytes) override {
    shadow_.forget(reinterpret_cast<uintptr_t>(address), bytes);
  }
  bool is_argument(const void* address) const {
    return static_cast<size_t>(static_cast<const char*>(address) -
                               static_cast<const char*>(arguments_.arguments)) < arguments_.argument_bytes;
  }
  void record(const Thread& thread, const void* address, size_t bytes, AccessKind kind, const void* code) {
    Access access;
    access.kind = kind;
    access.code = code;
    access.moment = clock_of(thread).now();
    access.product_fences = clock_of(thread).product_fences();
    add(thread, address, bytes, access);
  }

 private:
  ThreadClock& clock_of(const Thread& thread) { return clocks_[thread.owner->slot][thread.number]; }
  void add(const Thread& thread, const void* address, size_t bytes, Access access);
  [[noreturn]] void report(const Thread& thread, uintptr_t address, const Access& later,
                           const Access& earlier);

  Call arguments_;
  Shadow shadow_;
  std::unordered_map<const void*, Knowledge> released_;  ///< by address of atomics
  std::vector<std::vector<ThreadClock>> clocks_;         ///< by slot of the block, by thread
  TrafficRecorder traffic_;
  const void* stream_ = nullptr;                           ///< of the launch
  std::unordered_map<const void*, TrafficRecorder> last_;  ///< of the last launch before it, by stream
};

void Detector::sync_warp(const Warp& warp, uint32_t lanes) {
  std::vector<ThreadClock>& clocks = clocks_[warp.lanes->owner->slot];
  const size_t first = warp.number * 32u;
  LaneEpochs seen{};
  Knowledge known;
  for (size_t lane = 0; lane < 32; ++lane) {
    if (!(lanes >> lane & 1)) continue;
    const ThreadClock& clock = clocks[first + lane];
    for (size_t i = 0; i < 32; ++i) seen[i] = std::max(seen[i], clock.seen()[i]);
    known = join(known, clock.known());
  }
  for (size_t lane = 0; lane < 32; ++lane) {
    if (lanes >> lane & 1) clocks[first + lane].pass_warp_sync(seen, known);
  }
}

void Detector::add(const Thread& thread, const void* address, size_t bytes, Access access) {
  const ThreadClock& clock = clock_of(thread);
  const auto first = reinterpret_cast<uintptr_t>(address), end = first + bytes;
  traffic_.add(first, bytes, access.kind != AccessKind::kWrite, access.kind != AccessKind::kRead);
  constexpr size_t kCell = Shadow::kCellBytes;
  for (uintptr_t cell = first / kCell * kCell; cell < end; cell += kCell) {
    const unsigned from = cell < first ? static_cast<unsigned>(first - cell) : 0;
    const unsigned to = end - cell < kCell ? static_cast<unsigned>(end - cell) : kCell;
    access.bytes = static_cast<uint8_t>((1u << to) - (1u << from));
    if (const Access* earlier = shadow_.add(cell, access, clock)) report(thread, cell, access, *earlier);
  }
}

void Detector::product_access(const Thread& thread, const void* address, size_t bytes) {
  access(thread, address, bytes, false);
  const std::vector<ThreadClock>& clocks = clocks_[thread.owner->slot];
  // Accesses to shared memory are of threads of the same block: others are forgotten before it starts.
  const auto is_unfenced = [&](const Access& earlier) {
    if (earlier.kind != AccessKind::kWrite) return false;
    const auto lane = static_cast<size_t>(std::countr_zero(earlier.moment.lanes));
    return clocks[earlier.moment.warp * size_t{32} + lane].product_fences_at_barrier() ==
           earlier.product_fences;
  };
  const auto first = reinterpret_cast<uintptr_t>(address), end = first + bytes;
  for (uintptr_t cell = first; cell < end; cell += Shadow::kCellBytes) {
    if (const Access* earlier = shadow_.find(cell, is_unfenced)) {
      fault("wgmma reads shared memory without fence_shared_for_wgmma and a barrier behind the write at " +
            describe_code(earlier->code) + " by " + describe_lanes(earlier->moment));
    }
  }
}

void Detector::report(const Thread& thread, uintptr_t address, const Access& later, const Access& earlier) {
  const bool shared = thread.owner->shared.contains(reinterpret_cast<const void*>(address), 1);
  // The compiler takes its calls of the instrumentation for ones that never throw.
  fault_without_unwinding(std::string("data race on ") + (shared ? "shared" : "global") +
                          " memory: " + name_of(later.kind) + " at " + describe_code(later.code) +
                          " is not ordered after the " + name_of(earlier.kind) + " at " +
                          describe_code(earlier.code) + " by " + describe_lanes(earlier.moment));
}

Detector& detector() {
  static Detector instance;
  return instance;
}

/// Of threadIdx and the like.
bool is_position(const void* address) {
  const auto* first = reinterpret_cast<const char*>(&current_position());
  return static_cast<size_t>(static_cast<const char*>(address) - first) < sizeof(Position);
}

}  // namespace

void install_race_detector() {
  race_detector = &detector();
}

void record_access(const void* address, size_t bytes, bool write, const void* code) {
  if (!current) return;  // host code of a launcher
  Thread& thread = current_thread();
  if (thread.fiber.owns(address) || is_position(address) || detector().is_argument(address)) return;
  if (!thread.waited && !thread.owner->shared.contains(address, 1)) {
    thread.waited = true;  // the text's own strings may be watched too
    fault_without_unwinding(std::string("global memory is ") + (write ? "written" : "read") + " at " +
                            describe_code(code) + " before grid_dependency_wait");
  }
  detector().record(thread, address, bytes, write ? AccessKind::kWrite : AccessKind::kRead, code);
}

}  // namespace residuum::emulator
