// A build without MPI: it says so.
#include "engine/comm/mpi_network.h"
#include "engine/core/check.h"

namespace residuum {
namespace {

[[noreturn]] void fail_absent() {
  fail(ErrorKind::kUsage,
       "these processes were started by MPI, and this program was built without it: use residuum launch, "
       "torchrun's variables or Slurm, or build where mpicc is found");
}

}  // namespace

std::string mpi_version() {
  return {};
}

int find_meeting_by_mpi(RankPlace&) {
  fail_absent();
}

std::unique_ptr<Network> make_mpi_network(std::vector<RankInfo>) {
  fail_absent();
}

}  // namespace residuum
