#include "engine/comm/network_fit.h"

#include <algorithm>
#include <cmath>

#include "engine/core/check.h"

namespace residuum {
namespace {

/// seconds = intercept + slope * bytes
struct Straight {
  double intercept = 0, slope = 0;
};

/// Least squares with weights 1 / seconds^2. A latency below 0 cannot be: then the line goes through the
/// origin.
Straight fitted_line(std::span<const MeasuredSum> sums) {
  double w = 0, wx = 0, wy = 0, wxx = 0, wxy = 0;
  for (const MeasuredSum& sum : sums) {
    const double weight = 1 / (sum.seconds * sum.seconds), x = static_cast<double>(sum.bytes);
    w += weight;
    wx += weight * x;
    wy += weight * sum.seconds;
    wxx += weight * x * x;
    wxy += weight * x * sum.seconds;
  }
  const double slope = (w * wxy - wx * wy) / (w * wxx - wx * wx);
  const double intercept = (wy - slope * wx) / w;
  return intercept >= 0 ? Straight{intercept, slope} : Straight{0, wxy / wxx};
}

}  // namespace

FittedNetwork fit_network(std::span<const MeasuredSum> sums, int ranks) {
  check(ranks >= 2, ErrorKind::kData, "all-reduces over {} ranks say nothing of a network", ranks);
  const auto sizes = std::minmax_element(sums.begin(), sums.end(),
                                         [](const auto& a, const auto& b) { return a.bytes < b.bytes; });
  check(!sums.empty() && sizes.first->bytes < sizes.second->bytes, ErrorKind::kData,
        "a network is fitted to all-reduces of at least two sizes");
  for (const MeasuredSum& sum : sums) {
    check(std::isfinite(sum.seconds) && sum.seconds > 0, ErrorKind::kData,
          "an all-reduce of {} bytes takes {} s", sum.bytes, sum.seconds);
  }
  const Straight line = fitted_line(sums);
  check(line.slope > 0, ErrorKind::kData, "the all-reduces take no longer for more bytes");
  FittedNetwork fitted;
  fitted.model.gpus_per_node = 1 << 20;
  fitted.model.algorithm = AllReduceAlgorithm::kRing;
  fitted.model.intra_bandwidth = 2.0 * (ranks - 1) / ranks / line.slope;
  fitted.model.intra_latency = line.intercept / (2.0 * (ranks - 1));
  for (const MeasuredSum& sum : sums) {
    const double deviation =
        std::abs(all_reduce_time(fitted.model, ranks, sum.bytes).seconds / sum.seconds - 1);
    fitted.worst_deviation = std::max(fitted.worst_deviation, deviation);
  }
  return fitted;
}

}  // namespace residuum
