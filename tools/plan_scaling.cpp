#include "tools/plan_scaling.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>

#include "engine/comm/network_fit.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/exec/scaling.h"
#include "engine/train/units.h"
#include "tools/chip_preset.h"
#include "tools/page/page.h"

namespace residuum {
namespace {

using Json = nlohmann::ordered_json;
using Assumptions = std::vector<std::pair<std::string, std::string>>;

int whole_number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check(error == std::errc() && end == text.data() + text.size() && value >= 1 && value <= 1 << 20,
        ErrorKind::kConfig, "--gpus: '{}' is no integer 1 to 1048576", text);
  return value;
}

/// "64": the powers of two below, and 64; "8,64,512": just these.
std::vector<int> gpu_counts(const std::string& text) {
  std::vector<int> counts;
  if (text.find(',') == std::string::npos) {
    const int most = whole_number(text);
    for (int count = 1; count < most; count *= 2) counts.push_back(count);
    counts.push_back(most);
    return counts;
  }
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    counts.push_back(whole_number(std::string_view(text).substr(begin, end - begin)));
    begin = end + 1;
  }
  return counts;
}

/// "conv1:conv bn1:batch_norm_stats": how files of launch times name a launch.
std::string nodes_text(const Plan& plan, size_t group) {
  std::string text;
  for (const NodeId id : plan.groups[group].nodes) {
    const Node& node = plan.graph.node(id);
    text += fmt::format("{}{}:{}", text.empty() ? "" : " ", node.name, op_name(node.op));
  }
  return text;
}

/// Seconds by nodes_text().
std::map<std::string, double> read_launch_times(const std::string& file) {
  const Json json = try_parse_json<Json>(read_text_file(file));
  check(json.is_object() && json.contains("per_launch") && json["per_launch"].is_array(), ErrorKind::kData,
        "{} is no measurement of a step with its launches: it has no list 'per_launch'", file);
  std::map<std::string, double> seconds;
  for (const Json& row : json["per_launch"]) {
    const bool fits = row.is_object() && row.contains("nodes") && row["nodes"].is_string() &&
                      row.contains("ms") && row["ms"].is_number() && row["ms"].get<double>() >= 0;
    check(fits, ErrorKind::kData, "{}: a row of 'per_launch' must have 'nodes' and 'ms', but one is {}", file,
          json_text(row));
    seconds[row["nodes"].get<std::string>()] = row["ms"].get<double>() * 1e-3;
  }
  return seconds;
}

/// The step, and what its launches' times are.
struct TimedStep {
  std::vector<StepPart> parts;
  std::string source;
};

TimedStep measured_step(const Plan& plan, const std::string& file) {
  const std::map<std::string, double> times = read_launch_times(file);
  const auto seconds = [&](size_t group) {
    const std::string nodes = nodes_text(plan, group);
    const auto found = times.find(nodes);
    check(found != times.end(), ErrorKind::kData,
          "{} has no time of the launch '{}': it is of another model, batch, precision or device", file,
          nodes);
    return found->second;
  };
  return {step_parts(plan, seconds), "measured, from " + file};
}

TimedStep roofline_step(const Plan& plan, const ScalingSubject& subject, std::string chip_spec) {
  check(!chip_spec.empty() || subject.device == "cuda", ErrorKind::kConfig,
        "times of launches on {} need --chip bytes=RATE,flops=RATE or --per-launch-times FILE",
        subject.device);
  if (chip_spec.empty()) chip_spec = "h100";
  const NamedChip chip = parse_chip(chip_spec, subject.precision);
  const auto seconds = [&](size_t group) {
    return roofline_seconds(chip.model, plan.launches[group]->cost());
  };
  return {step_parts(plan, seconds), "roofline of " + chip.description};
}

/// The network, and what its values are.
struct SourcedNetwork {
  NetworkModel model;
  Assumptions assumptions;
};

