// Random labels (Zhang 2017): a net that fits them has memorised its images, so they measure what
// optimisation can reach, without what generalisation adds.
#pragma once

#include <memory>

#include "engine/data/dataset.h"

namespace residuum {

/// The same images with labels drawn uniformly: that of a sample depends on seed and index alone.
std::unique_ptr<Dataset> random_labels(std::shared_ptr<const Dataset> dataset, uint64_t seed);

}  // namespace residuum
