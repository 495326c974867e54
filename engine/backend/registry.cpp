// The one place that knows which backends this build has.
#include "engine/backend/backend.h"
#include "engine/core/check.h"
#ifdef RESIDUUM_HAS_CPU
#include "engine/backend/cpu/cpu_backend.h"
#endif

namespace residuum {

std::unique_ptr<Backend> make_backend(const std::string& name, const BackendOptions& options) {
#ifdef RESIDUUM_HAS_CPU
  if (name == "cpu" || name == "auto") return cpu::make_cpu_backend(options);
  constexpr const char* kOffered = "cpu";
#else
  constexpr const char* kOffered = "none";
#endif
  static_cast<void>(options);
  check(name == "cpu" || name == "cuda" || name == "auto", ErrorKind::kUsage,
        "there is no device '{}'; allowed are auto, cpu and cuda", name);
  fail(ErrorKind::kDevice, "device '{}' is not in this build; its backends: {}", name, kOffered);
}

}  // namespace residuum
