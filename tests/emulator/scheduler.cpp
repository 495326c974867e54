// Runs a grid: a few blocks at a time, each thread a fiber that goes on until it must wait and then switches
// to another ready thread by itself. The caller's stack (main) only starts blocks and reports failures: a
// fault unwinds its own fiber, abandons the others where they are and is thrown from main.
#include <algorithm>
#include <array>
#include <bit>
#include <mutex>
#include <numeric>

#include "tests/emulator/grid.h"
#include "tests/emulator/race.h"
#include "tests/emulator/traffic.h"

namespace residuum::emulator {

Position* current = nullptr;
RaceDetector* race_detector = nullptr;

namespace {

constexpr unsigned kMaxResident = 32;

/// The launch that runs.
struct Grid {
  const Launch* launch = nullptr;
  Call call;
  uint64_t blocks = 0, started = 0;
  uint64_t first = 0, stride = 1;  ///< block number i to start is (first + i * stride) % blocks
  std::vector<Block*> resident;
  Fiber main;
  std::string fault;
  Order order = Order::kForward;
  uint32_t random = 1;
};
Grid grid;

/// Blocks under way, kept from launch to launch for the sake of their stacks.
std::array<std::unique_ptr<Block>, kMaxResident> block_pool;
std::vector<Launch> records;
std::vector<Traffic> traffic;  // of records
std::mutex launch_mutex;

/// The lane, warp or block of a set that the order puts first.
unsigned choose(uint32_t set) {
  switch (grid.order) {
    case Order::kForward:
      return static_cast<unsigned>(std::countr_zero(set));
    case Order::kReverse:
      return 31u - static_cast<unsigned>(std::countl_zero(set));
    case Order::kRandom:
      break;
  }
  const unsigned turn = random_number() % 32;
  return (static_cast<unsigned>(std::countr_zero(std::rotr(set, static_cast<int>(turn)))) + turn) % 32;
}

Thread& choose_in(Warp& warp) {
  return warp.lanes[choose(warp.ready)];
}
Thread& choose_in(Block& block) {
  return choose_in(block.warps[choose(block.ready_warps)]);
}

uint32_t ready_blocks() {
  uint32_t set = 0;
  for (size_t i = 0; i < grid.resident.size(); ++i) {
    set |= static_cast<uint32_t>(grid.resident[i]->ready_warps != 0) << i;
  }
  return set;
}

/// The thread to go on after one of `warp`; null when none can. Warp and block are left only when nothing in
/// them is ready, but for the random order.
Thread* next_thread(Warp* warp, Block* block) {
  if (grid.order != Order::kRandom) {
    if (warp && warp->ready) return &choose_in(*warp);
    if (block && block->ready_warps) return &choose_in(*block);
  }
  const uint32_t blocks = ready_blocks();
  return blocks ? &choose_in(*grid.resident[choose(blocks)]) : nullptr;
}

void go_on(Thread& self, Thread* next) {
  if (next == &self) return;
  current = next;
  switch_fiber(self.fiber, next ? next->fiber : grid.main);
}

void remove_ready(Thread& thread) {
  Warp& warp = *thread.warp;
  warp.ready &= ~(1u << thread.lane);
  if (warp.ready == 0) thread.owner->ready_warps &= ~(1u << warp.number);
}

void note_fault(const std::string& what) {
  grid.fault = describe(current_thread()) + ": " + what;
}

Fiber& exit_thread(Thread& self) {
  if (!self.waited) fault("the thread has exited without grid_dependency_wait");
  Warp& warp = *self.warp;
  Block& block = *self.owner;
  remove_ready(self);
  warp.live &= ~(1u << self.lane);
  --block.live;
  if (block.arrived > 0) {
    fault("divergent barrier: the thread has exited while " + std::to_string(block.arrived) +
          " threads of its block wait at " + name_of(block.kind) + " at " + to_string(block.site));
  }
  for (unsigned i = 0; i < warp.gatherings; ++i) {
    const Gathering& others = warp.gathering[i];
    if (others.mask >> self.lane & 1) {
      fault("absent lane: the thread has exited while lane " +
            std::to_string(std::countr_zero(others.arrived)) + " of its warp waits for it at " +
            describe(others));
    }
  }
  if (block.live == 0) check_warpgroups(block);
  Thread* next = block.live ? next_thread(&warp, &block) : nullptr;
  current = next;
  return next ? next->fiber : grid.main;
}

/// Unwinds the thread that stops the launch; main then throws.
struct Stop {};

/// What a fiber runs.
Fiber& thread_main() {
  try {
    grid.call.invoke(grid.call.arguments);
    return exit_thread(current_thread());
  } catch (const Stop&) {
  } catch (const std::exception& error) {
    note_fault(std::string("an exception left the kernel: ") + error.what());
  }
  current = nullptr;
  return grid.main;
}

void shape_block(Block& block, unsigned size) {
  if (block.capacity < size) {
    auto threads = std::make_unique<Thread[]>(size);
    for (unsigned i = 0; i < size; ++i) {
      if (i < block.capacity) {
        threads[i].fiber = block.threads[i].fiber;
      } else {
        allocate_stack(threads[i].fiber, i);
      }
    }
    block.threads = std::move(threads);
    block.capacity = size;
  }
  block.size = size;
  block.warps.assign((size + 31) / 32, Warp{});
  block.ready_warps = 0;  // an abandoned launch leaves some
  for (unsigned i = 0; i < size; ++i) {
    Thread& thread = block.threads[i];
    thread.owner = &block;
    thread.number = i;
    thread.lane = i % 32;
    thread.warp = &block.warps[i / 32];
    if (thread.lane == 0) {
      thread.warp->lanes = &thread;
      thread.warp->number = i / 32;
    }
    thread.warp->live |= 1u << thread.lane;
    const dim3 shape = grid.launch->block;
    thread.thread = {i % shape.x, i / shape.x % shape.y, i / shape.x / shape.y};
    thread.block_size = shape;
    thread.grid_size = grid.launch->grid;
  }
}

uint3 block_position(uint64_t index) {
  const dim3 shape = grid.launch->grid;
  return {static_cast<unsigned>(index % shape.x), static_cast<unsigned>(index / shape.x % shape.y),
          static_cast<unsigned>(index / shape.x / shape.y)};
}

/// The next block of the grid, in `block`'s place.
void start_block(Block& block) {
  block.index = (grid.first + grid.started++ * grid.stride) % grid.blocks;
  block.live = block.size;
  block.arrived = block.predicates = 0;
  block.shared.begin_block();
  const uint3 position = block_position(block.index);
  for (unsigned i = 0; i < block.size; ++i) {
    Thread& thread = block.threads[i];
    thread.block = position;
    thread.waited = !grid.launch->must_wait;
    thread.copies.clear();
    thread.products = {};
    prepare_fiber(thread.fiber, i, thread_main);
  }
  for (Warp& warp : block.warps) {
    const unsigned count = std::min(32u, block.size - warp.number * 32);
    warp.live = ~0u >> (32 - count);
    warp.gatherings = 0;
    warp.products = {};
    make_ready(warp, warp.live);
  }
  if (race_detector) race_detector->begin_block(block);
}

/// In which order blocks start: as the scheduling order has it, the random one by a random stride.
void order_blocks() {
  grid.started = 0;
  grid.first = 0;
  grid.stride = 1;
  if (grid.order == Order::kReverse) {
    grid.first = grid.blocks - 1;
    grid.stride = grid.blocks - 1;
  } else if (grid.order == Order::kRandom) {
    grid.first = random_number() % grid.blocks;
    do {
      grid.stride = 1 + random_number() % grid.blocks;
    } while (std::gcd(grid.stride, grid.blocks) != 1);
  }
}

void begin(const Launch& launch, const Call& call) {
  grid.launch = &launch;
  grid.call = call;
  grid.fault.clear();
  grid.order = options().order;
  grid.random = static_cast<uint32_t>(options().seed * 2654435761u) | 1u;
  grid.blocks = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  order_blocks();
  adopt_current_stack(grid.main);
  if (race_detector) race_detector->begin_launch(launch, call);
  const auto allowed = static_cast<uint64_t>(std::clamp<int>(options().resident_blocks, 1, kMaxResident));
  grid.resident.clear();
  for (unsigned slot = 0; slot < std::min(allowed, grid.blocks); ++slot) {
    if (!block_pool[slot]) block_pool[slot] = std::make_unique<Block>();
    Block& block = *block_pool[slot];
    block.slot = slot;
    shape_block(block, launch.block.x * launch.block.y * launch.block.z);
    block.shared.begin_launch(launch.shared_bytes);
    grid.resident.push_back(&block);
    start_block(block);
  }
}

/// The other fibers stay where they are; kernels own nothing that would have to be released.
[[noreturn]] void abandon() {
  const std::string message = "kernel " + grid.launch->name + ": " + grid.fault;
  for (Block* block : grid.resident) {
    for (unsigned i = 0; i < block->size; ++i) clean_stack(block->threads[i].fiber);
    block->shared.clear();
  }
  grid.resident.clear();
  throw Fault(message);
}

std::string describe_deadlock() {
  std::string text = "deadlock: no thread can go on";
  for (const Block* block : grid.resident) text += describe_waits(*block);
  return text;
}

/// Replaces finished blocks. False when none is left.
bool refill() {
  for (size_t i = grid.resident.size(); i-- > 0;) {
    if (grid.resident[i]->live > 0) continue;
    if (grid.started < grid.blocks) {
      start_block(*grid.resident[i]);
    } else {
      grid.resident[i]->shared.clear();
      grid.resident.erase(grid.resident.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  return !grid.resident.empty();
}

}  // namespace

const Position& current_position() {
  return *current;
}

uint32_t random_number() {
  uint32_t& x = grid.random;  // xorshift, Marsaglia 2003
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  return x;
}

void make_ready(Warp& warp, uint32_t lanes) {
  warp.ready |= lanes;
  warp.lanes->owner->ready_warps |= 1u << warp.number;
}

void suspend() {
  Thread& self = current_thread();
  remove_ready(self);
  const uint32_t ready = self.warp->ready;
  if (ready &&
      grid.order == Order::kForward) {  // what next_thread would choose; the emulator's hottest place
    Thread& next = self.warp->lanes[std::countr_zero(ready)];
    current = &next;
    switch_fiber(self.fiber, next.fiber);
  } else {
    go_on(self, next_thread(self.warp, self.owner));
  }
}

void yield() {
  Thread& self = current_thread();
  if (grid.order == Order::kRandom) return go_on(self, next_thread(nullptr, nullptr));
  // In turn, so that the fixed orders interleave blocks too.
  const size_t count = grid.resident.size();
  const auto own = std::find(grid.resident.begin(), grid.resident.end(), self.owner) - grid.resident.begin();
  for (size_t i = 1; i < count; ++i) {
    Block& other = *grid.resident[(static_cast<size_t>(own) + i) % count];
    if (other.ready_warps) return go_on(self, &choose_in(other));
  }
  for (unsigned i = 1; i < self.owner->size; ++i) {
    Thread& other = self.owner->threads[(self.number + i) % self.owner->size];
    if (other.warp->ready >> other.lane & 1) return go_on(self, &other);
  }
}

void fault(const std::string& what) {
  if (!current) throw Fault(what);
  note_fault(what);
  throw Stop{};
}

void fault_without_unwinding(const std::string& what) {
  note_fault(what);
  current = nullptr;
  leave_fiber(grid.main);
}

void require_waited(const Thread& thread, const char* what) {
  if (!thread.waited) fault(std::string(what) + " comes before grid_dependency_wait");
}

void thread_fence() {
  if (race_detector) race_detector->fence(current_thread());
}

}  // namespace residuum::emulator

namespace residuum::kernels {

void grid_dependency_wait() {
  emulator::current_thread().waited = true;
}
void grid_dependency_trigger() {
  emulator::require_waited(emulator::current_thread(), "grid_dependency_trigger");
}

}  // namespace residuum::kernels

namespace residuum::emulator {

void run_grid(const Launch& launch, const Call& call) {
  const std::lock_guard lock(launch_mutex);
  const bool record = options().record_launches;
  if (record) {
    records.push_back(launch);
    traffic.emplace_back();
  }
  begin(launch, call);
  do {
    Thread* next = next_thread(nullptr, nullptr);
    if (next) {
      current = next;
      switch_fiber(grid.main, next->fiber);
      current = nullptr;
    } else {
      grid.fault = describe_deadlock();
    }
    if (!grid.fault.empty()) abandon();
  } while (refill());
  if (record && race_detector) traffic.back() = race_detector->end_launch();
}

const std::vector<Launch>& launch_records() {
  return records;
}
const std::vector<Traffic>& traffic_records() {
  return traffic;
}
void clear_launch_records() {
  records.clear();
  traffic.clear();
  matrix_loads() = {};
}

}  // namespace residuum::emulator
