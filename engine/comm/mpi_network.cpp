#include "engine/comm/mpi_network.h"

#define OMPI_SKIP_MPICXX 1  // the C interface alone
#define MPICH_SKIP_MPICXX 1
#include <fcntl.h>
#include <mpi.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <thread>

#include "engine/core/check.h"

namespace residuum {
namespace {

constexpr size_t kLargestMessage = size_t{1} << 30;  ///< MPI counts in int

void check_mpi(int status, const char* call) {
  if (status == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(status, text.data(), &length);
  fail(ErrorKind::kCommunication, "{} failed: {}", call, text.data());
}

std::string library_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  const std::string whole = text.data();
  const std::string line = whole.substr(0, whole.find_first_of(",\n"));
  return line.starts_with("Open MPI v") ? "Open MPI " + line.substr(10) : line;
}

class MpiNetwork : public Network {
 public:
  explicit MpiNetwork(std::vector<RankInfo> ranks) : ranks_(std::move(ranks)) {
    check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
  }
  /// Ending MPI waits for all ranks: not when one of them is known to hang.
  ~MpiNetwork() override {
    if (!failed_) MPI_Finalize();
  }
  MpiNetwork(const MpiNetwork&) = delete;
  MpiNetwork& operator=(const MpiNetwork&) = delete;

  int rank() const override { return rank_; }
  int ranks() const override { return static_cast<int>(ranks_.size()); }
  std::string describe() const override { return library_version(); }

  void exchange(int partner, std::span<const std::byte> out, std::span<std::byte> in,
                const Watch& watch) override {
    failed_ = true;  // until it is done
    while (!out.empty() || !in.empty()) {
      const auto now_out = out.first(std::min(out.size(), kLargestMessage));
      const auto now_in = in.first(std::min(in.size(), kLargestMessage));
      exchange_piece(partner, now_out, now_in, watch);
      out = out.subspan(now_out.size());
      in = in.subspan(now_in.size());
    }
    failed_ = false;
  }

 private:
  static void exchange_piece(int partner, std::span<const std::byte> out, std::span<std::byte> in,
                             const Watch& watch) {
    std::array<MPI_Request, 2> requests{MPI_REQUEST_NULL, MPI_REQUEST_NULL};
    if (!in.empty()) {
      check_mpi(MPI_Irecv(in.data(), static_cast<int>(in.size()), MPI_BYTE, partner, 0, MPI_COMM_WORLD,
                          &requests[0]),
                "MPI_Irecv");
    }
    if (!out.empty()) {
      check_mpi(MPI_Isend(out.data(), static_cast<int>(out.size()), MPI_BYTE, partner, 0, MPI_COMM_WORLD,
                          &requests[1]),
                "MPI_Isend");
    }
    using Clock = std::chrono::steady_clock;
    Clock::time_point asked = Clock::now();
    for (int done = 0; done == 0;) {
      check_mpi(MPI_Testall(2, requests.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
      if (done != 0) break;
      std::this_thread::yield();
      if (Clock::now() - asked < std::chrono::milliseconds(50)) continue;
      watch();
      asked = Clock::now();
    }
  }

  std::vector<RankInfo> ranks_;
  int rank_ = 0;
  bool failed_ = false;
};

}  // namespace

std::string mpi_version() {
  return library_version();
}

int find_meeting_by_mpi(RankPlace& place) {
  int given = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &given), "MPI_Init_thread");
  check(given >= MPI_THREAD_SERIALIZED, ErrorKind::kCommunication,
        "this MPI cannot be used from another thread than the first (level {})", given);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &place.rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &place.ranks), "MPI_Comm_size");
  struct {
    std::array<char, 256> host{};
    int port = 0;
  } door;
  int file = -1;
  if (place.rank == 0) {
    const Socket listening = Socket::listening(0);
    gethostname(door.host.data(), door.host.size() - 1);
    door.port = listening.local_port();
    file = fcntl(listening.file(), F_DUPFD_CLOEXEC, 0);
  }
  check_mpi(MPI_Bcast(&door, sizeof(door), MPI_BYTE, 0, MPI_COMM_WORLD), "MPI_Bcast");
  std::array<char, 256> own{};
  gethostname(own.data(), own.size() - 1);
  place.host = std::strcmp(own.data(), door.host.data()) == 0 ? "127.0.0.1" : door.host.data();
  place.port = door.port;
  return file;
}

std::unique_ptr<Network> make_mpi_network(std::vector<RankInfo> ranks) {
  return std::make_unique<MpiNetwork>(std::move(ranks));
}

}  // namespace residuum
