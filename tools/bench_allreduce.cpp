#include "tools/bench_allreduce.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "bench/statistics.h"
#include "engine/backend/backend.h"
#include "engine/comm/exchange.h"
#include "engine/core/check.h"
#include "engine/core/log.h"
#include "tools/bench_verbs.h"
#include "tools/device.h"
#include "tools/exit_codes.h"
#include "tools/output.h"
#include "tools/ranks.h"

namespace residuum {
namespace {

constexpr double kMicro = 1e6;

struct AllReduceArguments {
  DeviceOptions device;
  RankOptions ranks;
  int64_t min_bytes = 1 << 10, max_bytes = 64 << 20;
  int factor = 4, repeats = 20, warm_up = 5;
  std::string json, csv;
};

/// One size. nccl-tests (doc/PERFORMANCE.md): algorithm bandwidth is bytes / time; bus bandwidth is that
/// times 2 (n - 1) / n, what each of n ranks must send and receive in any algorithm, comparable with the
/// hardware's.
struct Row {
  int64_t bytes = 0;
  int64_t wrong = 0;          ///< elements, on all ranks
  bench::Statistics seconds;  ///< of one sum: over the rounds, each the slowest rank's mean

  double algorithm_bandwidth() const { return static_cast<double>(bytes) / seconds.median; }
  double bus_bandwidth(int ranks) const { return algorithm_bandwidth() * 2 * (ranks - 1) / ranks; }
};

class Bench {
 public:
  Bench(const AllReduceArguments& arguments, Communicator& communicator, Backend& backend, Exchange& exchange)
      : arguments_(arguments), communicator_(communicator), backend_(backend), exchange_(exchange) {}

  Row run(int64_t bytes) const {
    const size_t count = static_cast<size_t>(bytes) / sizeof(float);
    const std::unique_ptr<Memory> memory = backend_.allocate(static_cast<size_t>(bytes));
    const std::vector<SummedMemory> pieces{{memory->data(), count}};
    Row row{bytes, wrong_in(pieces), {}};
    repeat(pieces, arguments_.warm_up);
    const int rounds = std::min(kRounds, arguments_.repeats);
    std::vector<double> seconds;
    for (int round = 0; round < rounds; ++round) {
      const int first = arguments_.repeats * round / rounds, end = arguments_.repeats * (round + 1) / rounds;
      seconds.push_back(mean_seconds(pieces, end - first));
    }
    row.seconds = bench::statistics_of(seconds);
    return row;
  }

 private:
  static constexpr int kRounds = 5;

  /// Of one of `times` sums, one after the other, on the slowest rank.
  double mean_seconds(const std::vector<SummedMemory>& pieces, int times) const {
    using Clock = std::chrono::steady_clock;
    communicator_.gather("", "begin");
    const Clock::time_point begin = Clock::now();
    repeat(pieces, times);
    const double mine = std::chrono::duration<double>(Clock::now() - begin).count() / times;
    return std::ranges::max(gather_numbers(communicator_, mine, "seconds"));
  }

  void repeat(const std::vector<SummedMemory>& pieces, int times) const {
    for (int i = 0; i < times; ++i) {
      exchange_.start(pieces, 1, "bench");
      exchange_.finish();
    }
    backend_.synchronize();
  }

  /// Sums whole numbers and compares.
  int64_t wrong_in(const std::vector<SummedMemory>& pieces) const {
    std::vector<float> values(pieces[0].count);
    const auto number = [](size_t i, int rank) {
      return static_cast<float>((i % 1000) * 2 + static_cast<size_t>(rank));
    };
    for (size_t i = 0; i < values.size(); ++i) values[i] = number(i, communicator_.rank());
    backend_.copy_to_device(pieces[0].data, values.data(), values.size() * sizeof(float));
    repeat(pieces, 1);
    backend_.copy_to_host(values.data(), pieces[0].data, values.size() * sizeof(float));
    int64_t wrong = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      float expected = 0;
      for (int rank = 0; rank < communicator_.ranks(); ++rank) expected += number(i, rank);
      wrong += values[i] == expected ? 0 : 1;
    }
    double all = 0;
    for (const double theirs : gather_numbers(communicator_, static_cast<double>(wrong), "wrong"))
      all += theirs;
    return static_cast<int64_t>(all);
  }

