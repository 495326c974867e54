// The one place that knows which backends this build has.

#include "engine/backend/backend.h"
#include "engine/backend/cuda/cuda_backend.h"
#include "engine/core/check.h"
#include "engine/core/log.h"
#ifdef RESIDUUM_HAS_CPU
#include "engine/backend/cpu/cpu_backend.h"
#endif

namespace residuum {
namespace {

std::unique_ptr<Backend> make_cpu(const BackendOptions& options) {
#ifdef RESIDUUM_HAS_CPU
  return cpu::make_cpu_backend(options);
#else
  static_cast<void>(options);
  fail(ErrorKind::kDevice, "device 'cpu' is not in this build");
#endif
}

}  // namespace

std::unique_ptr<Backend> make_backend(const std::string& name, const BackendOptions& options) {
  if (name == "cpu") return make_cpu(options);
  if (name == "cuda") return cuda::make_cuda_backend(options);
  check(name == "auto", ErrorKind::kUsage, "there is no device '{}'; allowed are auto, cpu and cuda", name);
  try {
    return cuda::make_cuda_backend(options);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kDevice) throw;
    log_info("{}; using the CPU", error.what());
    return make_cpu(options);
  }
}

std::unique_ptr<Backend> make_planning_backend(const std::string& name, const BackendOptions& options) {
  return name == "cuda" ? cuda::make_cuda_planning_backend(options) : make_backend(name, options);
}

}  // namespace residuum
