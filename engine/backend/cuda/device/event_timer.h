// Time along a GPU's main stream, by events: no mark makes the host wait.
#pragma once

#include <memory>

#include "engine/backend/cuda/device/device.h"

namespace residuum::cuda {

/// `device` must outlive it.
std::unique_ptr<Timer> make_event_timer(Device& device);

}  // namespace residuum::cuda