/// From what `bench allreduce --json` wrote.
SourcedNetwork measured_network(const std::string& file) {
  const Json json = try_parse_json<Json>(read_text_file(file));
  const bool fits = json.is_object() && json.contains("ranks") && json["ranks"].is_number_integer() &&
                    json.contains("sizes") && json["sizes"].is_array();
  check(fits, ErrorKind::kData, "{} is no measurement of all-reduces: it has no 'ranks' and 'sizes'", file);
  std::vector<MeasuredSum> sums;
  for (const Json& row : json["sizes"]) {
    check(row.is_object() && row.contains("bytes") && row["bytes"].is_number_unsigned() &&
              row.contains("seconds") && row["seconds"].is_number(),
          ErrorKind::kData, "{}: a row of 'sizes' must have 'bytes' and 'seconds', but one is {}", file,
          json_text(row));
    sums.push_back({row["bytes"].get<size_t>(), row["seconds"].get<double>()});
  }
  const int ranks = json["ranks"].get<int>();
  const FittedNetwork fitted = fit_network(sums, ranks);
  return {fitted.model,
          {{"all-reduce", fmt::format("a ring over equal links, {:.4g} GB/s each way and {:.4g} us a hop",
                                      fitted.model.intra_bandwidth / 1e9, fitted.model.intra_latency * 1e6)},
           {"these values", fmt::format("fitted to {}: {} sizes over {} ranks, off by at most {:.1f} %", file,
                                        sums.size(), ranks, fitted.worst_deviation * 100)},
           {"other numbers of GPUs", "have the same links"}}};
}

SourcedNetwork network_of(const ScalingArguments& arguments) {
  if (!arguments.all_reduce_times.empty()) return measured_network(arguments.all_reduce_times);
  check(!arguments.network.empty(), ErrorKind::kUsage,
        "--gpus needs --network, for example nvlink4+ib400x8, or --all-reduce-times");
  const NetworkModel model = parse_network(arguments.network);
  return {model, assumptions_of(model)};
}

struct Row {
  int gpus = 0, nodes = 0;
  SimulatedStep step;
  double images_per_second = 0;
  std::string algorithms;  ///< of the buckets, in order of appearance
};

Row simulate(const TimedStep& timed, const NetworkModel& network, int gpus, const ScalingSubject& subject,
             double slowdown) {
  Row row;
  row.gpus = gpus;
  row.nodes = std::max(gpus / network.gpus_per_node, 1);
  const auto all_reduce = [&](size_t bytes) {
    const AllReduceTime time = all_reduce_time(network, gpus, bytes);
    const std::string name(algorithm_name(time.algorithm));
    if (gpus > 1 && row.algorithms.find(name) == std::string::npos)
      row.algorithms += (row.algorithms.empty() ? "" : "+") + name;
    return time.seconds;
  };
  row.step = simulate_step(timed.parts, all_reduce, gpus > 1 ? slowdown : 0);
  row.images_per_second = static_cast<double>(gpus) * static_cast<double>(subject.batch) / row.step.seconds;
  return row;
}

struct Scaling {
  ScalingSubject subject;
  std::vector<size_t> buckets;        ///< bytes, in the order of the step
  std::array<double, 3> phases = {};  ///< seconds of forward, backward with recomputation, update
  Assumptions assumptions;
  std::vector<Row> rows;
};

void describe_parts(Scaling& scaling, const TimedStep& timed) {
  for (const StepPart& part : timed.parts) {
    if (part.reduced_bytes > 0) {
      scaling.buckets.push_back(part.reduced_bytes);
    } else {
      const size_t phase = part.phase == Phase::kForward ? 0 : part.phase < Phase::kAccumulate ? 1 : 2;
      scaling.phases[phase] += part.seconds;
    }
  }
}

int64_t total_bytes(const Scaling& scaling) {
  int64_t total = 0;
  for (const size_t bytes : scaling.buckets) total += static_cast<int64_t>(bytes);
  return total;
}

