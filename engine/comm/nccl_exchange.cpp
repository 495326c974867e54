// Sums of device memory by NCCL, loaded when it is wanted. Each bucket is one group of all-reduces in place
// on the backend's side queue, outside of the recorded programs. NCCL's own waits know no deadline: the
// monitor ends them by ncclCommAbort.
#include <spdlog/spdlog.h>

#include <array>
#include <cstring>
#include <mutex>
#include <vector>

#include "engine/comm/communicator.h"
#include "engine/comm/exchange.h"
#include "engine/core/check.h"
#include "engine/core/dynamic_library.h"

namespace residuum {
namespace {

// Values of NCCL's stable binary interface (nccl.h).
constexpr int kSuccess = 0, kInProgress = 7, kFloat32 = 7, kSum = 0, kScalarOnHost = 1;
struct UniqueId {
  std::array<char, 128> bytes{};
};
using Comm = void*;

/// The functions of the library.
struct Nccl {
  DynamicLibrary library{"NCCL", "RESIDUUM_NCCL_LIBRARY", {"libnccl.so.2", "libnccl.so"}};
  int (*get_version)(int*) = nullptr;
  int (*get_unique_id)(UniqueId*) = nullptr;
  int (*init_rank)(Comm*, int ranks, UniqueId, int rank) = nullptr;
  int (*destroy)(Comm) = nullptr;
  int (*abort)(Comm) = nullptr;
  int (*async_error)(Comm, int*) = nullptr;
  int (*group_start)() = nullptr;
  int (*group_end)() = nullptr;
  int (*all_reduce)(const void*, void*, size_t count, int type, int op, Comm, void* stream) = nullptr;
  int (*create_op)(int* op, void* scalar, int type, int residence, Comm) = nullptr;
  const char* (*error_text)(int) = nullptr;

  Nccl() {
    library.find(get_version, "ncclGetVersion");
    library.find(get_unique_id, "ncclGetUniqueId");
    library.find(init_rank, "ncclCommInitRank");
    library.find(destroy, "ncclCommDestroy");
    library.find(abort, "ncclCommAbort");
    library.find(async_error, "ncclCommGetAsyncError");
    library.find(group_start, "ncclGroupStart");
    library.find(group_end, "ncclGroupEnd");
    library.find(all_reduce, "ncclAllReduce");
    library.find(create_op, "ncclRedOpCreatePreMulSum");
    library.find(error_text, "ncclGetErrorString");
  }

  void check_status(int status, const char* call) const {
    check(status == kSuccess || status == kInProgress, ErrorKind::kCommunication, "{} failed: {}", call,
          error_text(status));
  }
  std::string version() const {
    int number = 0;
    check_status(get_version(&number), "ncclGetVersion");
    return fmt::format("NCCL {}.{}.{}", number / 10000, number / 100 % 100, number % 100);
  }
};

class NcclExchange : public Exchange {
 public:
  NcclExchange(Communicator& communicator, std::unique_ptr<Nccl> nccl, std::unique_ptr<SideQueue> queue)
      : communicator_(communicator), nccl_(std::move(nccl)), queue_(std::move(queue)) {
    UniqueId id;
    if (communicator.rank() == 0) nccl_->check_status(nccl_->get_unique_id(&id), "ncclGetUniqueId");
    const std::string mine(id.bytes.data(), communicator.rank() == 0 ? id.bytes.size() : 0);
    const std::string bytes = communicator.gather(mine, "NCCL id").at(0);
    check(bytes.size() == id.bytes.size(), ErrorKind::kCommunication, "rank 0 sent no NCCL id");
    std::memcpy(id.bytes.data(), bytes.data(), bytes.size());
    nccl_->check_status(nccl_->init_rank(&comm_, communicator.ranks(), id, communicator.rank()),
                        "ncclCommInitRank");
    communicator.on_failure([this] { abort(); });
    communicator.poll([this] { return async_error(); });
  }
  ~NcclExchange() override {
    communicator_.poll(nullptr);
    communicator_.on_failure(nullptr);
    const std::lock_guard lock(mutex_);
    if (comm_ != nullptr) nccl_->destroy(comm_);
  }
  NcclExchange(const NcclExchange&) = delete;
  NcclExchange& operator=(const NcclExchange&) = delete;

