// What a backend asks of the passes of a training step.
#pragma once

#include "engine/backend/backend.h"
#include "engine/graph/passes.h"

namespace residuum {

/// TrainingPassOptions with relu_masks, weight_copies, absorbs, filter_layers and groups as the backend wants
/// them, the rest as it is by default. The backend must outlive the passes.
TrainingPassOptions backend_passes(const Backend& backend);

}  // namespace residuum
