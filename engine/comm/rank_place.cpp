#include "engine/comm/rank_place.h"

#include <charconv>
#include <cstdlib>

#include "engine/core/check.h"

namespace residuum {
namespace {

constexpr int kManyRanks = 1 << 20;

int whole_number(const std::string& name, const std::string& text, int least, int most) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check(error == std::errc() && end == text.data() + text.size() && value >= least && value <= most,
        ErrorKind::kUsage, "{} is '{}', allowed are whole numbers {} to {}", name, text, least, most);
  return value;
}

/// The variables of one launcher.
class Variables {
 public:
  Variables(const Environment& environment, std::string launcher)
      : environment_(environment), launcher_(std::move(launcher)) {}

  std::optional<std::string> text(const std::string& name) const { return environment_(name); }
  std::string required(const std::string& name, const std::string& beside) const {
    const auto found = text(name);
    check(found.has_value(), ErrorKind::kUsage, "{}: {} is set and {} is not", launcher_, beside, name);
    return *found;
  }
  /// Sets rank and ranks.
  void place(RankPlace& place, const std::string& rank, const std::string& ranks) const {
    place.ranks = whole_number(ranks, required(ranks, rank), 1, kManyRanks);
    place.rank = whole_number(rank, required(rank, ranks), 0, place.ranks - 1);
  }
  int number(const std::string& name, int least, int most, int otherwise) const {
    const auto found = text(name);
    return found ? whole_number(name, *found, least, most) : otherwise;
  }

