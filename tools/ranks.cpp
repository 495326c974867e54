#include "tools/ranks.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "tools/build_info.h"
#include "tools/exit_codes.h"

namespace residuum {
namespace {

constexpr const char* kGroup =
    "Several processes (found by itself when torchrun, Slurm, MPI or "
    "residuum launch started it)";

}  // namespace

void add_rank_options(const Command& command, RankOptions& options) {
  command
      .add_option("--launch", options.flags.launch,
                  "Whose variables say which rank this is: auto, torchrun, slurm, mpi or none")
      .one_of({"auto", "torchrun", "slurm", "mpi", "none"})
      .show_default()
      .group(kGroup);
  command.add_option("--rank", options.flags.rank, "Which of --ranks processes this is, from 0")
      .group(kGroup);
  command.add_option("--ranks", options.flags.ranks, "How many processes train together").group(kGroup);
  command
      .add_option("--local-rank", options.flags.local_rank,
                  "Which of this machine's processes; chooses the GPU")
      .group(kGroup);
  command.add_option("--rendezvous", options.flags.rendezvous, "Where rank 0 listens")
      .type_name("HOST:PORT")
      .group(kGroup);
  command
      .add_option("--network", options.network,
                  "Between CPUs: tcp, mpi, or auto (mpi under mpirun); between GPUs NCCL when it is there")
      .one_of({"auto", "tcp", "mpi"})
      .show_default()
      .group(kGroup);
  command
      .add_option(
          "--comm-timeout", options.timeout,
          "Seconds until a rank that does not come or answer, or a collective that does not end, ends "
          "all ranks")
      .range(0.5, 1e6)
      .show_default()
      .group(kGroup);
}

int gpu_of(const RankPlace& place) {
  const std::string visible = environment_variable("CUDA_VISIBLE_DEVICES").value_or("");
  const auto commas = static_cast<int>(std::count(visible.begin(), visible.end(), ','));
  return visible.empty() ? place.local_rank : place.local_rank % (commas + 1);
}

std::unique_ptr<Communicator> join(const RankPlace& place, const RankOptions& options) {
  return place.ranks == 1 ? nullptr : join_even_alone(place, options);
}

std::unique_ptr<Communicator> join_even_alone(const RankPlace& place, const RankOptions& options) {
  const auto on_stuck = [rank = place.rank](const std::string& verdict) {
    std::fprintf(stderr, "residuum: error: rank %d: %s; this process hung and is ended\n", rank,
                 verdict.c_str());
    _exit(kExitCommunication);
  };
  return join_ranks(place,
                    {options.timeout, std::string(kVersion) + " " + kCommit, options.network, on_stuck});
}

}  // namespace residuum
