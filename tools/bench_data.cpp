// residuum bench data: images per second that the loader reads, decodes and augments, by format and threads.
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <filesystem>
#include <memory>
#include <thread>

#include "bench/image_files.h"
#include "bench/loading.h"
#include "engine/core/check.h"
#include "engine/core/temporary_folder.h"
#include "engine/train/units.h"
#include "tools/bench_verbs.h"
#include "tools/environment.h"
#include "tools/exit_codes.h"
#include "tools/output.h"

namespace residuum {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

struct DataArguments {
  std::vector<std::string> data;
  std::vector<int> threads;
  int64_t batch = 64;
  int batches = 40;
  std::string json, csv;
};

double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// One thread, two, four, ... and all.
std::vector<int> usual_threads() {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  std::vector<int> threads;
  for (int count = 1; count < cores; count *= 2) threads.push_back(count);
  threads.push_back(cores);
  return threads;
}

std::string transform_text(const Transform& transform) {
  return std::holds_alternative<RandomResizedCrop>(transform) ? "random_resized_crop" : "pad_crop_flip";
}

int bench_data(const DataArguments& arguments) {
  check_can_write(arguments.json);
  check_can_write(arguments.csv);
  std::unique_ptr<TemporaryFolder> folder;
  std::vector<bench::MadeUpData> sets;
  for (const std::string& path : arguments.data) sets.push_back({path, path});
  if (sets.empty()) {
    folder = std::make_unique<TemporaryFolder>();
    sets = bench::write_made_up_data(folder->path());
  }
  Json report = {{"kind", "data"}, {"environment", environment_of("no device")}, {"rows", Json::array()}};
  std::string text = fmt::format("{:<28} {:<20} {:>9} {:>8} {:>12}  p20-p80\n", "format", "transform",
                                 "result", "threads", "images/s");
  for (const bench::MadeUpData& set : sets) {
    const auto dataset = open_dataset(set.path, Split::kTrain);
    LoaderOptions options;
    options.transform = bench::usual_transform(*dataset);
    options.batch = std::min(arguments.batch, dataset->size());
    for (const int threads : arguments.threads.empty() ? usual_threads() : arguments.threads) {
      options.threads = threads;
      const bench::LoadingSpeed speed =
          bench::loading_speed(*dataset, options, arguments.batches, clock_seconds);
      const bench::Statistics& s = speed.images_per_second;
      report["rows"].push_back({{"format", set.format},
                                {"transform", transform_text(options.transform)},
                                {"result", to_string(speed.shape)},
                                {"batch", options.batch},
                                {"threads", threads},
                                {"images_per_second", to_json(s)}});
      text += fmt::format("{:<28} {:<20} {:>9} {:>8} {:>12.1f}  {:.1f}-{:.1f}\n", set.format,
                          transform_text(options.transform), to_string(speed.shape), threads, s.median, s.p20,
                          s.p80);
    }
  }
  write_report(arguments.json, report);
  write_rows(arguments.csv, report["rows"]);
  if (arguments.json != "-") print_result(text);
  return kExitOk;
}

}  // namespace

Verb bench_data_verb(const Command& bench_command) {
  const Command command = bench_command.add_command("data", "Images/s that are read, decoded and augmented");
  const auto arguments = std::make_shared<DataArguments>();
  command.add_option("--data", arguments->data, "Data sets; default: small made-up ones of each format")
      .type_name("PATH");
  command
      .add_option("--threads", arguments->threads,
                  "Loader threads, with commas between; default: 1, 2, 4, ... all")
      .delimiter(',')
      .range(0, 1024)
      .type_name("N,...");
  command.add_option("--batch", arguments->batch, "Images a batch")
      .range(int64_t{1}, int64_t{1} << 20)
      .show_default();
  command.add_option("--batches", arguments->batches, "Measured for each row")
      .range(1, 1000000)
      .show_default();
  command.add_option("--json", arguments->json, "Also write the rows here; -: to standard output, no table")
      .type_name("FILE");
  add_csv_option(command, arguments->csv);
  command.footer(
      "Examples:\n"
      "  residuum bench data\n"
      "  residuum bench data --data imagenet --threads 1,4,16 --json data.json");
  return {command, [arguments] { return bench_data(*arguments); }};
}

}  // namespace residuum
