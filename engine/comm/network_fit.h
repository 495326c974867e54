// A network model from measured all-reduces.
#pragma once

#include <cstddef>
#include <span>

#include "engine/comm/network_model.h"

namespace residuum {

struct MeasuredSum {
  size_t bytes = 0;
  double seconds = 0;
};

struct FittedNetwork {
  NetworkModel model;          ///< a ring over equal links; its start is part of the hops
  double worst_deviation = 0;  ///< largest |model - measured| / measured
};

/// Bandwidth and latency of a ring of `ranks` by least squares of the relative deviations. Throws
/// Error(kData) for fewer than two sizes, fewer than two ranks, times that are not above 0, or times that do
/// not grow with the bytes.
FittedNetwork fit_network(std::span<const MeasuredSum> sums, int ranks);

}  // namespace residuum