Scaling simulate_all(const Plan& plan, const ScalingSubject& subject, const ScalingArguments& arguments) {
  SourcedNetwork network = network_of(arguments);
  const TimedStep timed = arguments.launch_times.empty() ? roofline_step(plan, subject, arguments.chip)
                                                         : measured_step(plan, arguments.launch_times);
  Scaling scaling{subject, {}, {}, {}, {}};
  describe_parts(scaling, timed);
  scaling.assumptions = {
      {"batch", fmt::format("{} images a GPU, whatever their number (weak scaling)", subject.batch)},
      {"times of launches", timed.source},
      {"launches", "one after another; two streams share one chip and gain nothing"},
      {"buckets",
       fmt::format("{} of f32 sums, {} in all; each starts when its last gradient is there and the one "
                   "before is done",
                   scaling.buckets.size(), bytes_text(total_bytes(scaling)))},
      {"overlap", arguments.slowdown == 0
                      ? "all-reduces run beside launches and take nothing from them"
                      : fmt::format("launches run at {:.4g} of their speed while an all-reduce is under way",
                                    1 - arguments.slowdown)},
      {"the update", "waits for all sums"},
      {"data and ranks", "images are always there; all GPUs are equally fast"}};
  for (auto& assumption : network.assumptions) scaling.assumptions.push_back(std::move(assumption));
  for (const int gpus : gpu_counts(arguments.gpus))
    scaling.rows.push_back(simulate(timed, network.model, gpus, subject, arguments.slowdown));
  return scaling;
}

std::string title_of(const Scaling& scaling) {
  return fmt::format("{}, batch {} a GPU, {}", scaling.subject.model, scaling.subject.batch,
                     to_string(scaling.subject.precision));
}

std::string to_text(const Scaling& scaling) {
  std::string text =
      fmt::format("{}: {:.3f} ms of launches (forward {:.3f}, backward {:.3f}, update {:.3f})\n\n",
                  title_of(scaling), scaling.rows.front().step.compute_seconds * 1e3, scaling.phases[0] * 1e3,
                  scaling.phases[1] * 1e3, scaling.phases[2] * 1e3);
  text += fmt::format("{:>7}  {:>6}  {:>10}  {:>11}  {:>11}  {:>10}  {:>12}  {}\n", "GPUs", "nodes",
                      "step ms", "reduce ms", "exposed ms", "efficiency", "images/s", "all-reduce");
  for (const Row& row : scaling.rows) {
    text += fmt::format("{:>7}  {:>6}  {:>10.3f}  {:>11.3f}  {:>11.3f}  {:>8.2f} %  {:>12.0f}  {}\n",
                        row.gpus, row.nodes, row.step.seconds * 1e3, row.step.communication_seconds * 1e3,
                        row.step.exposed_seconds() * 1e3, row.step.efficiency() * 100, row.images_per_second,
                        row.algorithms.empty() ? "-" : row.algorithms);
  }
  text += "\nassumed\n";
  for (const auto& [name, value] : scaling.assumptions) text += fmt::format("  {:<22} {}\n", name, value);
  return text;
}

Json to_json(const Scaling& scaling) {
  Json json = {{"model", scaling.subject.model},       {"device", scaling.subject.device},
               {"batch", scaling.subject.batch},       {"precision", to_string(scaling.subject.precision)},
               {"forward_seconds", scaling.phases[0]}, {"backward_seconds", scaling.phases[1]},
               {"update_seconds", scaling.phases[2]},  {"bucket_bytes", scaling.buckets},
               {"assumptions", Json::object()},        {"steps", Json::array()}};
  for (const auto& [name, value] : scaling.assumptions) json["assumptions"][name] = value;
  for (const Row& row : scaling.rows) {
    json["steps"].push_back({{"gpus", row.gpus},
                             {"nodes", row.nodes},
                             {"seconds", row.step.seconds},
                             {"compute_seconds", row.step.compute_seconds},
                             {"communication_seconds", row.step.communication_seconds},
                             {"exposed_seconds", row.step.exposed_seconds()},
                             {"efficiency", row.step.efficiency()},
                             {"images_per_second", row.images_per_second},
                             {"algorithms", row.algorithms}});
  }
  return json;
}

