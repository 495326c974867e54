// What launchers check before a launch, and small host helpers that choose template arguments at run time.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>

#include "kernels/device/platform.cuh"

namespace residuum::kernels {

/// Throws LaunchError(1) "NAME: WHAT" when not `ok`.
inline void require(bool ok, const char* name, const std::string& what) {
  constexpr int kInvalidValue = 1;  // cudaErrorInvalidValue
  if (!ok) throw LaunchError(kInvalidValue, std::string(name) + ": " + what);
}

/// Addresses of whole tensors: none null, each aligned to 16 bytes.
inline void require_addresses(const char* name, std::initializer_list<const void*> addresses) {
  int position = 0;
  for (const void* address : addresses) {
    const std::string which =
        "address " + std::to_string(position++) + " of " + std::to_string(addresses.size());
    require(address != nullptr, name, which + " is null");
    require(reinterpret_cast<uintptr_t>(address) % 16 == 0, name, which + " is not aligned to 16 bytes");
  }
}

inline void require_positive(const char* name, const char* what, int64_t value) {
  require(value > 0, name, std::string(what) + " is " + std::to_string(value) + ", must be 1 or more");
}

inline void require_below(const char* name, const char* what, int64_t value, int64_t bound) {
  require(value < bound, name,
          std::string(what) + " is " + std::to_string(value) + ", must be below " + std::to_string(bound));
}

/// Calls `function` with std::true_type or std::false_type.
template <typename Call>
void with_flag(bool flag, const Call& function) {
  if (flag) {
    function(std::true_type{});
  } else {
    function(std::false_type{});
  }
}

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace residuum::kernels
