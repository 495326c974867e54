// The data of figures: as tables, and what is left out of a picture.
#include "tools/page/figure.h"

#include <algorithm>
#include <cmath>

#include "engine/core/check.h"
#include "engine/core/overloaded.h"

namespace residuum {
namespace {

/// Lengths that must equal, with the name of the figure for the message.
class Lengths {
 public:
  explicit Lengths(const std::string& figure) : figure_(figure) {}

  void require(const std::string& what, size_t found, size_t wanted) const {
    check(found == wanted, ErrorKind::kInternal, "figure '{}': {} has {} values, not {}", figure_, what,
          found, wanted);
  }
  /// An optional list: empty or of that length.
  void allow(const std::string& what, size_t found, size_t wanted) const {
    if (found > 0) require(what, found, wanted);
  }
  void range(const std::string& name, size_t low, size_t high, size_t wanted) const {
    allow("the lower bound of " + name, low, wanted);
    require("the upper bound of " + name, high, low);
  }

 private:
  const std::string& figure_;
};

std::string or_default(const std::string& name, const char* otherwise) {
  return name.empty() ? otherwise : name;
}

bool has_band(const Line& line) {
  return !line.low.empty();
}

/// Whether points of a chart have labels.
template <typename Series>
bool any_labels(const std::vector<Series>& series) {
  return std::ranges::any_of(series, [](const Series& one) { return !one.labels.empty(); });
}

/// Rows (name, x, y[, low, high][, label]) of lines and points.
class SeriesTable {
 public:
  SeriesTable(const Axis& x, const Axis& y, bool has_bounds, bool has_labels)
      : has_bounds_(has_bounds), has_labels_(has_labels) {
    table_.columns = {"series", or_default(x.name, "x"), or_default(y.name, "y")};
    if (has_bounds) table_.columns.insert(table_.columns.end(), {"low", "high"});
    if (has_labels) table_.columns.emplace_back("label");
  }

  void add(const Line& line) {
    for (size_t i = 0; i < line.x.size(); ++i) {
      const bool band = has_band(line);
      add_row(line.name, line.x[i], line.y[i], band ? exact_text(line.low[i]) : "",
              band ? exact_text(line.high[i]) : "", line.labels.empty() ? "" : line.labels[i]);
    }
  }
  void add(const Points& points) {
    for (size_t i = 0; i < points.x.size(); ++i) {
      add_row(points.name, points.x[i], points.y[i], "", "", points.labels.empty() ? "" : points.labels[i]);
    }
  }
  Table take() { return std::move(table_); }

 private:
  void add_row(const std::string& name, double x, double y, const std::string& low, const std::string& high,
               const std::string& label) {
    std::vector<Cell> row = {name, exact_text(x), exact_text(y)};
    if (has_bounds_) row.insert(row.end(), {Cell(low), Cell(high)});
    if (has_labels_) row.emplace_back(label);
    table_.rows.push_back(std::move(row));
  }

