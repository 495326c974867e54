// What fits into a device's memory. Planning allocates nothing, so other batches can be tried by planning
// them.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "engine/backend/backend.h"
#include "engine/data/dataset.h"
#include "engine/train/model_builder.h"
#include "engine/train/recipe.h"
#include "engine/train/training_setup.h"

namespace residuum {

/// The largest value in [1, limit] with bytes(value) <= available, 0 when there is none. `bytes` must not
/// fall when the value grows.
int64_t largest_fitting(int64_t limit, size_t available, const std::function<size_t(int64_t)>& bytes);

/// Why a run does not fit: the bytes planned, those free on `backend`, and the largest batch that would fit.
std::string explain_out_of_memory(const Recipe& recipe, const ModelBuilder& build, const Dataset& train_data,
                                  const Dataset& test_data, Backend& backend, const Share& share);

}  // namespace residuum
