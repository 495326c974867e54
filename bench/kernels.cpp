#include "bench/kernels.h"

#include <algorithm>

#include "engine/core/check.h"

namespace residuum::bench {
namespace {

/// The name that launches have for the engine's own kernels.
std::string launch_name(const std::string& implementation) {
  return implementation == "ours" ? "own" : implementation;
}

/// Samples are taken in so many turns, in which the implementations of an operation follow one another to and
/// fro (A B, B A, A B, B A): what clocks and heat do meanwhile they do to all alike.
constexpr int kTurns = 4;

/// Whether the implementation computes the operation, and rightly; the row says what is amiss.
bool is_right(KernelRow& row, KernelCase& test, const KernelOptions& options) {
  row.cost = test.cost();
  if (test.implementation() != launch_name(row.implementation)) {
    row.reason = fmt::format("here {} is computed by {}", row.operation, test.implementation());
    return false;
  }
  row.verdict = test.verify(options.precision == Precision::kTF32);
  if (row.verdict.passed()) return true;
  row.status = RowStatus::kWrong;
  row.reason = row.verdict.problem;
  return false;
}

/// An implementation whose result was right, warmed up and ready to be timed.
class Contender {
 public:
  Contender(KernelRow& row, Backend& backend, const KernelOptions& options, size_t sets)
      : row_(row),
        options_(options),
        test_(backend, row.problem, row.operation, activation_type(options.precision), sets),
        launches_(test_.launches()),
        timer_(backend.make_timer()),
        flush_(backend) {
    const double seconds = warm_up(*timer_, options.sampling, [&] { run_once(); });
    repeats_ = repeats_for(seconds, launches_.size());
    program_ = record_in_turn(backend, launches_, repeats_);
    warm_up(*timer_, options.sampling, [&] { program_->run({}); });
  }

  void take_turn(int turn) {
    const int samples = options_.sampling.samples;
    const Sampling part = {samples * (turn + 1) / kTurns - samples * turn / kTurns, 0};
    append(cold_, sample(
                      *timer_, part, [&] { run_once(); }, [&] { flush_.run(); }));
    program_->run({});  // the first one after another's turn does not count
    append(replay_, sample(*timer_, part, [&] { program_->run({}); }));
  }

  /// Hands the row its times.
  void finish() {
    for (double& time : replay_) time /= static_cast<double>(repeats_);
    row_.cold = statistics_of(cold_);
    row_.replay = statistics_of(replay_);
    row_.status = RowStatus::kMeasured;
  }

 private:
  static void append(std::vector<double>& all, const std::vector<double>& more) {
    all.insert(all.end(), more.begin(), more.end());
  }
  void run_once() { launches_.front()->run({}); }

  KernelRow& row_;
  const KernelOptions& options_;
  KernelCase test_;
  std::vector<Launch*> launches_;
  std::unique_ptr<Timer> timer_;
  CacheFlush flush_;
  size_t repeats_ = 1;
  std::unique_ptr<Program> program_;
  std::vector<double> cold_, replay_;
};

/// Does `work` for a row; a failing device is that row's error, and false.
template <typename Work>
bool succeeds(KernelRow& row, const Work& work) {
  try {
    return work();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kDevice) throw;
    row.status = RowStatus::kError;
    row.reason = error.what();
    return false;
  }
}

/// A row whose result has been found right, and what implements it.
struct Entrant {
  KernelRow* row = nullptr;
  Backend* backend = nullptr;
  size_t set_bytes = 0;
};

/// Times all that are right, in turns.
void measure_in_turns(const std::vector<Entrant>& entrants, const KernelOptions& options) {
  size_t sets = options.most_sets;
  for (const Entrant& entrant : entrants) {
    sets = std::min(
        sets, KernelCase::sets_for(*entrant.backend, entrant.set_bytes, options.most_sets, entrants.size()));
  }
  std::vector<std::pair<KernelRow*, std::unique_ptr<Contender>>> contenders;
  for (const Entrant& entrant : entrants) {
    succeeds(*entrant.row, [&] {
      auto contender = std::make_unique<Contender>(*entrant.row, *entrant.backend, options, sets);
      contenders.emplace_back(entrant.row, std::move(contender));
      return true;
    });
  }
  for (int turn = 0; turn < kTurns; ++turn) {
    std::erase_if(contenders, [&](auto& one) {
      return !succeeds(*one.first, [&] { return one.second->take_turn(turn), true; });
    });
    std::reverse(contenders.begin(), contenders.end());
  }
  for (auto& one : contenders) one.second->finish();
}

}  // namespace

std::string_view to_string(RowStatus status) {
  switch (status) {
    case RowStatus::kMeasured:
      return "measured";
    case RowStatus::kWrong:
      return "wrong";
    case RowStatus::kUnavailable:
      return "unavailable";
    case RowStatus::kError:
      return "error";
  }
  return "";
}

std::vector<KernelRow> measure_kernels(const std::vector<Implementation>& implementations,
                                       const Problem& problem, const std::string& operation,
                                       const KernelOptions& options) {
  std::vector<KernelRow> rows(implementations.size());
  std::vector<Entrant> entrants;
  for (size_t i = 0; i < rows.size(); ++i) {
    const Implementation& implementation = implementations[i];
    KernelRow& row = rows[i];
    row.problem = problem;
    row.operation = operation;
    row.implementation = implementation.name;
    row.precision = residuum::to_string(options.precision);
    row.reason = implementation.missing;
    if (implementation.backend == nullptr) continue;
    succeeds(row, [&] {
      KernelCase test(*implementation.backend, problem, operation, activation_type(options.precision), 1);
      const bool right = is_right(row, test, options);
      if (right) entrants.push_back({&row, implementation.backend, test.set_bytes()});
      return right;
    });
  }
  measure_in_turns(entrants, options);
  rank_rows(rows);
  return rows;
}

void rank_rows(std::vector<KernelRow>& rows) {
  const KernelRow* peer = nullptr;
  for (const KernelRow& row : rows) {
    if (peer == nullptr && row.status == RowStatus::kMeasured && row.implementation != "ours") peer = &row;
  }
  for (KernelRow& row : rows) {
    row.rank = 0;
    row.speed_up = 0;
    row.peer.clear();
    if (row.status != RowStatus::kMeasured) continue;
    row.rank = 1 + static_cast<int>(std::count_if(rows.begin(), rows.end(), [&](const KernelRow& other) {
                 return other.status == RowStatus::kMeasured && other.replay.median < row.replay.median;
               }));
    if (peer == nullptr || peer == &row) continue;
    row.peer = peer->implementation;
    row.speed_up = peer->replay.median / row.replay.median;
  }
}

}  // namespace residuum::bench