  bool has_bounds_, has_labels_;
  Table table_;
};

void check_lines(const std::vector<Line>& lines, const Lengths& lengths) {
  for (const Line& line : lines) {
    lengths.require("y of " + line.name, line.y.size(), line.x.size());
    lengths.range(line.name, line.low.size(), line.high.size(), line.x.size());
    lengths.allow("the labels of " + line.name, line.labels.size(), line.x.size());
  }
}

Table data_of(const LineChart& chart, const Lengths& lengths) {
  check_lines(chart.lines, lengths);
  SeriesTable table(chart.x, chart.y, std::ranges::any_of(chart.lines, has_band), any_labels(chart.lines));
  for (const Line& line : chart.lines) table.add(line);
  return table.take();
}

Table data_of(const ScatterChart& chart, const Lengths& lengths) {
  check_lines(chart.lines, lengths);
  for (const Points& points : chart.points) {
    lengths.require("y of " + points.name, points.y.size(), points.x.size());
    lengths.allow("the labels of " + points.name, points.labels.size(), points.x.size());
  }
  SeriesTable table(chart.x, chart.y, std::ranges::any_of(chart.lines, has_band),
                    any_labels(chart.points) || any_labels(chart.lines));
  for (const Points& points : chart.points) table.add(points);
  for (const Line& line : chart.lines) table.add(line);
  return table.take();
}

Table data_of(const BarChart& chart, const Lengths& lengths) {
  Table table;
  table.columns.push_back(or_default(chart.category_name, "category"));
  for (const Bars& bars : chart.bars) {
    lengths.require(bars.name, bars.values.size(), chart.categories.size());
    lengths.range(bars.name, bars.low.size(), bars.high.size(), bars.values.size());
    const std::string& unit = chart.value.name;
    const std::string name = unit.empty() || unit == bars.name ? bars.name : bars.name + ", " + unit;
    table.columns.push_back(name);
    if (!bars.low.empty()) table.columns.insert(table.columns.end(), {name + " low", name + " high"});
  }
  for (size_t i = 0; i < chart.categories.size(); ++i) {
    std::vector<Cell> row = {chart.categories[i]};
    for (const Bars& bars : chart.bars) {
      row.emplace_back(exact_text(bars.values[i]));
      if (!bars.low.empty()) row.insert(row.end(), {exact_text(bars.low[i]), exact_text(bars.high[i])});
    }
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table data_of(const HeatMap& map, const Lengths& lengths) {
  lengths.require(or_default(map.value_name, "the map"), map.values.size(),
                  map.rows.size() * map.columns.size());
  Table table;
  const std::string value = map.value_name.empty() ? "" : ": " + map.value_name;
  table.columns = {map.row_name + " / " + map.column_name + value};
  table.columns.insert(table.columns.end(), map.columns.begin(), map.columns.end());
  for (size_t r = 0; r < map.rows.size(); ++r) {
    std::vector<Cell> row = {map.rows[r]};
    for (size_t c = 0; c < map.columns.size(); ++c)
      row.emplace_back(exact_text(map.values[r * map.columns.size() + c]));
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table data_of(const Histogram& histogram, const Lengths& lengths) {
  Table table;
  table.columns = {"distribution", or_default(histogram.x.name, "value") + " from", "to",
                   or_default(histogram.y.name, "count")};
  for (const Distribution& distribution : histogram.distributions) {
    const size_t bins = distribution.counts.size();
    lengths.require("the edges of " + distribution.name, distribution.edges.size(), bins + 1);
    for (size_t i = 0; i < bins; ++i) {
      table.rows.push_back({distribution.name, exact_text(distribution.edges[i]),
                            exact_text(distribution.edges[i + 1]), exact_text(distribution.counts[i])});
    }
  }
  return table;
}

int64_t count_not_positive(const std::vector<double>& values) {
  return std::ranges::count_if(values, [](double value) { return std::isfinite(value) && value <= 0; });
}

}  // namespace

void add_numbered(Line& line, const std::string& label, double y) {
  line.x.push_back(static_cast<double>(line.x.size() + 1));
  line.y.push_back(y);
  line.labels.push_back(label);
}

Distribution distribution_of(const std::string& name, const std::vector<double>& values, int bins,
                             std::optional<double> low, std::optional<double> high) {
  check(bins >= 1, ErrorKind::kInternal, "distribution '{}': {} bins", name, bins);
  std::vector<double> finite;
  std::ranges::copy_if(values, std::back_inserter(finite), [](double value) { return std::isfinite(value); });
  double begin = low.value_or(finite.empty() ? 0 : *std::ranges::min_element(finite));
  double end = high.value_or(finite.empty() ? 1 : *std::ranges::max_element(finite));
  if (!(begin < end)) {  // one value only: a bin of some width around it
    const double half = begin == 0 ? 0.5 : std::abs(begin) / 2;
    begin -= half;
    end = begin + 2 * half;
  }
  Distribution result{name, {}, std::vector<double>(static_cast<size_t>(bins))};
  for (int i = 0; i <= bins; ++i) result.edges.push_back(begin + (end - begin) * i / bins);
  for (const double value : finite) {
    if (value < begin || value > end) continue;
    const auto bin = static_cast<int>((value - begin) / (end - begin) * bins);
    result.counts[static_cast<size_t>(std::min(bin, bins - 1))] += 1;
  }
  return result;
}

ScatterChart roofline_chart(const Roofline& roofline) {
  check(!roofline.bandwidths.empty() && !roofline.peaks.empty(), ErrorKind::kInternal,
        "a roofline needs a bandwidth and a peak");
  const auto by_value = [](const Ceiling& ceiling) { return ceiling.value; };
  const double roof = std::ranges::max(roofline.peaks, {}, by_value).value;
  const double steepest = std::ranges::max(roofline.bandwidths, {}, by_value).value;
  const double slowest = std::ranges::min(roofline.bandwidths, {}, by_value).value;
  // The plot reaches a little beyond the ridges and the points.
  double left = std::ranges::min(roofline.peaks, {}, by_value).value / steepest / 16,
         right = roof / slowest * 8;
  for (const Points& points : roofline.points) {
    for (const double x : points.x) {
      if (!std::isfinite(x) || x <= 0) continue;
      left = std::min(left, x / 2);
      right = std::max(right, x * 2);
    }
  }
  const double unit = roof >= 1e12 ? 1e12 : 1e9;
  ScatterChart chart{{"FLOP per byte", true}, {unit == 1e12 ? "TFLOP/s" : "GFLOP/s", true}, roofline.points};
  for (Points& points : chart.points) {
    for (double& y : points.y) y /= unit;
  }
  for (const Ceiling& slope : roofline.bandwidths) {
    const double ridge = roof / slope.value;
    chart.lines.push_back({slope.name, {left, ridge}, {left * slope.value / unit, roof / unit}});
  }
  for (const Ceiling& peak : roofline.peaks) {
    chart.lines.push_back(
        {peak.name, {peak.value / steepest, right}, {peak.value / unit, peak.value / unit}});
  }
  chart.x.low = left;
  chart.x.high = right;
  return chart;
}

Table data_of(const Figure& figure) {
  const Lengths lengths(figure.title);
  Table table = std::visit([&](const auto& chart) { return data_of(chart, lengths); }, figure.chart);
  table.title = figure.title;
  return table;
}

int64_t values_without_place(const Chart& chart) {
  const auto of_lines = [](const std::vector<Line>& lines, const Axis& x, const Axis& y) {
    int64_t count = 0;
    for (const Line& line : lines) {
      if (x.logarithmic) count += count_not_positive(line.x);
      if (y.logarithmic) count += count_not_positive(line.y);
    }
    return count;
  };
  return std::visit(
      overloaded{[&](const LineChart& c) { return of_lines(c.lines, c.x, c.y); },
                 [&](const ScatterChart& c) {
                   int64_t count = of_lines(c.lines, c.x, c.y);
                   for (const Points& points : c.points) {
                     if (c.x.logarithmic) count += count_not_positive(points.x);
                     if (c.y.logarithmic) count += count_not_positive(points.y);
                   }
                   return count;
                 },
                 [](const BarChart& c) {
                   int64_t count = 0;
                   for (const Bars& bars : c.bars)
                     count += c.value.logarithmic ? count_not_positive(bars.values) : 0;
                   return count;
                 },
                 [](const HeatMap& map) { return map.logarithmic ? count_not_positive(map.values) : 0; },
                 [](const Histogram& c) {
                   int64_t count = 0;  // empty bins are nothing that is missed
                   for (const Distribution& d : c.distributions) {
                     if (c.x.logarithmic) count += count_not_positive(d.edges);
                   }
                   return count;
                 }},
      chart);
}

}  // namespace residuum
