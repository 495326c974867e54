// A stream for communication beside those of the launches, ordered with stream 0 by events alone: the host
// waits for nothing.
#pragma once

#include <memory>

#include "engine/backend/cuda/device/device.h"

namespace residuum::cuda {

/// `device` must outlive it.
std::unique_ptr<SideQueue> make_side_queue(Device& device);

}  // namespace residuum::cuda
