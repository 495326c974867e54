// The device that the tests of operations and graphs run on, named by the environment variable
// RESIDUUM_TEST_DEVICE ("cpu" by default, or "cuda"), and the ways to run on it that must all give one set of
// bits.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend/backend.h"

namespace residuum {

/// "cpu" or "cuda"; throws Error(kUsage) for anything else.
const std::string& test_device();
bool on_cuda();
/// Whether the kernels run under the emulator's race detector, many times slower; the program says so before
/// main (emulator_orders.cpp).
bool& under_race_detector();

/// The CPU backend with that many threads; made once a process.
Backend& cpu_backend(int threads);
/// The CUDA backend; made once a process.
Backend& cuda_backend(bool tf32 = false);
/// One backend of the device under test.
Backend& test_backend();

/// A way to run on the device under test that changes no bit: a number of threads, or an order in which the
/// emulator runs the threads of a kernel.
struct Variant {
  std::string name;
  Backend* backend = nullptr;
  int runs = 2;  ///< how often each launch runs; the bits of the second run tell what the first left behind
};
struct VariantOptions {
  bool tf32 = false;   ///< BackendOptions::tf32, which only CUDA knows
  bool heavy = false;  ///< seconds on the emulator: there, in its first order alone and once
};
/// Calls `body` with each variant, selected.
void for_each_variant(const std::function<void(const Variant&)>& body, const VariantOptions& options = {});

/// An order of the emulator. A program linked with the emulated CUDA backend names its orders before main
/// (emulator_orders.cpp); on a GPU there are none.
struct EmulatorOrder {
  std::string name;
  std::function<void()> select;
};
std::vector<EmulatorOrder>& emulator_orders();
bool on_emulator();

/// The activation types of the device: f32 and bf16, on CUDA f16 too.
const std::vector<DType>& activation_types();

}  // namespace residuum
