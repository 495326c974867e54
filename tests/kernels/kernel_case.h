// One call of a launcher with the device memory it works on. Invariant: run() gives the same bits in two runs
// and in every order of the emulator, writes nothing behind any array, and leaves the counter at 0.
#pragma once

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/launch.h"
#include "tests/kernels/device_array.h"
#include "tests/support/compare.h"
#include "tests/support/graph_run.h"
#include "tests/support/op_case.h"
#include "tests/support/test_device.h"

namespace residuum {

inline kernels::Element element_of(DType type) {
  return type == DType::kF32    ? kernels::Element::kF32
         : type == DType::kBF16 ? kernels::Element::kBF16
                                : kernels::Element::kF16;
}

class KernelCase {
 public:
  using Bytes = std::vector<std::byte>;

  /// Memory with this content at the start of every run.
  void* tensor(DType type, const reference::Tensor& value) { return add(encode(value, type)); }
  float* floats(const reference::Tensor& value) { return static_cast<float*>(tensor(DType::kF32, value)); }
  template <typename T>
  T* values(const std::vector<T>& list) {
    Bytes bytes(list.size() * sizeof(T));
    if (!list.empty()) std::memcpy(bytes.data(), list.data(), bytes.size());
    return reinterpret_cast<T*>(add(bytes));
  }
  /// Memory that starts as 0xFF bytes.
  template <typename T = void>
  T* output(size_t bytes) {
    return reinterpret_cast<T*>(add(Bytes(bytes, std::byte{0xFF})));
  }
  void* output(DType type, const Shape& shape) { return output(TensorDesc{type, shape}.bytes()); }
  /// Temporary memory, whose content is not compared.
  void* workspace(size_t bytes) {
    void* const memory = add(Bytes(bytes, std::byte{0xFF}));
    arrays_.back().compared = false;
    return memory;
  }
  unsigned* counter() { return values<unsigned>({0}); }

  /// `most_orders`: 1 for work that takes the emulator long.
  void run(const std::function<void()>& launch, size_t most_orders = 100) {
    std::vector<EmulatorOrder> orders = emulator_orders();
    if (orders.empty()) orders.push_back({"GPU", [] {}});
    orders.resize(std::min(orders.size(), most_orders));
    std::vector<Bytes> first;
    for (const EmulatorOrder& order : orders) {
      order.select();
      for (int turn = 0; turn < (most_orders > 1 ? 2 : 1); ++turn) {
        for (const Array& array : arrays_) array.memory->upload(array.start);
        launch();
        check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
        const std::vector<Bytes> found = contents();
        if (first.empty()) first = found;
        EXPECT_EQ(found == first, true) << "other bits in run " << turn << " with order " << order.name;
      }
    }
    orders.front().select();
    for (const Array& array : arrays_) EXPECT_TRUE(array.memory->guard_intact()) << "written past the end";
  }

  Bytes bytes(const void* address) const { return array(address).memory->download(); }
  reference::Tensor read(const void* address, DType type, const Shape& shape) const {
    return decode(bytes(address), {type, shape});
  }
  /// True when memory still holds what it started with.
  bool unchanged(const void* address) const { return bytes(address) == array(address).start; }

 private:
  struct Array {
    std::unique_ptr<DeviceArray<std::byte>> memory;
    Bytes start;
    bool compared = true;
  };

  void* add(const Bytes& start) {
    arrays_.push_back({std::make_unique<DeviceArray<std::byte>>(start.size()), start});
    return arrays_.back().memory->data();
  }
  const Array& array(const void* address) const {
    for (const Array& array : arrays_) {
      if (array.memory->data() == address) return array;
    }
    fail(ErrorKind::kInternal, "no array of this case has that address");
  }
  std::vector<Bytes> contents() const {
    std::vector<Bytes> all;
    for (const Array& array : arrays_) {
      if (array.compared) all.push_back(array.memory->download());
    }
    return all;
  }

  std::vector<Array> arrays_;
};

inline constexpr DType kElementTypes[] = {DType::kF32, DType::kBF16, DType::kF16};

/// Whether this program emulates a chip without warpgroups. What warpgroups do not take has run in the same
/// form on the usual chip.
inline bool emulates_warps_alone() {
  const char* const chip = std::getenv("RESIDUUM_EMULATOR_CHIP");
  return chip != nullptr && std::string_view(chip) == "sm_80";
}

/// Whether convolutions of this type show something that other runs do not. The race detector sees but bf16
/// and three TF32 products: f16 and TF32, the same templates with other arithmetic, are compiled without it
/// (tests/emulator/CMakeLists.txt). Warpgroups do not take f32.
inline bool is_worth_running(DType type, kernels::F32Math math = kernels::F32Math::kTf32x3) {
  if (emulates_warps_alone()) return type != DType::kF32;
  return !under_race_detector() || type == DType::kBF16 ||
         (type == DType::kF32 && math == kernels::F32Math::kTf32x3);
}
inline constexpr const char* kSeenElsewhere = "other runs show as much of these templates";
/// The element types whose convolutions are worth running.
inline std::vector<DType> conv_types() {
  std::vector<DType> types(std::begin(kElementTypes), std::end(kElementTypes));
  std::erase_if(types, [](DType type) { return !is_worth_running(type); });
  return types;
}
/// The same of other kernels: in f16 their accesses are those in bf16, which is all the race detector looks
/// at.
inline std::vector<DType> element_types() {
  std::vector<DType> types(std::begin(kElementTypes), std::end(kElementTypes));
  if (under_race_detector()) std::erase(types, DType::kF16);
  return types;
}

/// The code of the LaunchError that `launch` throws, 0 when none.
inline int refusal(const std::function<void()>& launch) {
  try {
    launch();
  } catch (const kernels::LaunchError& error) {
    return error.code();
  }
  return 0;
}

}  // namespace residuum