 private:
  const Environment& environment_;
  std::string launcher_;
};

void set_rendezvous(RankPlace& place, const std::string& text) {
  const size_t colon = text.rfind(':');
  check(colon != std::string::npos && colon > 0, ErrorKind::kUsage, "--rendezvous is '{}', not HOST:PORT",
        text);
  place.host = text.substr(0, colon);
  place.port = whole_number("the port of --rendezvous", text.substr(colon + 1), 1, 65535);
}

std::optional<RankPlace> from_flags(const PlaceFlags& flags) {
  if (!flags.rank && !flags.ranks) return std::nullopt;
  check(flags.rank && flags.ranks, ErrorKind::kUsage, "--rank and --ranks must be given together");
  check(*flags.ranks >= 1 && *flags.rank >= 0 && *flags.rank < *flags.ranks, ErrorKind::kUsage,
        "--rank is {}, allowed is 0 to {}, below --ranks", *flags.rank, *flags.ranks - 1);
  RankPlace place{LaunchedBy::kFlags, *flags.rank, *flags.ranks, flags.local_rank.value_or(0), 1, "", 0};
  check(place.ranks == 1 || !flags.rendezvous.empty(), ErrorKind::kUsage,
        "--ranks {} needs --rendezvous HOST:PORT, where rank 0 listens", place.ranks);
  if (!flags.rendezvous.empty()) set_rendezvous(place, flags.rendezvous);
  return place;
}

std::optional<RankPlace> from_torchrun(const Environment& environment) {
  const Variables variables(environment, "torchrun's variables");
  if (!variables.text("RANK") && !variables.text("WORLD_SIZE")) return std::nullopt;
  RankPlace place{.by = LaunchedBy::kTorchrun};
  variables.place(place, "RANK", "WORLD_SIZE");
  place.local_ranks = variables.number("LOCAL_WORLD_SIZE", 1, place.ranks, 1);
  place.local_rank = variables.number("LOCAL_RANK", 0, kManyRanks, 0);
  if (place.ranks == 1) return place;
  place.host = variables.required("MASTER_ADDR", "WORLD_SIZE");
  place.port = whole_number("MASTER_PORT", variables.required("MASTER_PORT", "WORLD_SIZE"), 1, 65535);
  return place;
}

/// 4 for Slurm's "4(x2),3".
int first_number(const std::string& text) {
  int value = 1;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return std::max(1, value);
}

std::optional<RankPlace> from_slurm(const Environment& environment) {
  const Variables variables(environment, "Slurm's variables");
  if (!variables.text("SLURM_PROCID")) return std::nullopt;
  RankPlace place{.by = LaunchedBy::kSlurm};
  const bool step = variables.text("SLURM_STEP_NUM_TASKS").has_value();
  variables.place(place, "SLURM_PROCID", step ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS");
  place.local_rank = variables.number("SLURM_LOCALID", 0, kManyRanks, 0);
  for (const char* name : {"SLURM_TASKS_PER_NODE", "SLURM_STEP_TASKS_PER_NODE"}) {
    if (const auto tasks = variables.text(name)) place.local_ranks = first_number(*tasks);
  }
  if (place.ranks == 1) return place;
  place.host = first_host(variables.text("SLURM_STEP_NODELIST")
                              .value_or(variables.text("SLURM_JOB_NODELIST").value_or("127.0.0.1")));
  // A port of the job's own; jobs that share a machine differ in their number, steps of a job in theirs.
  constexpr int kFirstPort = 15000, kPorts = 15000;
  const int job = variables.number("SLURM_JOB_ID", 0, 2'000'000'000, 0),
            number = variables.number("SLURM_STEP_ID", 0, 2'000'000'000, 0);
  place.port = variables.number("MASTER_PORT", 1, 65535, kFirstPort + (job + 97 * (number % 1000)) % kPorts);
  return place;
}

std::optional<RankPlace> from_mpi(const Environment& environment) {
  const Variables variables(environment, "MPI's variables");
  RankPlace place{.by = LaunchedBy::kMpi};
  if (variables.text("OMPI_COMM_WORLD_RANK")) {
    variables.place(place, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE");
    place.local_rank = variables.number("OMPI_COMM_WORLD_LOCAL_RANK", 0, kManyRanks, 0);
    place.local_ranks = variables.number("OMPI_COMM_WORLD_LOCAL_SIZE", 1, kManyRanks, 1);
    return place;
  }
  if (variables.text("PMI_RANK") && variables.text("PMI_SIZE")) {
    variables.place(place, "PMI_RANK", "PMI_SIZE");
    place.local_rank = variables.number("MPI_LOCALRANKID", 0, kManyRanks, 0);
    place.local_ranks = variables.number("MPI_LOCALNRANKS", 1, kManyRanks, 1);
    return place;
  }
  return std::nullopt;
}

bool differ(const std::optional<RankPlace>& a, const std::optional<RankPlace>& b) {
  return a && b && (a->ranks > 1 || b->ranks > 1) && (a->ranks != b->ranks || a->rank != b->rank);
}

}  // namespace

std::string_view to_string(LaunchedBy by) {
  switch (by) {
    case LaunchedBy::kNobody:
      return "nobody";
    case LaunchedBy::kFlags:
      return "--rank and --ranks";
    case LaunchedBy::kTorchrun:
      return "torchrun's variables";
    case LaunchedBy::kSlurm:
      return "Slurm";
    case LaunchedBy::kMpi:
      return "MPI";
  }
  return "?";
}

std::optional<std::string> environment_variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
}

RankPlace find_place(const PlaceFlags& flags, const Environment& environment) {
  if (const auto place = from_flags(flags)) return *place;
  const std::string& wanted = flags.launch;
  const auto asked = [&](const char* name) { return wanted == "auto" || wanted == name; };
  const auto torchrun = asked("torchrun") ? from_torchrun(environment) : std::nullopt;
  const auto slurm = asked("slurm") ? from_slurm(environment) : std::nullopt;
  const auto mpi = asked("mpi") ? from_mpi(environment) : std::nullopt;
  const auto& first = torchrun ? torchrun : slurm;
  if (differ(first, mpi)) {
    fail(ErrorKind::kUsage,
         "{} says rank {} of {}, MPI says rank {} of {}: say with --launch torchrun, slurm or mpi which "
         "counts",
         to_string(first->by), first->rank, first->ranks, mpi->rank, mpi->ranks);
  }
  check(wanted == "auto" || wanted == "none" || first || mpi, ErrorKind::kUsage,
        "--launch is {}, but no variable of it is set", wanted);
  return first ? *first : mpi.value_or(RankPlace{});
}

std::string first_host(std::string_view node_list) {
  const size_t open = node_list.find('['), comma = node_list.find(',');
  if (open == std::string_view::npos || comma < open) return std::string(node_list.substr(0, comma));
  const size_t close = node_list.find(']', open);
  const std::string_view inside =
      node_list.substr(open + 1, close == std::string_view::npos ? std::string_view::npos : close - open - 1);
  std::string host(node_list.substr(0, open));
  host += inside.substr(0, inside.find_first_of(",-"));
  if (close != std::string_view::npos) {
    const std::string_view after = node_list.substr(close + 1);
    host += after.substr(0, after.find(','));
  }
  return host;
}

}  // namespace residuum
