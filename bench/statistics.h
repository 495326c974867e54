// What a list of measured times says: median and the 20th and 80th percentile, which a few samples disturbed
// by something else do not move.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

namespace residuum::bench {

struct Statistics {
  double median = 0, p20 = 0, p80 = 0;
  size_t samples = 0;

  bool operator==(const Statistics&) const = default;
};

/// The value below which `share` (0 to 1) of `values` lies, between neighbours in proportion (as numpy's
/// "linear"). Throws Error(kInternal) for an empty list.
double quantile(std::vector<double> values, double share);

Statistics statistics_of(const std::vector<double>& values);

/// {"median", "p20", "p80", "samples"}, the values times `scale`.
nlohmann::ordered_json to_json(const Statistics& statistics, double scale = 1);

}  // namespace residuum::bench
