#include "bench/kernels.h"

#include <algorithm>

#include "engine/core/check.h"

namespace residuum::bench {
namespace {

/// The name that launches have for the engine's own kernels.
std::string launch_name(const std::string& implementation) {
  return implementation == "ours" ? "own" : implementation;
}

Statistics replayed(Backend& backend, Timer& timer, const std::vector<Launch*>& launches, double seconds,
                    const Sampling& sampling) {
  const size_t repeats = repeats_for(seconds, launches.size());
  const auto program = record_in_turn(backend, launches, repeats);
  const auto work = [&] { program->run({}); };
  warm_up(timer, sampling, work);
  std::vector<double> times = sample(timer, sampling, work);
  for (double& time : times) time /= static_cast<double>(repeats);
  return statistics_of(times);
}

void measure_row(KernelRow& row, Backend& backend, const KernelOptions& options) {
  const DType activation = activation_type(options.precision);
  size_t sets = 1;
  {
    KernelCase first(backend, row.problem, row.operation, activation, 1);
    row.cost = first.cost();
    if (first.implementation() != launch_name(row.implementation)) {
      row.reason = fmt::format("here {} is computed by {}", row.operation, first.implementation());
      return;
    }
    row.verdict = first.verify(options.precision == Precision::kTF32);
    if (!row.verdict.passed()) {
      row.status = RowStatus::kWrong;
      row.reason = row.verdict.problem;
      return;
    }
    sets = KernelCase::sets_for(backend, first.set_bytes(), options.most_sets);
  }
  KernelCase test(backend, row.problem, row.operation, activation, sets);
  const std::unique_ptr<Timer> timer = backend.make_timer();
  const std::vector<Launch*> launches = test.launches();
  CacheFlush flush(backend);
  const auto work = [&] { launches.front()->run({}); };
  const double seconds = warm_up(*timer, options.sampling, work);
  row.cold = statistics_of(sample(*timer, options.sampling, work, [&] { flush.run(); }));
  row.replay = replayed(backend, *timer, launches, seconds, options.sampling);
  row.status = RowStatus::kMeasured;
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
  std::vector<KernelRow> rows;
  for (const Implementation& implementation : implementations) {
    KernelRow& row = rows.emplace_back();
    row.problem = problem;
    row.operation = operation;
    row.implementation = implementation.name;
    row.precision = residuum::to_string(options.precision);
    if (implementation.backend == nullptr) {
      row.reason = implementation.missing;
      continue;
    }
    try {
      measure_row(row, *implementation.backend, options);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kDevice) throw;
      row.status = RowStatus::kError;
      row.reason = error.what();
    }
  }
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
