// A library with the functions of NCCL that the exchange loads, for the emulated runtime: ranks are processes
// of this machine, sums go through rank 0 over loopback, as work on the emulated stream. Invariant: a rank
// that does not take part blocks the others' work until they abort, as with the real library; ranks that
// differ in size or operation get an asynchronous error.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <vector>

#include "tests/emulator/runtime.h"

namespace {

constexpr int kSuccess = 0, kSystemError = 2, kInvalidArgument = 4, kInvalidUsage = 5, kRemoteError = 6;

struct UniqueId {
  std::array<char, 128> bytes;
};

struct Communicator {
  int rank = 0, ranks = 1;
  std::vector<int> sockets;  ///< rank 0: of all others; else to rank 0
  std::vector<float> factors;
  std::atomic<int> error = kSuccess;
};

/// What a rank wants of a collective.
struct Request {
  uint64_t count = 0;
  float factor = 1;
  bool operator==(const Request&) const = default;
};

int g_listening = -1;
int g_group_depth = 0;
std::vector<std::function<void()>> g_group;

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

/// Rank 0's part: adds in the order of the ranks.
int sum_for_all(Communicator& comm, const Request& own, float* values) {
  std::vector<float> sum(values, values + own.count), theirs(own.count);
  for (float& value : sum) value *= own.factor;
  int status = kSuccess;
  for (const int file : comm.sockets) {
    Request request;
    if (!receive_all(file, &request, sizeof(request))) return kRemoteError;
    if (!(request == own)) status = kInvalidArgument;
    theirs.resize(request.count);
    if (!receive_all(file, theirs.data(), request.count * sizeof(float))) return kRemoteError;
    for (size_t i = 0; i < own.count && i < theirs.size(); ++i) sum[i] += own.factor * theirs[i];
  }
  for (const int file : comm.sockets) {
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
int ncclGetUniqueId(UniqueId* id) {
  if (loopback(0, g_listening) != 0 || listen(g_listening, 64) != 0) return kSystemError;
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  getsockname(g_listening, reinterpret_cast<sockaddr*>(&address), &size);
  const int port = ntohs(address.sin_port);
  std::memcpy(id->bytes.data(), &port, sizeof(port));
  return kSuccess;
}
int ncclCommInitRank(void** result, int ranks, UniqueId id, int rank) {
  auto* const comm = new Communicator{rank, ranks, {}, {}, kSuccess};
  int port = 0;
  std::memcpy(&port, id.bytes.data(), sizeof(port));
  if (rank > 0) {
    int file = -1;
    if (loopback(port, file) != 0 || !send_all(file, &rank, sizeof(rank))) return kSystemError;
    comm->sockets = {file};
  } else {
    comm->sockets.resize(static_cast<size_t>(ranks - 1));
    for (int i = 1; i < ranks; ++i) {
      const int file = accept(g_listening, nullptr, nullptr);
      int theirs = 0;
      if (!receive_all(file, &theirs, sizeof(theirs))) return kSystemError;
      comm->sockets[static_cast<size_t>(theirs - 1)] = file;
    }
    close(g_listening);
  }
  *result = comm;
  return kSuccess;
}
int ncclCommDestroy(void* comm) {
  for (const int file : static_cast<Communicator*>(comm)->sockets) close(file);
  delete static_cast<Communicator*>(comm);
  return kSuccess;
}
/// Work on the stream may still look at the communicator, so it stays.
int ncclCommAbort(void* comm) {
  auto& aborted = *static_cast<Communicator*>(comm);
  aborted.error = kRemoteError;
  for (const int file : aborted.sockets) shutdown(file, SHUT_RDWR);
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
  return kSuccess;
}
int ncclRedOpCreatePreMulSum(int* op, void* scalar, int type, int residence, void* comm) {
  if (type != 7 || residence != 1) return kInvalidArgument;
  auto& factors = static_cast<Communicator*>(comm)->factors;
  factors.push_back(*static_cast<const float*>(scalar));
  *op = 100 + static_cast<int>(factors.size()) - 1;
  return kSuccess;
}
int ncclAllReduce(const void* src, void* dst, size_t count, int type, int op, void* comm,
                  CUstream_st* stream) {
  auto* const communicator = static_cast<Communicator*>(comm);
  if (type != 7 || src != dst || (op != 0 && op < 100)) return kInvalidArgument;
  if (stream == nullptr) return kInvalidUsage;
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
