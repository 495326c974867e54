// When asynchronous copies arrive, and the twins of the cp.async instructions.
#include "tests/emulator/async_copy.h"

#include <cstring>

#include "tests/emulator/grid.h"
#include "tests/emulator/ptx_twins.h"
#include "tests/emulator/race.h"

namespace residuum::emulator {
namespace {

constexpr size_t kBytes = 16;
constexpr int kInFlight = 0xFF;  ///< what a reader that does not wait may find

void arrive(const CopyQueue::Copy& copy) {
  if (race_detector) {
    if (copy.src) race_detector->access(current_thread(), copy.src, kBytes, false);
    race_detector->access(current_thread(), copy.dst, kBytes, true);
  }
  if (copy.src) {
    std::memcpy(copy.dst, copy.src, kBytes);
  } else {
    std::memset(copy.dst, 0, kBytes);
  }
}

bool at_once() {
  const Copies mode = options().copies;
  return mode == Copies::kEager || (mode == Copies::kRandom && (random_number() & 1));
}

}  // namespace

void CopyQueue::clear() {
  copies_.clear();
  done_ = 0;
  group_ = 0;
}

void CopyQueue::issue(void* dst, const void* src) {
  const Copy copy{dst, src, group_};
  if (at_once()) return arrive(copy);
  if (race_detector) race_detector->access(current_thread(), dst, kBytes, true);
  std::memset(dst, kInFlight, kBytes);
  copies_.push_back(copy);
}

void CopyQueue::wait(unsigned pending) {
  while (done_ < copies_.size() && copies_[done_].group + pending < group_) arrive(copies_[done_++]);
  if (done_ == copies_.size()) {
    copies_.clear();
    done_ = 0;
  }
}

}  // namespace residuum::emulator

namespace residuum::kernels {

using emulator::current_thread;
using emulator::fault;

void cp_async_16(SharedAddress dst, const void* src, bool valid) {
  emulator::Thread& thread = current_thread();
  auto* const target = reinterpret_cast<void*>(dst);
  if (dst % 16 != 0) fault("cp_async_16: the destination is not aligned to 16 bytes");
  if (!thread.owner->shared.contains(target, 16)) {
    fault("cp_async_16: the destination is not in the block's shared memory");
  }
  if (valid && reinterpret_cast<uintptr_t>(src) % 16 != 0) {
    fault("cp_async_16: the source is not aligned to 16 bytes");
  }
  if (valid) emulator::require_waited(thread, "cp_async_16");
  thread.copies.issue(target, valid ? src : nullptr);
}

void cp_async_commit() {
  current_thread().copies.commit();
}

namespace detail {
void cp_async_wait(unsigned pending) {
  current_thread().copies.wait(pending);
}
}  // namespace detail

}  // namespace residuum::kernels
