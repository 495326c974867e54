#include "tools/device.h"

#include <cstdlib>
#include <filesystem>

#include "engine/train/switches.h"

namespace residuum {
namespace {

/// residuum/autotune.json in the user's cache directory; empty when the environment names none.
std::string usual_cache_file() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::filesystem::path(value == nullptr ? "" : value);
  };
  std::filesystem::path directory = variable("XDG_CACHE_HOME");
  if (directory.empty() && !variable("HOME").empty()) directory = variable("HOME") / ".cache";
  return directory.empty() ? std::string() : (directory / "residuum" / "autotune.json").string();
}

}  // namespace

void add_device_option(const Command& command, std::string& device) {
  command.add_option("--device", device, "auto (the best one present), cpu or cuda")
      .one_of({"auto", "cpu", "cuda"})
      .show_default();
}

void add_device_options(const Command& command, DeviceOptions& options) {
  add_device_option(command, options.device);
  command.add_flag("--cublas", options.cublas, "On a GPU, linear layers by cuBLAS instead of own kernels");
  command.add_flag("--cudnn", options.cudnn,
                   "On a GPU, convolutions by cuDNN where it can, instead of own kernels");
  Option autotune = command.add_flag("--autotune", options.autotune,
                                     "On a GPU, measure own kernels, cuDNN and cuBLAS (those there "
                                     "are) once for each shape, use the fastest");
  command
      .add_option("--autotune-cache", options.cache_file,
                  "What was measured; default residuum/autotune.json in $XDG_CACHE_HOME or ~/.cache")
      .type_name("FILE")
      .needs(autotune);
}

void add_threads_option(const Command& command, int& threads) {
  command.add_option("--threads", threads, "CPU threads; 0: all cores; results do not depend on it")
      .range(0, 1024)
      .show_default();
}

void add_disable_pass_option(const Command& command, std::vector<std::string>& names) {
  command
      .add_option("--disable-pass", names,
                  "Leave out a pass, a kind of fusions or a choice of the plan (residuum plan --help lists "
                  "them); may be repeated")
      .type_name("NAME")
      .repeatable();
}

std::unique_ptr<Backend> open_device(const DeviceOptions& options, const TrainRecipe& recipe, int ordinal) {
  check_switches(recipe.disable_passes, ErrorKind::kConfig);
  const BackendOptions backend = {
      .threads = static_cast<int>(recipe.threads),
      .ordinal = ordinal,
      .tf32 = recipe.precision == Precision::kTF32,
      .cublas = options.cublas,
      .cudnn = options.cudnn,
      .autotune = options.autotune,
      .autotune_cache = options.cache_file.empty() ? usual_cache_file() : options.cache_file};
  return make_backend(options.device, backend_options(recipe.disable_passes, backend));
}

}  // namespace residuum
