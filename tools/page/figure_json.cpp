// Figures as charts.js reads them: one object each, its "kind" first. Values that are not finite are null.
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/core/overloaded.h"
#include "tools/page/figure.h"

namespace residuum {
namespace {

using Json = nlohmann::ordered_json;

Json numbers(const std::vector<double>& values) {
  Json json = Json::array();
  for (const double value : values) json.push_back(std::isfinite(value) ? Json(value) : Json(nullptr));
  return json;
}

Json axis_json(const Axis& axis) {
  Json json = {{"name", axis.name}, {"logarithmic", axis.logarithmic}};
  if (axis.low) json["low"] = *axis.low;
  if (axis.high) json["high"] = *axis.high;
  json["marks"] = Json::array();
  for (const AxisMark& mark : axis.marks)
    json["marks"].push_back({{"value", mark.value}, {"name", mark.name}});
  return json;
}

Json lines_json(const std::vector<Line>& lines) {
  Json json = Json::array();
  for (const Line& line : lines) {
    json.push_back({{"name", line.name},
                    {"x", numbers(line.x)},
                    {"y", numbers(line.y)},
                    {"low", numbers(line.low)},
                    {"high", numbers(line.high)},
                    {"dashed", line.dashed},
                    {"labels", line.labels}});
  }
  return json;
}

Json to_json(const LineChart& chart) {
  return {{"kind", "lines"},
          {"x", axis_json(chart.x)},
          {"y", axis_json(chart.y)},
          {"lines", lines_json(chart.lines)}};
}

Json to_json(const ScatterChart& chart) {
  Json json = {{"kind", "scatter"},
               {"x", axis_json(chart.x)},
               {"y", axis_json(chart.y)},
               {"lines", lines_json(chart.lines)},
               {"points", Json::array()}};
  for (const Points& points : chart.points) {
    json["points"].push_back({{"name", points.name},
                              {"x", numbers(points.x)},
                              {"y", numbers(points.y)},
                              {"labels", points.labels}});
  }
  return json;
}

Json to_json(const BarChart& chart) {
  Json json = {{"kind", "bars"},
               {"categoryName", chart.category_name},
               {"categories", chart.categories},
               {"value", axis_json(chart.value)},
               {"horizontal", chart.horizontal},
               {"stacked", chart.stacked},
               {"bars", Json::array()}};
  for (const Bars& bars : chart.bars) {
    json["bars"].push_back({{"name", bars.name},
                            {"values", numbers(bars.values)},
                            {"low", numbers(bars.low)},
                            {"high", numbers(bars.high)}});
  }
  return json;
}

Json to_json(const HeatMap& map) {
  return {{"kind", "heat"},
          {"rowName", map.row_name},
          {"columnName", map.column_name},
          {"rows", map.rows},
          {"columns", map.columns},
          {"values", numbers(map.values)},
          {"valueName", map.value_name},
          {"logarithmic", map.logarithmic},
          {"diverging", map.diverging}};
}

Json to_json(const Histogram& histogram) {
  Json json = {{"kind", "histogram"},
               {"x", axis_json(histogram.x)},
               {"y", axis_json(histogram.y)},
               {"distributions", Json::array()}};
  for (const Distribution& distribution : histogram.distributions) {
    json["distributions"].push_back({{"name", distribution.name},
                                     {"edges", numbers(distribution.edges)},
                                     {"counts", numbers(distribution.counts)}});
  }
  return json;
}

}  // namespace

Json chart_json(const Figure& figure) {
  Json json = std::visit([](const auto& chart) { return to_json(chart); }, figure.chart);
  json["title"] = figure.title;
  return json;
}

}  // namespace residuum
