// A library with the functions of NCCL that the exchange loads, for the emulated runtime: ranks are processes
// of this machine, each connected with each over loopback; sums go through rank 0, as work on the emulated
// stream. Invariant: a rank that does not take part blocks the others' work until they abort, as with the
// real library; ranks that differ in size or operation, or have lost one, get an asynchronous error, which
// later calls return; ranks whose NCCL_HOSTID is the same are refused, as all use the one emulated GPU.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/emulator/runtime.h"

namespace {

constexpr int kSuccess = 0, kSystemError = 2, kInvalidArgument = 4, kInvalidUsage = 5, kRemoteError = 6;

struct UniqueId {
  std::array<char, 128> bytes;
};

struct Communicator {
  int rank = 0, ranks = 1;
  std::vector<int> sockets;  ///< by rank; -1 of this one
  std::vector<float> factors;
  std::atomic<int> error = kSuccess;
};

/// What a rank wants of a collective.
struct Request {
  uint64_t count = 0;
  float factor = 1;
  bool operator==(const Request&) const = default;
};

/// Where a rank can be met.
struct Introduction {
  int rank = 0, port = 0;
  std::array<char, 128> host_id{};
};

/// One side of a message.
struct Transfer {
  Communicator* comm = nullptr;
  CUstream_st* stream = nullptr;
  int peer = 0;
  const void* out = nullptr;  ///< or
  void* in = nullptr;
  uint64_t count = 0;  ///< of floats
};

int g_listening = -1;
int g_group_depth = 0;
std::vector<std::function<void()>> g_group;
std::vector<Transfer> g_transfers;
std::string g_last_error;

bool send_all(int file, const void* data, size_t bytes) {
  for (const char* next = static_cast<const char*>(data); bytes > 0;) {
    const ssize_t sent = send(file, next, bytes, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    next += sent, bytes -= static_cast<size_t>(sent);
  }
  return true;
}

bool receive_all(int file, void* data, size_t bytes) {
  for (char* next = static_cast<char*>(data); bytes > 0;) {
    const ssize_t got = recv(file, next, bytes, 0);
    if (got <= 0) return false;
    next += got, bytes -= static_cast<size_t>(got);
  }
  return true;
}

int loopback(int port, int& file) {
  file = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return port == 0 ? bind(file, reinterpret_cast<const sockaddr*>(&address), sizeof(address))
                   : connect(file, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

/// Opens a socket for others to connect to, and tells its port.
bool listen_at(int& file, int& port) {
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  if (loopback(0, file) != 0 || listen(file, 64) != 0) return false;
  getsockname(file, reinterpret_cast<sockaddr*>(&address), &size);
  port = ntohs(address.sin_port);
  return true;
}

int refuse(const char* why) {
  g_last_error = why;
  return kInvalidUsage;
}

/// Rank 0's part of the start: hears of all, and tells them of each other, or that they do not fit.
int meet_all(Communicator& comm, std::vector<Introduction>& all) {
  std::set<std::string> hosts{all[0].host_id.data()};
  for (int i = 1; i < comm.ranks; ++i) {
    const int file = accept(g_listening, nullptr, nullptr);
    Introduction theirs;
    if (!receive_all(file, &theirs, sizeof(theirs))) return kSystemError;
    comm.sockets[static_cast<size_t>(theirs.rank)] = file;
    hosts.insert(theirs.host_id.data());
    all[static_cast<size_t>(theirs.rank)] = theirs;
  }
  close(g_listening);
  const int status = hosts.size() == all.size() ? kSuccess : kInvalidUsage;
  for (int i = 1; i < comm.ranks; ++i) {
    const int file = comm.sockets[static_cast<size_t>(i)];
    if (!send_all(file, &status, sizeof(status)) ||
        !send_all(file, all.data(), all.size() * sizeof(Introduction))) {
      return kSystemError;
    }
  }
  return status;
}

/// Another rank's: connects to those below and waits for those above.
int meet_others(Communicator& comm, int port, Introduction own) {
  int door = -1, status = kSuccess;
  std::vector<Introduction> all(static_cast<size_t>(comm.ranks));
  int& first = comm.sockets[0];
  if (!listen_at(door, own.port) || loopback(port, first) != 0 || !send_all(first, &own, sizeof(own)) ||
      !receive_all(first, &status, sizeof(status)) ||
      !receive_all(first, all.data(), all.size() * sizeof(Introduction))) {
    return kSystemError;
  }
  for (int peer = 1; peer < comm.rank && status == kSuccess; ++peer) {
    int& file = comm.sockets[static_cast<size_t>(peer)];
    if (loopback(all[static_cast<size_t>(peer)].port, file) != 0) return kSystemError;
    if (!send_all(file, &comm.rank, sizeof(comm.rank))) return kSystemError;
  }
  for (int peer = comm.rank + 1; peer < comm.ranks && status == kSuccess; ++peer) {
    const int file = accept(door, nullptr, nullptr);
    int theirs = 0;
    if (!receive_all(file, &theirs, sizeof(theirs))) return kSystemError;
    comm.sockets[static_cast<size_t>(theirs)] = file;
  }
  close(door);
  return status;
}

/// The messages of a group, all at once: each side sends while it receives.
void run_transfers(const std::vector<Transfer>& transfers) {
  std::vector<std::jthread> sending;
  for (const Transfer& transfer : transfers) {
    if (transfer.out == nullptr) continue;
    sending.emplace_back([&transfer] {
      const int file = transfer.comm->sockets.at(static_cast<size_t>(transfer.peer));
      if (!send_all(file, &transfer.count, sizeof(transfer.count)) ||
          !send_all(file, transfer.out, transfer.count * sizeof(float))) {
        transfer.comm->error = kRemoteError;
      }
    });
  }
  for (const Transfer& transfer : transfers) {
    if (transfer.in == nullptr) continue;
    const int file = transfer.comm->sockets.at(static_cast<size_t>(transfer.peer));
    uint64_t count = 0;
    if (!receive_all(file, &count, sizeof(count))) {
      transfer.comm->error = kRemoteError;
    } else if (count != transfer.count) {
      transfer.comm->error = kInvalidArgument;
    } else if (!receive_all(file, transfer.in, count * sizeof(float))) {
      transfer.comm->error = kRemoteError;
    }
  }
}

int add_transfer(const Transfer& transfer, int type) {
  if (type != 7 || transfer.peer == transfer.comm->rank) return kInvalidArgument;
  if (transfer.stream == nullptr || g_group_depth == 0) return kInvalidUsage;
  if (transfer.comm->error != kSuccess) return transfer.comm->error;
  g_transfers.push_back(transfer);
  return kSuccess;
}

/// Rank 0's part: adds in the order of the ranks.
int sum_for_all(Communicator& comm, const Request& own, float* values) {
  std::vector<float> sum(values, values + own.count), theirs(own.count);
  for (float& value : sum) value *= own.factor;
  int status = kSuccess;
  for (const int file : comm.sockets) {
    if (file < 0) continue;
    Request request;
    if (!receive_all(file, &request, sizeof(request))) return kRemoteError;
    if (!(request == own)) status = kInvalidArgument;
    theirs.resize(request.count);
    if (!receive_all(file, theirs.data(), request.count * sizeof(float))) return kRemoteError;
    for (size_t i = 0; i < own.count && i < theirs.size(); ++i) sum[i] += own.factor * theirs[i];
  }
  for (const int file : comm.sockets) {
    if (file < 0) continue;
    if (!send_all(file, &status, sizeof(status))) return kRemoteError;
    if (status == kSuccess && !send_all(file, sum.data(), own.count * sizeof(float))) return kRemoteError;
  }
  if (status == kSuccess) std::memcpy(values, sum.data(), own.count * sizeof(float));
  return status;
}

int sum_at_rank_0(const Communicator& comm, const Request& own, float* values) {
  const int file = comm.sockets[0];
  int status = kSuccess;
  if (!send_all(file, &own, sizeof(own)) || !send_all(file, values, own.count * sizeof(float)) ||
      !receive_all(file, &status, sizeof(status))) {
    return kRemoteError;
  }
  if (status != kSuccess) return status;
  return receive_all(file, values, own.count * sizeof(float)) ? kSuccess : kRemoteError;
}

void run_or_collect(std::function<void()> work) {
  if (g_group_depth > 0) {
    g_group.push_back(std::move(work));
  } else {
    work();
  }
}

}  // namespace

extern "C" {

int ncclGetVersion(int* version) {
  *version = 22703;
  return kSuccess;
}
const char* ncclGetErrorString(int error) {
  switch (error) {
    case kSystemError:
      return "unhandled system error";
    case kInvalidArgument:
      return "invalid argument";
    case kInvalidUsage:
      return "invalid usage";
    case kRemoteError:
      return "remote process exited or there was a network error";
  }
  return "no error";
}
const char* ncclGetLastError(void*) {
  return g_last_error.c_str();
}
int ncclGetUniqueId(UniqueId* id) {
  int port = 0;
  if (!listen_at(g_listening, port)) return kSystemError;
  std::memcpy(id->bytes.data(), &port, sizeof(port));
  return kSuccess;
}
int ncclCommInitRank(void** result, int ranks, UniqueId id, int rank) {
  auto* const comm =
      new Communicator{rank, ranks, std::vector<int>(static_cast<size_t>(ranks), -1), {}, kSuccess};
  Introduction own{.rank = rank};
  if (const char* host = std::getenv("NCCL_HOSTID"))
    std::strncpy(own.host_id.data(), host, own.host_id.size() - 1);
  int port = 0;
  std::memcpy(&port, id.bytes.data(), sizeof(port));
  std::vector<Introduction> all(static_cast<size_t>(ranks), own);
  const int status = rank == 0 ? meet_all(*comm, all) : meet_others(*comm, port, own);
  *result = comm;
  return status == kInvalidUsage ? refuse("two ranks use one GPU of one host") : status;
}
int ncclCommDestroy(void* comm) {
  for (const int file : static_cast<Communicator*>(comm)->sockets) {
    if (file >= 0) close(file);
  }
  delete static_cast<Communicator*>(comm);
  return kSuccess;
}
/// Work on the stream may still look at the communicator, so it stays.
int ncclCommAbort(void* comm) {
  auto& aborted = *static_cast<Communicator*>(comm);
  aborted.error = kRemoteError;
  for (const int file : aborted.sockets) {
    if (file >= 0) shutdown(file, SHUT_RDWR);
  }
  return kSuccess;
}
int ncclCommGetAsyncError(void* comm, int* error) {
  *error = static_cast<Communicator*>(comm)->error;
  return kSuccess;
}
int ncclGroupStart() {
  ++g_group_depth;
  return kSuccess;
}
int ncclGroupEnd() {
  if (--g_group_depth > 0) return kSuccess;
  for (const auto& work : g_group) work();
  g_group.clear();
  if (g_transfers.empty()) return kSuccess;
  const std::vector<Transfer> transfers = std::exchange(g_transfers, {});
  residuum::emulator::enqueue(transfers[0].stream, [transfers] {
    if (transfers[0].comm->error == kSuccess) run_transfers(transfers);
  });
  return kSuccess;
}
int ncclRedOpCreatePreMulSum(int* op, void* scalar, int type, int residence, void* comm) {
  if (type != 7 || residence != 1) return kInvalidArgument;
  auto& factors = static_cast<Communicator*>(comm)->factors;
  factors.push_back(*static_cast<const float*>(scalar));
  *op = 100 + static_cast<int>(factors.size()) - 1;
  return kSuccess;
}
int ncclSend(const void* src, size_t count, int type, int peer, void* comm, CUstream_st* stream) {
  return add_transfer({static_cast<Communicator*>(comm), stream, peer, src, nullptr, count}, type);
}
int ncclRecv(void* dst, size_t count, int type, int peer, void* comm, CUstream_st* stream) {
  return add_transfer({static_cast<Communicator*>(comm), stream, peer, nullptr, dst, count}, type);
}
int ncclAllReduce(const void* src, void* dst, size_t count, int type, int op, void* comm,
                  CUstream_st* stream) {
  auto* const communicator = static_cast<Communicator*>(comm);
  if (type != 7 || src != dst || (op != 0 && op < 100)) return kInvalidArgument;
  if (stream == nullptr) return kInvalidUsage;
  if (communicator->error != kSuccess) return communicator->error;
  const Request request{count, op == 0 ? 1.0f : communicator->factors.at(static_cast<size_t>(op - 100))};
  run_or_collect([=] {
    residuum::emulator::enqueue(stream, [=] {
      if (communicator->error != kSuccess) return;
      auto* const values = static_cast<float*>(dst);
      const int status = communicator->rank == 0 ? sum_for_all(*communicator, request, values)
                                                 : sum_at_rank_0(*communicator, request, values);
      if (status != kSuccess) communicator->error = status;
    });
  });
  return kSuccess;
}

}  // extern "C"
