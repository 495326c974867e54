// The figures of a page: plain data, drawn by charts.js. Invariant: what a figure shows is what its data_of()
// lists, so the table, the CSV file and the picture cannot differ.
//
// A value that is not finite is a gap. On a logarithmic axis a value of 0 or less is one too; the caption
// says how many.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "tools/page/table.h"

namespace residuum {

/// A line across the plot where an axis has this value: "chance", "published 8.75".
struct AxisMark {
  double value = 0;
  std::string name;
};

struct Axis {
  std::string name;  ///< with the unit: "time (ms)"
  bool logarithmic = false;
  std::optional<double> low = {}, high = {};  ///< chosen by the data when absent
  std::vector<AxisMark> marks = {};
};

struct Line {
  std::string name;
  std::vector<double> x, y;                 ///< of the same length
  std::vector<double> low = {}, high = {};  ///< a band around the line, for example p20 and p80; empty: none
  bool dashed = false;
  std::vector<std::string> labels = {};  ///< of each point, shown when pointed at: the layer of a number
};

/// Appends a point after the others of a line over layers or blocks: x is its number, from 1, `label` its
/// name.
void add_numbered(Line& line, const std::string& label, double y);

/// Curves, also with a band.
struct LineChart {
  Axis x, y;
  std::vector<Line> lines;
};

struct Bars {
  std::string name;
  std::vector<double> values;               ///< one for each category
  std::vector<double> low = {}, high = {};  ///< whiskers; empty: none
};

/// Bars beside each other, or on top of each other, in categories. With many categories let them lie:
/// horizontal.
struct BarChart {
  std::string category_name;  ///< "layer"
  std::vector<std::string> categories;
  Axis value;
  std::vector<Bars> bars;
  bool horizontal = false, stacked = false;
};

struct Points {
  std::string name;
  std::vector<double> x, y;
  std::vector<std::string> labels = {};  ///< of each point, shown when pointed at; empty: none
};

struct ScatterChart {
  Axis x, y;
  std::vector<Points> points;
  std::vector<Line> lines = {};  ///< drawn below the points, with their names at their ends
};

/// Values of rows (drawn from top to bottom) and columns.
struct HeatMap {
  std::string row_name, column_name;
  std::vector<std::string> rows, columns;
  std::vector<double> values;  ///< rows x columns, row after row
  std::string value_name;
  bool logarithmic = false;
  bool diverging = false;  ///< colours from both sides of 0; not with logarithmic
};

struct Distribution {
  std::string name;
  std::vector<double> edges;   ///< rising, one more than counts
  std::vector<double> counts;  ///< or shares, or densities
};

/// Distributions over each other.
struct Histogram {
  Axis x, y;
  std::vector<Distribution> distributions;
};

/// A distribution of `values` over `bins` bins of the same width between the smallest and the largest
/// (between `low` and `high` when given); values that are not finite or outside are left out. Throws
/// Error(kInternal) for bins < 1.
Distribution distribution_of(const std::string& name, const std::vector<double>& values, int bins,
                             std::optional<double> low = {}, std::optional<double> high = {});

using Chart = std::variant<LineChart, BarChart, ScatterChart, HeatMap, Histogram>;

struct Ceiling {
  std::string name;  ///< "copy 4.1 TB/s", "bf16 product 690 TFLOP/s"
  double value;      ///< FLOP/s, or bytes/s
};

/// Work per second against work per byte.
struct Roofline {
  std::vector<Ceiling> bandwidths;  ///< bytes/s: the slopes; at least one
  std::vector<Ceiling> peaks;       ///< FLOP/s: the roofs; at least one
  std::vector<Points> points;       ///< x: FLOP per byte, y: FLOP/s
};

/// The roofline plot on logarithmic axes: each slope up to the highest roof, each roof from where the
/// steepest slope meets it. y is shown in TFLOP/s, or GFLOP/s where everything is below 1 TFLOP/s.
ScatterChart roofline_chart(const Roofline& roofline);

struct Figure {
  std::string title;
  Chart chart;
  std::string caption = {};
};

/// Every number of a figure as a table. Throws Error(kInternal), naming the figure, when lengths do not fit.
Table data_of(const Figure& figure);

/// What charts.js draws. Precondition: data_of() accepts the figure.
nlohmann::ordered_json chart_json(const Figure& figure);

/// How many finite values of 0 or less cannot be shown because their axis is logarithmic.
int64_t values_without_place(const Chart& chart);

}  // namespace residuum