  const AllReduceArguments& arguments_;
  Communicator& communicator_;
  Backend& backend_;
  Exchange& exchange_;
};

std::string to_text(const std::vector<Row>& rows, int ranks) {
  constexpr double kGiga = 1e9;
  std::string text = fmt::format("{:>12} {:>12} {:>26} {:>10} {:>10} {:>8}\n", "bytes", "floats",
                                 "time us (p20-p80)", "alg GB/s", "bus GB/s", "wrong");
  for (const Row& row : rows) {
    const std::string time = fmt::format("{:.1f} ({:.1f}-{:.1f})", row.seconds.median * kMicro,
                                         row.seconds.p20 * kMicro, row.seconds.p80 * kMicro);
    text += fmt::format("{:>12} {:>12} {:>26} {:>10.3f} {:>10.3f} {:>8}\n", row.bytes, row.bytes / 4, time,
                        row.algorithm_bandwidth() / kGiga, row.bus_bandwidth(ranks) / kGiga, row.wrong);
  }
  return text;
}

nlohmann::ordered_json to_json(const std::vector<Row>& rows, int ranks, const std::string& network,
                               const Backend& backend) {
  nlohmann::ordered_json json = {{"kind", "allreduce"},
                                 {"environment", bench_environment(backend)},
                                 {"ranks", ranks},
                                 {"network", network},
                                 {"sizes", nlohmann::json::array()}};
  for (const Row& row : rows) {
    json["sizes"].push_back({{"bytes", row.bytes},
                             {"seconds", row.seconds.median},
                             {"time_us", bench::to_json(row.seconds, kMicro)},
                             {"algorithm_bytes_per_second", row.algorithm_bandwidth()},
                             {"bus_bytes_per_second", row.bus_bandwidth(ranks)},
                             {"wrong", row.wrong}});
  }
  return json;
}

int run_allreduce(const AllReduceArguments& arguments) {
  check(arguments.min_bytes <= arguments.max_bytes, ErrorKind::kUsage,
        "--min-bytes is {}, above --max-bytes {}", arguments.min_bytes, arguments.max_bytes);
  const RankPlace place = find_place(arguments.ranks.flags);
  for (const std::string& file : {arguments.json, arguments.csv}) {
    if (place.rank == 0) check_can_write(file);
  }
  if (place.ranks == 1) {
    log_warning("one rank has nothing to add to: start several, for example by residuum launch -n 2 -- ...");
  }
  const auto communicator = join_even_alone(place, arguments.ranks);
  TrainRecipe one_thread;
  one_thread.threads = 1;
  const auto backend = open_device(arguments.device, one_thread, gpu_of(place));
  const auto exchange = make_exchange(*communicator, *backend, false);
  const Bench bench(arguments, *communicator, *backend, *exchange);
  std::vector<Row> rows;
  for (int64_t bytes = arguments.min_bytes; bytes <= arguments.max_bytes; bytes *= arguments.factor) {
    rows.push_back(bench.run(bytes / 4 * 4));
  }
  if (place.rank == 0) {
    const nlohmann::ordered_json report = to_json(rows, place.ranks, exchange->describe(), *backend);
    write_report(arguments.json, report);
    write_rows(arguments.csv, report.at("sizes"));
    if (arguments.json != "-") {
      print_result(backend->describe() + "\n" + exchange->describe() + "\n" + to_text(rows, place.ranks));
    }
  }
  const bool right = std::ranges::all_of(rows, [](const Row& row) { return row.wrong == 0; });
  return right ? kExitOk : kExitBenchmark;
}

}  // namespace

Verb allreduce_verb(const Command& bench) {
  const Command command =
      bench.add_command("allreduce", "Sums over ranks: time, algorithm and bus bandwidth");
  const auto arguments = std::make_shared<AllReduceArguments>();
  const auto size = [&](const char* name, int64_t& bytes, const char* help) {
    command.add_option(name, bytes, help + std::string(", for example 64K, 64M or 64MB"))
        .bytes()
        .range(int64_t{4}, int64_t{1} << 34)
        .type_name("BYTES")
        .show_default();
  };
  size("--min-bytes", arguments->min_bytes, "Smallest sum");
  size("--max-bytes", arguments->max_bytes, "Largest sum");
  command.add_option("--factor", arguments->factor, "From one size to the next")
      .range(2, 1024)
      .show_default();
  command.add_option("--repeats", arguments->repeats, "Sums that are timed, of each size, in five rounds")
      .range(1, 1000000)
      .show_default();
  add_device_option(command, arguments->device.device);
  add_rank_options(command, arguments->ranks);
  command.add_option("--json", arguments->json, "Also write the rows here; -: to standard output, no table")
      .type_name("FILE");
  add_csv_option(command, arguments->csv);
  command.footer(
      "Times are medians over the rounds. Algorithm bandwidth is bytes over time, bus bandwidth that times\n"
      "2 (n - 1) / n for n ranks, as in nccl-tests. Wrong: elements of a checked sum; any gives exit code "
      "10.\n\n"
      "Examples:\n"
      "  residuum launch -n 2 -- bench allreduce --device cpu\n"
      "  mpirun -n 8 residuum bench allreduce --device cuda --max-bytes 256M --json sums.json");
  return {command, [arguments] { return run_allreduce(*arguments); }};
}

}  // namespace residuum