LineChart chart_of(const Scaling& scaling, const std::string& name, bool logarithmic,
                   double (*value)(const Row&)) {
  Line line{name, {}, {}};
  for (const Row& row : scaling.rows) {
    line.x.push_back(row.gpus);
    line.y.push_back(value(row));
  }
  return {{"GPUs", true}, {name, logarithmic}, {std::move(line)}};
}

Page page_of(const Scaling& scaling) {
  Page page("Data-parallel scaling of " + scaling.subject.model,
            title_of(scaling) + ": computed, not measured");
  page.section("Efficiency");
  LineChart efficiency =
      chart_of(scaling, "efficiency (%)", false, [](const Row& row) { return row.step.efficiency() * 100; });
  efficiency.y.low = 0;
  efficiency.y.high = 100;
  page.figure({"Efficiency", std::move(efficiency),
               "The step of one GPU over that of many, each with its own batch."});
  page.figure({"Throughput",
               chart_of(scaling, "images/s", true, [](const Row& row) { return row.images_per_second; })});
  BarChart bars{"GPUs", {}, {"ms"}, {{"launches", {}}, {"exposed communication", {}}}, false, true};
  for (const Row& row : scaling.rows) {
    bars.categories.push_back(fmt::format("{}", row.gpus));
    bars.bars[0].values.push_back(row.step.compute_seconds * 1e3);
    bars.bars[1].values.push_back(row.step.exposed_seconds() * 1e3);
  }
  page.figure({"The step", std::move(bars)});
  page.section("Numbers");
  Table table{
      "Steps",
      {"GPUs", "nodes", "step ms", "reduce ms", "exposed ms", "efficiency (%)", "images/s", "all-reduce"},
      {}};
  for (const Row& row : scaling.rows) {
    table.rows.push_back(
        {fmt::format("{}", row.gpus), fmt::format("{}", row.nodes), fixed_text(row.step.seconds * 1e3, 3),
         fixed_text(row.step.communication_seconds * 1e3, 3), fixed_text(row.step.exposed_seconds() * 1e3, 3),
         fixed_text(row.step.efficiency() * 100, 2), fixed_text(row.images_per_second, 0), row.algorithms});
  }
  page.table(std::move(table));
  page.section("What is assumed");
  page.facts(scaling.assumptions);
  return page;
}

}  // namespace

void add_scaling_options(const Command& command, ScalingArguments& arguments) {
  Option gpus = command.add_option(
      "--gpus", arguments.gpus,
      "Compute the step on many GPUs: 4096 (the powers of two up to it) or 8,64,512; --batch is one GPU's");
  gpus.type_name("N");
  const auto add = [&](const char* name, auto& value, const char* help, const char* type) {
    return command.add_option(name, value, help).type_name(type).needs(gpus);
  };
  add("--network", arguments.network, "Links between GPUs, for example nvlink4+ib400x8", "SPEC");
  add("--all-reduce-times", arguments.all_reduce_times,
      "A network fitted to measured sums instead: JSON of bench allreduce", "FILE")
      .excludes("--network");
  add("--chip", arguments.chip, "Ceilings that launches reach; default h100 on cuda", "SPEC");
  add("--per-launch-times", arguments.launch_times,
      "Measured times instead of ceilings: JSON with per_launch, as benchmarks of a step write it", "FILE");
  add("--bucket", arguments.bucket_bytes, "Gradients summed together; 0: chosen", "BYTES").bytes();
  add("--slowdown", arguments.slowdown, "Part of its speed that a launch loses while gradients are summed",
      "SHARE")
      .range(0.0, 0.99);
  add("--html", arguments.page, "Also write the scaling as a page", "FILE");
}

std::string show_scaling(const Plan& plan, const ScalingSubject& subject, const ScalingArguments& arguments,
                         bool json) {
  const Scaling scaling = simulate_all(plan, subject, arguments);
  if (!arguments.page.empty()) page_of(scaling).write(arguments.page);
  return json ? json_text(to_json(scaling), 2) + "\n" : to_text(scaling);
}

std::string describe_scaling() {
  return describe_networks() + describe_chips();
}

}  // namespace residuum
