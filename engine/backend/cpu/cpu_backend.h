// The CPU backend: oneDNN for convolutions, own loops for the rest, one thread pool, NHWC throughout.
#pragma once

#include <memory>

#include "engine/backend/backend.h"

namespace residuum::cpu {

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options);

}  // namespace residuum::cpu
