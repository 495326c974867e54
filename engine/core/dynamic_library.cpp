// Loading by dlopen.
#include "engine/core/dynamic_library.h"

#include <dlfcn.h>

#include <cstdlib>

#include "engine/core/check.h"

namespace residuum {

DynamicLibrary::DynamicLibrary(std::string what, const char* variable, std::vector<std::string> files)
    : what_(std::move(what)) {
  if (const char* own = std::getenv(variable)) files = {own};
  std::string said;
  for (const std::string& file : files) {
    library_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library_ != nullptr) return;
    said += (said.empty() ? "" : "; ") + std::string(dlerror());
  }
  fail(ErrorKind::kDevice, "{} was asked for and cannot be loaded: {}", what_, said);
}

void* DynamicLibrary::address_of(const char* name) const {
  void* const address = dlsym(library_, name);
  check(address != nullptr, ErrorKind::kDevice, "the {} library has no function {}", what_, name);
  return address;
}

}  // namespace residuum
