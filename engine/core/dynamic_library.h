// A library found at run time: the program neither needs it to start nor to be built. Never unloaded, as CUDA
// libraries keep threads and exit handlers of their own.
#pragma once

#include <string>
#include <vector>

namespace residuum {

class DynamicLibrary {
 public:
  /// Loads the first of `files` that can be loaded, or the one file that the environment variable `variable`
  /// names. `what` stands in errors. Throws Error(kDevice) naming the files tried and what the loader said.
  DynamicLibrary(std::string what, const char* variable, std::vector<std::string> files);

  /// Sets `function` to the function `name`; throws Error(kDevice) when the library has none.
  template <typename Function>
  void find(Function*& function, const char* name) const {
    function = reinterpret_cast<Function*>(address_of(name));
  }

 private:
  void* address_of(const char* name) const;

  std::string what_;
  void* library_ = nullptr;
};

}  // namespace residuum
