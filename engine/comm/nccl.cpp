#include "engine/comm/nccl.h"

#include "engine/core/check.h"

namespace residuum {

Nccl::Nccl() : library("NCCL", "RESIDUUM_NCCL_LIBRARY", {"libnccl.so.2", "libnccl.so"}) {
  library.find(get_version, "ncclGetVersion");
  library.find(get_unique_id, "ncclGetUniqueId");
  library.find(init_rank, "ncclCommInitRank");
  library.find(destroy, "ncclCommDestroy");
  library.find(abort, "ncclCommAbort");
  library.find(async_error, "ncclCommGetAsyncError");
  library.find(group_start, "ncclGroupStart");
  library.find(group_end, "ncclGroupEnd");
  library.find(all_reduce, "ncclAllReduce");
  library.find(send, "ncclSend");
  library.find(receive, "ncclRecv");
  library.find(create_op, "ncclRedOpCreatePreMulSum");
  library.find(error_text, "ncclGetErrorString");
  library.find(last_error, "ncclGetLastError");
}

void Nccl::check_status(int status, const char* call) const {
  check(!is_failure(status), ErrorKind::kCommunication, "{} failed: {}", call, explain(status));
}

std::string Nccl::explain(int status) const {
  const char* const last = last_error(nullptr);
  const std::string text = error_text(status);
  return last == nullptr || *last == '\0' ? text : text + ": " + last;
}

std::string Nccl::version() const {
  int number = 0;
  check_status(get_version(&number), "ncclGetVersion");
  return fmt::format("NCCL {}.{}.{}", number / 10000, number / 100 % 100, number % 100);
}

}  // namespace residuum
