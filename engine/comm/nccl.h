// NCCL as this program knows it: the functions it calls, loaded when they are wanted, and the values of
// NCCL's binary interface (nccl.h), which has kept them in all versions 2.
#pragma once

#include <array>
#include <string>

#include "engine/core/dynamic_library.h"

namespace residuum {

struct Nccl {
  /// ncclResult_t, ncclDataType_t, ncclRedOp_t and ncclScalarResidence_t.
  static constexpr int kSuccess = 0, kInProgress = 7, kFloat32 = 7, kSum = 0, kScalarOnHost = 1;
  struct UniqueId {
    std::array<char, 128> bytes{};
  };
  using Comm = void*;

  /// Loads RESIDUUM_NCCL_LIBRARY or libnccl.so.2. Throws Error(kDevice) saying what the loader said.
  Nccl();
  static bool is_failure(int status) { return status != kSuccess && status != kInProgress; }
  /// Throws Error(kCommunication) for a failed `call`.
  void check_status(int status, const char* call) const;
  /// What NCCL says of a failure, with the last one of this process in its own words.
  std::string explain(int status) const;
  /// "NCCL 2.27.3".
  std::string version() const;

  DynamicLibrary library;
  int (*get_version)(int*) = nullptr;
  int (*get_unique_id)(UniqueId*) = nullptr;
  int (*init_rank)(Comm*, int ranks, UniqueId, int rank) = nullptr;
  int (*destroy)(Comm) = nullptr;
  int (*abort)(Comm) = nullptr;
  int (*async_error)(Comm, int*) = nullptr;
  int (*group_start)() = nullptr;
  int (*group_end)() = nullptr;
  int (*all_reduce)(const void*, void*, size_t count, int type, int op, Comm, void* stream) = nullptr;
  int (*send)(const void*, size_t count, int type, int peer, Comm, void* stream) = nullptr;
  int (*receive)(void*, size_t count, int type, int peer, Comm, void* stream) = nullptr;
  int (*create_op)(int* op, void* scalar, int type, int residence, Comm) = nullptr;
  const char* (*error_text)(int) = nullptr;
  const char* (*last_error)(Comm) = nullptr;
};

}  // namespace residuum
