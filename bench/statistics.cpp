#include "bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/core/check.h"

namespace residuum::bench {

double quantile(std::vector<double> values, double share) {
  check(!values.empty(), ErrorKind::kInternal, "there is no quantile of no values");
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(std::floor(place));
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

Statistics statistics_of(const std::vector<double>& values) {
  return {quantile(values, 0.5), quantile(values, 0.2), quantile(values, 0.8), values.size()};
}

nlohmann::ordered_json to_json(const Statistics& statistics, double scale) {
  return {{"median", statistics.median * scale},
          {"p20", statistics.p20 * scale},
          {"p80", statistics.p80 * scale},
          {"samples", statistics.samples}};
}

}  // namespace residuum::bench
