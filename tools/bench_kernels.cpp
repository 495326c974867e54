// residuum bench kernels: the speed of each layer's operations by each implementation, beside what the
// machine can do.
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <memory>

#include "bench/kernels.h"
#include "engine/core/check.h"
#include "engine/core/log.h"
#include "models/zoo.h"
#include "tools/bench_page.h"
#include "tools/bench_verbs.h"
#include "tools/device.h"
#include "tools/exit_codes.h"
#include "tools/output.h"

namespace residuum {
namespace {

using Json = nlohmann::ordered_json;
using bench::Implementation;
using bench::KernelRow;
using bench::Problem;
using bench::RowStatus;

struct KernelsArguments {
  StaticArguments machine_code;
  std::vector<std::string> shapes, operations, implementations;
  std::string model, layer, device = "auto", precision, json, csv, html;
  int64_t batch = 256;
  int threads = 0;
  double time_limit = 0;
  bool list = false;
  bench::KernelOptions options;
};

/// The implementations of a device in the order of the rows; the first one's backend measures the ceilings.
std::vector<Implementation> implementations_of(const std::string& device, const BackendOptions& options,
                                               std::vector<std::unique_ptr<Backend>>& backends) {
  backends.push_back(make_backend(device, options));
  Backend* const plain = backends.front().get();
  if (plain->name() == "cpu") return {{"ours", plain, {}}, {"onednn", plain, {}}};
  std::vector<Implementation> list = {{"ours", plain, {}}};
  for (const char* library : {"cudnn", "cublas"}) {
    BackendOptions with = options;
    (library == std::string("cudnn") ? with.cudnn : with.cublas) = true;
    try {
      backends.push_back(make_backend("cuda", with));
      list.push_back({library, backends.back().get(), {}});
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kDevice) throw;
      log_warning("{} is not compared: {}", library, error.what());
      list.push_back({library, nullptr, error.what()});
    }
  }
  return list;
}

/// Those that were asked for by name; all when none was.
std::vector<Implementation> chosen(std::vector<Implementation> all, const std::vector<std::string>& names) {
  if (names.empty()) return all;
  std::vector<Implementation> list;
  for (const std::string& name : names) {
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const Implementation& i) { return i.name == name; });
    list.push_back(found != all.end() ? *found : Implementation{name, nullptr, "this device has no " + name});
  }
  return list;
}

std::vector<Problem> problems_of(const KernelsArguments& arguments) {
  std::vector<Problem> problems;
  for (const std::string& file : arguments.shapes) {
    for (Problem& problem : bench::read_problems(file)) problems.push_back(std::move(problem));
  }
  if (!arguments.model.empty()) {
    ModelOptions options;
    options.batch = arguments.batch;
    for (Problem& problem : bench::problems_of(build_model(arguments.model, options))) {
      problems.push_back(std::move(problem));
    }
  }
  check(!problems.empty(), ErrorKind::kUsage,
        "bench kernels needs problems: --shapes FILE or --model NAME; or --static");
  std::erase_if(problems, [&](const Problem& problem) {
    return problem.name.find(arguments.layer) == std::string::npos;
  });
  check(!problems.empty(), ErrorKind::kUsage, "no layer's name has '{}' in it", arguments.layer);
  return problems;
}

bool wanted(const KernelsArguments& arguments, const std::string& operation) {
  const auto& asked = arguments.operations;
  return asked.empty() || std::find(asked.begin(), asked.end(), operation) != asked.end();
}

/// An implementation that nobody asked for by name has no row where it has nothing.
bool has_row(const KernelsArguments& arguments, const KernelRow& row) {
  return row.status != RowStatus::kUnavailable || !arguments.implementations.empty();
}

class KernelsRun {
 public:
  explicit KernelsRun(const KernelsArguments& arguments) : arguments_(arguments) {}

  int run() {
    const std::vector<Problem> problems = problems_of(arguments_);
    if (arguments_.list) {
      std::string text;
      for (const Problem& problem : problems) text += to_string(problem) + "\n";
      print_result(text);
      return kExitOk;
    }
    check_can_write(arguments_.json);
    check_can_write(arguments_.csv);
    check_can_write_page(arguments_.html);
    const std::vector<Implementation> list = open();
    for (size_t i = 0; i < problems.size() && !is_over(); ++i) {
      for (const std::string& operation : operations_of(problems[i])) {
        if (wanted(arguments_, operation)) measure(list, problems[i], operation);
      }
      done_ = i + 1;
      if (arguments_.json != "-") write_report(arguments_.json, report(problems.size()));
    }
    if (done_ < problems.size()) {
      log_warning("--time-limit {}: {} of {} layers were not measured", arguments_.time_limit,
                  problems.size() - done_, problems.size());
    }
    write_rows(arguments_.csv, report(problems.size()).at("rows"));
    if (!arguments_.html.empty()) write_kernels_page(report(problems.size()), arguments_.html);
    if (arguments_.json == "-") {
      write_report("-", report(problems.size()));
    } else {
      print_result(to_text(ceilings_) + "\n" + to_text(rows_, ceilings_));
    }
    const bool wrong = std::any_of(rows_.begin(), rows_.end(), [](const KernelRow& row) {
      return row.status == RowStatus::kWrong || row.status == RowStatus::kError;
    });
    return wrong ? kExitBenchmark : kExitOk;
  }

