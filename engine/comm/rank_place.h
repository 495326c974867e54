// Which of how many processes this one is, and where they meet: told by the command line, or by the variables
// that torchrun, Slurm and MPI launchers set.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace residuum {

enum class LaunchedBy : uint8_t { kNobody, kFlags, kTorchrun, kSlurm, kMpi };
std::string_view to_string(LaunchedBy by);

struct RankPlace {
  LaunchedBy by = LaunchedBy::kNobody;
  int rank = 0, ranks = 1;
  int local_rank = 0, local_ranks = 1;  ///< among the processes of this machine
  std::string host = {};                ///< where rank 0 listens; empty: MPI tells
  int port = 0;
};

/// The command line's part. `launch` is "auto" or the one source that counts: "torchrun", "slurm", "mpi",
/// "none".
struct PlaceFlags {
  std::string launch = "auto";
  std::optional<int> rank = {}, ranks = {}, local_rank = {};
  std::string rendezvous = {};  ///< "HOST:PORT"
};

/// The value of an environment variable, if it is set and not empty.
using Environment = std::function<std::optional<std::string>(const std::string&)>;
std::optional<std::string> environment_variable(const std::string& name);

/// Set by residuum launch for rank 0: the number of a socket that listens already.
inline constexpr const char* kListeningFileVariable = "RESIDUUM_LISTENING_FILE";

/// Flags before torchrun's RANK, WORLD_SIZE, MASTER_ADDR ... before Slurm's SLURM_PROCID ... before
/// OMPI_COMM_WORLD_RANK ... and PMI_RANK .... Throws Error(kUsage) naming variable and value for one that is
/// missing beside others, no number or out of range; and, as a process of mpirun in a Slurm job has both,
/// when Slurm or torchrun says another rank than MPI does: `launch` then has to say which counts.
RankPlace find_place(const PlaceFlags& flags, const Environment& environment = environment_variable);

/// "node03" for Slurm's "node[03-05,9],other"; the text itself when it is one name.
std::string first_host(std::string_view node_list);

}  // namespace residuum
