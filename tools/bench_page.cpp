#include "tools/bench_page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>
#include <map>
#include <sstream>

#include "bench/results.h"
#include "engine/core/check.h"
#include "tools/page/page.h"

namespace residuum {
namespace {

using Json = nlohmann::ordered_json;
using bench::number_of;
using bench::text_of;

bool is_measured(const Json& row) {
  return text_of(row, "status") == "measured";
}

/// "command line" for "command_line".
std::string words_of(std::string key) {
  std::ranges::replace(key, '_', ' ');
  return key;
}

Figure roofline_figure(const Json& report) {
  const Json& ceilings = report.at("ceilings");
  const double copy = number_of(ceilings, "copy_gbytes_per_second"),
               product = number_of(ceilings, "product_tflops");
  Roofline roofline;
  roofline.bandwidths = {{fmt::format("copy {:.0f} GB/s", copy), copy * 1e9}};
  roofline.peaks = {
      {fmt::format("{} product {:.3g} TFLOP/s", text_of(ceilings, "product_type"), product), product * 1e12}};
  std::map<std::string, Points> series;
  for (const Json& row : report.at("rows")) {
    if (!is_measured(row)) continue;
    Points& points = series[text_of(row, "implementation")];
    points.name = text_of(row, "implementation");
    points.x.push_back(number_of(row, "flops") / number_of(row, "bytes"));
    points.y.push_back(number_of(row, "tflops") * 1e12);
    points.labels.push_back(text_of(row, "layer") + " " + text_of(row, "operation"));
  }
  for (auto& [name, points] : series) roofline.points.push_back(std::move(points));
  return {
      "Roofline", roofline_chart(roofline),
      "Each layer and direction, in replay; ceilings measured in the same run. A point above the slope has "
      "buffers so small that they came from a cache."};
}

/// Bars of one operation: the median of each layer by each implementation, with p20 and p80.
Figure bars_figure(const Json& report, const std::string& operation) {
  BarChart chart;
  chart.category_name = "layer";
  chart.value.name = "time (us)";
  chart.horizontal = true;
  std::vector<std::string> names;
  std::map<std::string, std::map<std::string, const Json*>> rows;
  for (const Json& row : report.at("rows")) {
    if (text_of(row, "operation") != operation) continue;
    if (!rows.contains(text_of(row, "layer"))) chart.categories.push_back(text_of(row, "layer"));
    rows[text_of(row, "layer")][text_of(row, "implementation")] = &row;
    if (std::find(names.begin(), names.end(), text_of(row, "implementation")) == names.end()) {
      names.push_back(text_of(row, "implementation"));
    }
  }
  constexpr double kGap = std::numeric_limits<double>::quiet_NaN();
  for (const std::string& name : names) {
    Bars bars{name, {}, {}, {}};
    for (const std::string& layer : chart.categories) {
      const auto found = rows[layer].find(name);
      const bool measured = found != rows[layer].end() && is_measured(*found->second);
      const auto value = [&](const char* key) {
        return measured ? number_of(found->second->at("replay_us"), key) : kGap;
      };
      bars.values.push_back(value("median"));
      bars.low.push_back(value("p20"));
      bars.high.push_back(value("p80"));
    }
    chart.bars.push_back(std::move(bars));
  }
  return {operation, chart, "Median in replay, p20 to p80."};
}

/// "n=128 h=32 ..." of "conv layer1.0.conv1 n=128 h=32 ...": what a row has no column for.
std::string sizes_of(const std::string& problem) {
  const size_t name = problem.find(' '), sizes = problem.find(' ', std::min(name, problem.size() - 1) + 1);
  return sizes == std::string::npos ? problem : problem.substr(sizes + 1);
}

std::vector<Cell> cells_of(const Json& row) {
  std::vector<Cell> cells = {Cell(text_of(row, "layer"), sizes_of(text_of(row, "problem"))),
                             words_of(text_of(row, "operation")), text_of(row, "implementation")};
  if (!is_measured(row)) {
    const bool wrong = text_of(row, "status") == "wrong" || text_of(row, "status") == "error";
    cells.emplace_back(text_of(row, "status"), text_of(row, "reason"), wrong ? Mark::kBad : Mark::kPlain);
    cells.resize(10, Cell("-"));
    return cells;
  }
  if (!row.at("peer").is_null()) cells.back().note = "rank " + text_of(row, "rank");
  const Json &replay = row.at("replay_us"), &cold = row.at("cold_us");
  const auto spread = [](const Json& s) {
    return Cell(fixed_text(number_of(s, "median"), 1),
                fmt::format("p20 {:.1f}, p80 {:.1f}", number_of(s, "p20"), number_of(s, "p80")));
  };
  const auto percent = [&](const char* key) { return fmt::format("{:.0f} %", 100 * number_of(row, key)); };
  cells.push_back(spread(replay));
  cells.push_back(spread(cold));
  cells.emplace_back(fixed_text(number_of(row, "tflops"), 3), percent("peak_share") + " of product");
  cells.emplace_back(fixed_text(number_of(row, "gbytes_per_second"), 1), percent("copy_share") + " of copy");
  cells.emplace_back(percent("roofline_share"), text_of(row, "bound"));
  cells.emplace_back(row.at("peer").is_null()
                         ? Cell("-")
                         : Cell(fixed_text(number_of(row, "speed_up"), 2), "over " + text_of(row, "peer")));
  cells.emplace_back(fmt::format("{:.1e}", number_of(row, "max_relative_error")),
                     fmt::format("≤ {:.1e}", number_of(row, "allowed_error")), Mark::kGood);
  return cells;
}

void add_once(std::vector<std::string>& list, const std::string& text) {
  if (std::find(list.begin(), list.end(), text) == list.end()) list.push_back(text);
}

/// Images/s of each case: ours and the peers, from the slowest to the fastest round.
Figure peers_figure(const Json& report) {
  BarChart chart;
  chart.category_name = "case";
  chart.value.name = "images/s";
  std::map<std::string, std::map<std::string, const Json*>> sides;
  std::vector<std::string> names;
  const auto add = [&](const Json& row, const std::string& name, const Json& side) {
    const std::string category =
        text_of(row, "model") + " " + text_of(row, "batch") + " " + text_of(row, "precision");
    add_once(chart.categories, category);
    add_once(names, name);
    sides[category][name] = &side;
  };
  for (const Json& row : report.at("rows")) {
    const std::string variant = bench::our_variant(row);
    add(row, variant == "plain" ? "Residuum" : "Residuum " + variant, row.at("ours"));
  }
  for (const Json& row : report.at("rows")) {
    for (const Json& peer : row.at("peers")) add(row, "PyTorch " + text_of(peer, "name"), peer);
  }
  for (const std::string& name : names) {
    Bars bars{name, {}, {}, {}};
    for (const std::string& category : chart.categories) {
      const auto side = sides[category].find(name);
      std::vector<double> speeds = {std::numeric_limits<double>::quiet_NaN()};
      if (side != sides[category].end()) {
        speeds.front() = number_of(*side->second, "images_per_second");
        for (const Json& run : side->second->at("runs"))
          speeds.push_back(number_of(run, "images_per_second"));
      }
      bars.values.push_back(speeds.front());
      bars.low.push_back(*std::min_element(speeds.begin(), speeds.end()));
      bars.high.push_back(*std::max_element(speeds.begin(), speeds.end()));
    }
    chart.bars.push_back(std::move(bars));
  }
  return {"Images per second", chart,
          "Median over the rounds; whiskers are the slowest and the fastest one."};
}

/// The cells of "| a | b |".
std::vector<std::string> cells_of_line(const std::string& line) {
  std::vector<std::string> cells;
  for (size_t at = line.find('|'); at != std::string::npos;) {
    const size_t next = line.find('|', at + 1);
    if (next == std::string::npos) break;
    const std::string cell = line.substr(at + 1, next - at - 1);
    const size_t first = cell.find_first_not_of(' '), last = cell.find_last_not_of(' ');
    cells.push_back(first == std::string::npos ? "" : cell.substr(first, last - first + 1));
    at = next;
  }
  return cells;
}

/// README's table of a report.
Table table_of(const Json& report, const std::string& file) {
  std::istringstream lines(bench::markdown_of(report, file));
  Table table{file, {}, {}, {}};
  for (std::string line; std::getline(lines, line);) {
    const std::vector<std::string> cells = cells_of_line(line);
    if (cells.empty()) {
      table.caption += line;
    } else if (table.columns.empty()) {
      table.columns = cells;
    } else if (cells.front().find("---") == std::string::npos) {
      table.rows.emplace_back(cells.begin(), cells.end());
    }
  }
  return table;
}

std::vector<std::pair<std::string, std::string>> environment_facts(const Json& environment) {
  std::vector<std::pair<std::string, std::string>> facts;
  for (const char* key :
       {"device", "commit", "version", "date", "system", "compiler", "command_line", "gpu"}) {
    const Json& value = environment.at(key);
    if (value.is_null()) continue;
    facts.emplace_back(words_of(key),
                       value.is_array()
                           ? fmt::format("{}", fmt::join(value.get<std::vector<std::string>>(), " "))
                           : text_of(environment, key));
  }
  return facts;
}

std::vector<std::pair<std::string, std::string>> ceiling_facts(const Json& ceilings) {
  return {{"copy", fmt::format("{:.4g} GB/s", number_of(ceilings, "copy_gbytes_per_second"))},
          {"product", fmt::format("{:.4g} TFLOP/s in {}, by {}", number_of(ceilings, "product_tflops"),
                                  text_of(ceilings, "product_type"), text_of(ceilings, "product_by"))},
          {"a launch", fmt::format("{:.3g} us in a program, {:.3g} us alone",
                                   number_of(ceilings, "launch_us"), number_of(ceilings, "run_us"))}};
}

}  // namespace

void write_results_page(const std::filesystem::path& directory, const std::filesystem::path& file) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() == ".json") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  Page page("Benchmarks", directory.string());
  size_t reports = 0;
  for (const std::filesystem::path& path : paths) {
    const Json report = bench::read_report(path);
    const std::string kind = bench::kind_of(report);
    if (!bench::is_report_kind(kind)) continue;
    ++reports;
    page.section(path.filename().string());
    if (kind == "kernels") page.figure(roofline_figure(report));
    if (kind == "peers") page.figure(peers_figure(report));
    page.table(table_of(report, path.filename().string()));
  }
  check(reports > 0, ErrorKind::kData, "{} holds no JSON of a benchmark", directory.string());
  page.write(file);
}

void write_kernels_page(const Json& report, const std::filesystem::path& file) {
  const Json &environment = report.at("environment"), &ceilings = report.at("ceilings");
  Page page("Kernel throughput", text_of(environment, "device") + ", " + text_of(environment, "date"));
  page.facts(environment_facts(environment));
  page.section("Ceilings");
  page.facts(ceiling_facts(ceilings));
  page.figure(roofline_figure(report));
  page.section("Layers");
  std::vector<std::string> operations;
  for (const Json& row : report.at("rows")) {
    const std::string operation = text_of(row, "operation");
    if (std::find(operations.begin(), operations.end(), operation) == operations.end())
      operations.push_back(operation);
  }
  for (const std::string& operation : operations) page.figure(bars_figure(report, operation));
  page.section("Rows");
  Table table{
      "Rows",
      {"layer", "operation", "by", "replay (us)", "cold (us)", "TFLOP/s", "GB/s", "of roofline", "speed-up",
       "error"},
      {},
      "Times are medians. The error is that of a sample of elements against the definition in double."};
  for (const Json& row : report.at("rows")) table.rows.push_back(cells_of(row));
  page.table(std::move(table));
  page.write(file);
}

}  // namespace residuum