 private:
  std::vector<Implementation> open() {
    std::string& precision = arguments_.precision;
    const std::vector<Implementation> all = implementations_of(
        arguments_.device, {.threads = arguments_.threads, .tf32 = precision == "tf32"}, backends_);
    Backend& plain = *backends_.front();
    if (precision.empty()) precision = plain.name() == "cuda" ? "bf16" : "fp32";
    arguments_.options.precision = precision_named(precision);
    environment_ = bench_environment(plain);
    ceilings_ = bench::measure_ceilings(plain, activation_type(arguments_.options.precision),
                                        bench::ceiling_sizes(plain), arguments_.options.sampling);
    return chosen(all, arguments_.implementations);
  }

  void measure(const std::vector<Implementation>& list, const Problem& problem,
               const std::string& operation) {
    for (KernelRow& row : bench::measure_kernels(list, problem, operation, arguments_.options)) {
      if (has_row(arguments_, row)) rows_.push_back(std::move(row));
    }
  }

  bool is_over() const {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin_;
    return arguments_.time_limit > 0 && elapsed.count() > arguments_.time_limit;
  }

  Json report(size_t problems) const {
    Json json = {{"kind", "kernels"},  {"environment", environment_}, {"ceilings", to_json(ceilings_)},
                 {"layers", problems}, {"layers_measured", done_},    {"rows", Json::array()}};
    for (const KernelRow& row : rows_) json["rows"].push_back(to_json(row, ceilings_));
    return json;
  }

  KernelsArguments arguments_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::vector<std::unique_ptr<Backend>> backends_;
  Json environment_;
  bench::Ceilings ceilings_;
  std::vector<KernelRow> rows_;
  size_t done_ = 0;  ///< problems
};

void add_problem_options(const Command& command, KernelsArguments& arguments) {
  command.add_option("--shapes", arguments.shapes, "Files of layers; bench/shapes has some")
      .type_name("FILE");
  command.add_option("--model", arguments.model, "Layers of this model of the zoo").type_name("NAME");
  command.add_option("--batch", arguments.batch, "Images, for --model")
      .range(int64_t{1}, int64_t{1} << 20)
      .show_default();
  command.add_option("--layer", arguments.layer, "Only layers with this in their name").type_name("TEXT");
  command.add_option("--op", arguments.operations, "Only these operations, with commas between")
      .delimiter(',')
      .one_of(bench::all_operations())
      .type_name("NAME,...");
  command.add_flag("--list", arguments.list, "Print the layers as such a file, measure nothing");
}

}  // namespace

Verb bench_kernels_verb(const Command& bench_command) {
  const Command command =
      bench_command.add_command("kernels", "Speed of each layer's operations, beside the machine's ceilings");
  const auto arguments = std::make_shared<KernelsArguments>();
  add_problem_options(command, *arguments);
  command
      .add_option("--impl", arguments->implementations,
                  "Only these, with commas between: ours, cudnn, cublas (CUDA), onednn (CPU)")
      .delimiter(',')
      .one_of({"ours", "cudnn", "cublas", "onednn"})
      .type_name("NAME,...");
  command
      .add_option("--precision", arguments->precision,
                  "fp32, tf32, bf16, fp16; default: bf16 on CUDA, else fp32")
      .one_of({kPrecisionNames.begin(), kPrecisionNames.end()});
  add_device_option(command, arguments->device);
  add_threads_option(command, arguments->threads);
  add_sampling_options(command, arguments->options.sampling);
  command
      .add_option("--time-limit", arguments->time_limit,
                  "Seconds after which no further layer is begun; 0: none")
      .not_negative();
  command.add_option("--json", arguments->json, "Also write the rows here; -: to standard output, no table")
      .type_name("FILE");
  add_csv_option(command, arguments->csv);
  command.add_option("--html", arguments->html, "Also write a page with roofline plot and bars here")
      .type_name("FILE");
  add_static_options(command, arguments->machine_code);
  command.footer(
      "A result is checked before its speed is measured; a wrong one has none, and the exit code is 10.\n"
      "Columns: medians in replay and with cold caches; shares of the product, copy and roofline ceilings "
      "measured\n"
      "first. More than 100 % of copy: buffers so small that they stay in a cache.\n"
      "--static wants cuobjdump and nvdisasm: part of the CUDA toolkit, or of PyPI's\n"
      "nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm.\n\n"
      "Examples:\n"
      "  residuum bench kernels --shapes bench/shapes/resnet50_b256.txt --op conv,conv_backward_data\n"
      "  residuum bench kernels --model cifar_resnet20 --batch 128 --json kernels.json\n"
      "  residuum bench kernels --static --check --json kernels.json");
  return {command, [arguments] {
            if (arguments->machine_code.asked)
              return report_machine_code(arguments->machine_code, arguments->json);
            return KernelsRun(*arguments).run();
          }};
}

}  // namespace residuum
