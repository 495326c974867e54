#include "tools/device.h"

namespace residuum {

void add_device_option(CLI::App& command, std::string& device) {
  command.add_option("--device", device, "auto (the best one present), cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
}

void add_threads_option(CLI::App& command, int& threads) {
  command.add_option("--threads", threads, "CPU threads; 0: all cores; results do not depend on it")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
}

std::unique_ptr<Backend> open_device(const DeviceOptions& options) {
  return make_backend(options.device, {.threads = options.threads});
}

}  // namespace residuum
