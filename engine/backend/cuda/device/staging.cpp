#include "engine/backend/cuda/device/staging.h"

#include <cstring>

namespace residuum::cuda {

Uploader::Slot Uploader::make_slot(size_t bytes) {
  return {make_pinned_block(bytes), make_device_block(bytes), make_event(), make_event()};
}

Uploader::Slot& Uploader::next_slot(size_t bytes) {
  auto found = slots_.find(bytes);
  if (found == slots_.end()) {
    Slots made{{make_slot(bytes), make_slot(bytes)}, 0};
    found = slots_.emplace(bytes, std::move(made)).first;
  }
  Slots& slots = found->second;
  Slot& slot = slots.slot[slots.next];
  slots.next = 1 - slots.next;
  return slot;
}

void Uploader::upload(std::byte* dst, const void* src, size_t bytes) {
  if (bytes == 0) return;
  constexpr const char* kPurpose = "to upload a step's input";
  Slot& slot = next_slot(bytes);
  check_call(cudaEventSynchronize(slot.arrived.get()), "cudaEventSynchronize", kPurpose);
  std::memcpy(slot.host.get(), src, bytes);
  check_call(cudaStreamWaitEvent(copies_.get(), slot.used.get(), 0), "cudaStreamWaitEvent", kPurpose);
  check_call(
      cudaMemcpyAsync(slot.device.get(), slot.host.get(), bytes, cudaMemcpyHostToDevice, copies_.get()),
      "cudaMemcpyAsync", kPurpose);
  check_call(cudaEventRecord(slot.arrived.get(), copies_.get()), "cudaEventRecord", kPurpose);
  check_call(cudaStreamWaitEvent(compute_, slot.arrived.get(), 0), "cudaStreamWaitEvent", kPurpose);
  check_call(cudaMemcpyAsync(dst, slot.device.get(), bytes, cudaMemcpyDeviceToDevice, compute_),
             "cudaMemcpyAsync", kPurpose);
  check_call(cudaEventRecord(slot.used.get(), compute_), "cudaEventRecord", kPurpose);
}

/// A copy under way; gives its buffer back at the end, which is safe before it arrived: the buffer's next
/// copy comes later on the same stream.
class Downloader::Copy : public Download {
 public:
  Copy(std::shared_ptr<FreeList> free, Buffer buffer, size_t bytes)
      : free_(std::move(free)), buffer_(std::move(buffer)), bytes_(bytes) {}
  ~Copy() override { (*free_)[bytes_].push_back(std::move(buffer_)); }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  std::span<const std::byte> wait() override {
    check_call(cudaEventSynchronize(buffer_.arrived.get()), "cudaEventSynchronize",
               "to wait for a step's result");
    return {static_cast<const std::byte*>(buffer_.host.get()), bytes_};
  }

 private:
  std::shared_ptr<FreeList> free_;
  Buffer buffer_;
  size_t bytes_;
};

std::unique_ptr<Download> Downloader::download(const std::byte* src, size_t bytes) {
  constexpr const char* kPurpose = "to download a step's result";
  std::vector<Buffer>& idle = (*free_)[bytes];
  if (idle.empty()) idle.push_back({make_pinned_block(bytes), make_event()});
  Buffer buffer = std::move(idle.back());
  idle.pop_back();
  check_call(cudaMemcpyAsync(buffer.host.get(), src, bytes, cudaMemcpyDeviceToHost, compute_),
             "cudaMemcpyAsync", kPurpose);
  check_call(cudaEventRecord(buffer.arrived.get(), compute_), "cudaEventRecord", kPurpose);
  return std::make_unique<Copy>(free_, std::move(buffer), bytes);
}

}  // namespace residuum::cuda
