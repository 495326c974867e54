#include "tools/device.h"

namespace residuum {

void add_device_options(CLI::App& command, DeviceOptions& options) {
  command.add_option("--device", options.device, "auto (the best one present), cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  command.add_flag("--cublas", options.cublas, "On a GPU, linear layers by cuBLAS instead of own kernels");
}

void add_threads_option(CLI::App& command, int& threads) {
  command.add_option("--threads", threads, "CPU threads; 0: all cores; results do not depend on it")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
}

std::unique_ptr<Backend> open_device(const DeviceOptions& options, int threads, Precision precision) {
  return make_backend(options.device,
                      {.threads = threads, .tf32 = precision == Precision::kTF32, .cublas = options.cublas});
}

}  // namespace residuum
