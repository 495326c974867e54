#include "tests/support/test_device.h"

#include <fmt/core.h>

#include <cstdlib>
#include <map>

#include "engine/core/check.h"

namespace residuum {

const std::string& test_device() {
  static const std::string name = [] {
    const char* set = std::getenv("RESIDUUM_TEST_DEVICE");
    std::string device = set == nullptr ? "cpu" : set;
    check(device == "cpu" || device == "cuda", ErrorKind::kUsage,
          "RESIDUUM_TEST_DEVICE is '{}', must be cpu or cuda", device);
    return device;
  }();
  return name;
}

bool on_cuda() {
  return test_device() == "cuda";
}

bool& under_race_detector() {
  static bool racing = false;
  return racing;
}

Backend& cpu_backend(int threads) {
  static std::map<int, std::unique_ptr<Backend>> made;
  std::unique_ptr<Backend>& backend = made[threads];
  if (!backend) backend = make_backend("cpu", {.threads = threads});
  return *backend;
}

Backend& cuda_backend(bool tf32) {
  // Never destroyed: at exit the CUDA runtime may be gone before it.
  static auto& made = *new std::map<bool, std::unique_ptr<Backend>>;
  std::unique_ptr<Backend>& backend = made[tf32];
  if (!backend) backend = make_backend("cuda", {.tf32 = tf32});
  return *backend;
}

Backend& test_backend() {
  return on_cuda() ? cuda_backend() : cpu_backend(3);
}

std::vector<EmulatorOrder>& emulator_orders() {
  static std::vector<EmulatorOrder> orders;
  return orders;
}

bool on_emulator() {
  return on_cuda() && !emulator_orders().empty();
}

void for_each_variant(const std::function<void(const Variant&)>& body, const VariantOptions& options) {
  if (!on_cuda()) {
    for (const int threads : {1, 2, 3, 5}) body({fmt::format("{} threads", threads), &cpu_backend(threads)});
  } else if (!on_emulator()) {
    body({"GPU", &cuda_backend(options.tf32)});
  } else {
    int runs = options.heavy ? 1 : 2;
    for (const EmulatorOrder& order : emulator_orders()) {
      order.select();
      body({order.name, &cuda_backend(options.tf32), runs});
      if (options.heavy) break;
      runs = 1;  // what a launch leaves behind does not depend on the order
    }
    emulator_orders().front().select();
  }
}

const std::vector<DType>& activation_types() {
  static const std::vector<DType> cpu{DType::kF32, DType::kBF16},
      cuda{DType::kF32, DType::kBF16, DType::kF16};
  return on_cuda() ? cuda : cpu;
}

}  // namespace residuum