  std::string describe() const override { return communicator_.describe() + ", " + nccl_->version(); }

  void start(std::span<const SummedMemory> memory, float factor, const std::string& name) override {
    communicator_.check_alive();
    leave_what_is_done();
    size_t bytes = 0;
    for (const SummedMemory& piece : memory) bytes += piece.count * sizeof(float);
    under_way_.push_back(communicator_.enter("NCCL sum " + name, bytes));
    queue_->after_launches();
    const std::lock_guard lock(mutex_);
    check(comm_ != nullptr, ErrorKind::kCommunication, "the NCCL communicator was aborted");
    const int op = operation(factor);
    nccl_->check_status(nccl_->group_start(), "ncclGroupStart");
    for (const SummedMemory& piece : memory) {
      nccl_->check_status(
          nccl_->all_reduce(piece.data, piece.data, piece.count, kFloat32, op, comm_, queue_->stream()),
          "ncclAllReduce");
    }
    nccl_->check_status(nccl_->group_end(), "ncclGroupEnd");
  }

  void finish() override {
    communicator_.check_alive();
    queue_->before_launches();
  }

  double waited_seconds() const override { return queue_->waited_seconds(); }

 private:
  /// Called with the lock.
  int operation(float factor) {
    if (factor == 1) return kSum;
    for (const auto& [known, op] : scaled_) {
      if (known == factor) return op;
    }
    int op = 0;
    nccl_->check_status(nccl_->create_op(&op, &factor, kFloat32, kScalarOnHost, comm_),
                        "ncclRedOpCreatePreMulSum");
    scaled_.emplace_back(factor, op);
    return op;
  }

  void leave_what_is_done() {
    if (under_way_.empty() || !queue_->is_done()) return;
    for (const uint64_t number : under_way_) communicator_.leave(number);
    under_way_.clear();
  }

  /// In the monitor's thread, as async_error: ends the kernels that wait for other ranks.
  void abort() {
    const std::lock_guard lock(mutex_);
    if (comm_ != nullptr) nccl_->abort(comm_);
    comm_ = nullptr;
  }
  std::optional<std::string> async_error() {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock() || comm_ == nullptr) return std::nullopt;
    int error = kSuccess;
    const int status = nccl_->async_error(comm_, &error);
    if (status != kSuccess) error = status;
    if (error == kSuccess || error == kInProgress) return std::nullopt;
    return fmt::format("NCCL met an error on its way: {}", nccl_->error_text(error));
  }

  Communicator& communicator_;
  std::unique_ptr<Nccl> nccl_;
  std::unique_ptr<SideQueue> queue_;
  std::mutex mutex_;  ///< of the communicator comm_
  Comm comm_ = nullptr;
  std::vector<std::pair<float, int>> scaled_;
  std::vector<uint64_t> under_way_;  ///< collectives begun and not known to be done
};

/// Null, and why, when NCCL cannot be loaded here.
std::unique_ptr<Nccl> load(std::string& reason) {
  try {
    return std::make_unique<Nccl>();
  } catch (const Error& error) {
    reason = error.what();
    return nullptr;
  }
}

}  // namespace

std::unique_ptr<Exchange> make_exchange(Communicator& communicator, Backend& backend, bool fixed_order) {
  std::unique_ptr<SideQueue> queue = backend.side_queue();
  if (queue == nullptr || fixed_order) return make_host_exchange(communicator, backend);
  std::string reason;
  std::unique_ptr<Nccl> nccl = load(reason);
  const std::vector<std::string> versions =
      communicator.gather(nccl == nullptr ? std::string() : nccl->version(), "NCCL version");
  bool everywhere = true;
  for (const std::string& version : versions) {
    everywhere &= !version.empty();
    check(version.empty() || versions[0].empty() || version == versions[0], ErrorKind::kCommunication,
          "rank 0 has {}, another rank {}", versions[0], version);
  }
  if (everywhere) return std::make_unique<NcclExchange>(communicator, std::move(nccl), std::move(queue));
  if (nccl == nullptr) spdlog::warn("{}: gradients go through host memory", reason);
  return make_host_exchange(communicator, backend);
}

}  // namespace residuum
