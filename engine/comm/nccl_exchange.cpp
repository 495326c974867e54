// Sums of device memory by NCCL on the backend's side queue, outside of the recorded programs: each bucket is
// one group of all-reduces in place, or, in fixed order, halves that partners send each other and the
// engine's own kernel adds. NCCL's own waits know no deadline: the monitor ends them by ncclCommAbort.

#include <fmt/format.h>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "engine/comm/communicator.h"
#include "engine/comm/exchange.h"
#include "engine/comm/nccl.h"
#include "engine/comm/network.h"
#include "engine/core/check.h"
#include "engine/core/log.h"

namespace residuum {
namespace {

/// A GPU that several ranks share is refused by NCCL unless it takes them for ranks of several machines,
/// which then have names of their own and no shared memory. What the environment already says of that counts.
void tell_sharers_apart(Communicator& communicator, const SideQueue& queue) {
  const std::vector<std::string> devices = communicator.gather(queue.device_id(), "GPU");
  const auto mine = static_cast<size_t>(communicator.rank());
  std::vector<size_t> sharers;
  for (size_t rank = 0; rank < devices.size(); ++rank) {
    if (devices[rank] == devices[mine]) sharers.push_back(rank);
  }
  if (sharers.size() == 1 || environment_variable("NCCL_HOSTID") ||
      environment_variable("NCCL_MULTI_RANK_GPU_ENABLE")) {
    return;
  }
  setenv("NCCL_HOSTID", fmt::format("{}/{}", devices[mine], mine).c_str(), 1);
  if (mine != sharers[0]) return;
  log_warning("ranks {} share one GPU: NCCL_HOSTID is set, so that NCCL takes them for ranks of {} machines",
              fmt::join(sharers, ", "), sharers.size());
}

class NcclExchange : public Exchange {
 public:
  NcclExchange(Communicator& communicator, Backend& backend, std::unique_ptr<Nccl> nccl,
               std::unique_ptr<SideQueue> queue, bool fixed_order)
      : communicator_(communicator),
        backend_(backend),
        nccl_(std::move(nccl)),
        queue_(std::move(queue)),
        fixed_order_(fixed_order) {
    tell_sharers_apart(communicator, *queue_);
    Nccl::UniqueId id;
    if (communicator.rank() == 0) check_call(nccl_->get_unique_id(&id), "ncclGetUniqueId");
    const std::string mine(id.bytes.data(), communicator.rank() == 0 ? id.bytes.size() : 0);
    const std::string bytes = communicator.gather(mine, "NCCL id").at(0);
    check(bytes.size() == id.bytes.size(), ErrorKind::kCommunication, "rank 0 sent no NCCL id");
    std::memcpy(id.bytes.data(), bytes.data(), bytes.size());
    const uint64_t number = communicator.enter("NCCL start", 0);
    Nccl::Comm made = nullptr;
    check_call(nccl_->init_rank(&made, communicator.ranks(), id, communicator.rank()), "ncclCommInitRank");
    communicator.leave(number);
    comm_ = made;
    communicator.on_failure([this] { abort(); });
    communicator.poll([this] { return async_error(); });
  }
  ~NcclExchange() override {
    communicator_.poll(nullptr);
    communicator_.on_failure(nullptr);
    if (const Nccl::Comm comm = comm_.exchange(nullptr)) nccl_->destroy(comm);
  }
  NcclExchange(const NcclExchange&) = delete;
  NcclExchange& operator=(const NcclExchange&) = delete;

  std::string describe() const override {
    return communicator_.describe() + ", " + nccl_->version() + (fixed_order_ ? " in fixed order" : "");
  }

  void start(std::span<const SummedMemory> memory, float factor, const std::string& name) override {
    communicator_.check_alive();
    leave_what_is_done();
    size_t count = 0;
    for (const SummedMemory& piece : memory) count += piece.count;
    if (fixed_order_) make_room(count);
    under_way_.push_back(communicator_.enter("NCCL sum " + name, count * sizeof(float)));
    queue_->after_launches();
    const Nccl::Comm comm = comm_;
    check(comm != nullptr, ErrorKind::kCommunication, "the NCCL communicator was aborted");
    if (fixed_order_) {
      check(factor == 1, ErrorKind::kInternal, "'{}' is scaled by {}, sums in fixed order are not", name,
            factor);
      sum_in_pairs(memory, comm);
    } else {
      all_reduce(memory, factor, comm);
    }
  }

  void finish() override {
    communicator_.check_alive();
    queue_->before_launches();
  }

  double waited_seconds() const override { return queue_->waited_seconds(); }

 private:
  /// Floats, so that each half of a row, for any rank, begins where a kernel's vector loads can.
  static constexpr size_t kAlignment = 8;

  /// Throws Error(kCommunication): for a rank that is gone, with its name.
  void check_call(int status, const char* call) const {
    if (!Nccl::is_failure(status)) return;
    await_verdict(communicator_);
    nccl_->check_status(status, call);
  }

  void all_reduce(std::span<const SummedMemory> memory, float factor, Nccl::Comm comm) {
    const int op = operation(factor, comm);
    check_call(nccl_->group_start(), "ncclGroupStart");
    for (const SummedMemory& piece : memory) {
      check_call(
          nccl_->all_reduce(piece.data, piece.data, piece.count, Nccl::kFloat32, op, comm, queue_->stream()),
          "ncclAllReduce");
    }
    check_call(nccl_->group_end(), "ncclGroupEnd");
  }

  int operation(float factor, Nccl::Comm comm) {
    if (factor == 1) return Nccl::kSum;
    for (const auto& [known, op] : scaled_) {
      if (known == factor) return op;
    }
    int op = 0;
    check_call(nccl_->create_op(&op, &factor, Nccl::kFloat32, Nccl::kScalarOnHost, comm),
               "ncclRedOpCreatePreMulSum");
    scaled_.emplace_back(factor, op);
    return op;
  }

  /// A row for all pieces of a bucket and, behind it, one for what half of it a partner sends.
  void make_room(size_t count) {
    const size_t unit = kAlignment * static_cast<size_t>(communicator_.ranks());
    row_count_ = (count + unit - 1) / unit * unit;
    const size_t bytes = (row_count_ + row_count_ / 2) * sizeof(float);
    if (row_ != nullptr && row_->bytes() >= bytes) return;
    row_.reset();
    row_ = backend_.allocate(bytes);
  }

  /// The additions of network.h's sum_over_ranks, in their order.
  void sum_in_pairs(std::span<const SummedMemory> memory, Nccl::Comm comm) {
    auto* const row = reinterpret_cast<float*>(row_->data());
    float* const received = row + row_count_;
    std::byte* next = row_->data();
    for (const SummedMemory& piece : memory) {
      queue_->copy(next, piece.data, piece.count * sizeof(float));
      next += piece.count * sizeof(float);
    }
    const std::vector<Halving> steps = halvings(communicator_.rank(), communicator_.ranks(), row_count_);
    for (const Halving& step : steps) {
      swap(row + step.theirs.begin, received, step.mine.count, step.partner, comm);
      queue_->add(row + step.mine.begin, received, step.mine.count);
    }
    for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
      swap(row + step->mine.begin, row + step->theirs.begin, step->mine.count, step->partner, comm);
    }
    next = row_->data();
    for (const SummedMemory& piece : memory) {
      queue_->copy(piece.data, next, piece.count * sizeof(float));
      next += piece.count * sizeof(float);
    }
  }

  /// Sends `count` floats to the partner and receives as many.
  void swap(const float* out, float* in, size_t count, int partner, Nccl::Comm comm) {
    check_call(nccl_->group_start(), "ncclGroupStart");
    check_call(nccl_->send(out, count, Nccl::kFloat32, partner, comm, queue_->stream()), "ncclSend");
    check_call(nccl_->receive(in, count, Nccl::kFloat32, partner, comm, queue_->stream()), "ncclRecv");
    check_call(nccl_->group_end(), "ncclGroupEnd");
  }

  void leave_what_is_done() {
    if (under_way_.empty() || !queue_->is_done()) return;
    for (const uint64_t number : under_way_) communicator_.leave(number);
    under_way_.clear();
  }

  /// In the monitor's thread, as async_error: ends the kernels, and the calls, that wait for other ranks.
  void abort() {
    if (const Nccl::Comm comm = comm_.exchange(nullptr)) nccl_->abort(comm);
  }
  std::optional<std::string> async_error() {
    const Nccl::Comm comm = comm_;
    if (comm == nullptr) return std::nullopt;
    int error = Nccl::kSuccess;
    const int status = nccl_->async_error(comm, &error);
    if (status != Nccl::kSuccess) error = status;
    if (!Nccl::is_failure(error)) return std::nullopt;
    return fmt::format("NCCL met an error on its way: {}", nccl_->explain(error));
  }

  Communicator& communicator_;
  Backend& backend_;
  std::unique_ptr<Nccl> nccl_;
  std::unique_ptr<SideQueue> queue_;
  const bool fixed_order_;
  std::atomic<Nccl::Comm> comm_ = nullptr;  ///< null once it was aborted
  std::vector<std::pair<float, int>> scaled_;
  std::unique_ptr<Memory> row_;      ///< of sums in fixed order, for the largest bucket so far
  size_t row_count_ = 0;             ///< floats of the bucket at hand
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
  const bool halves = std::has_single_bit(static_cast<unsigned>(communicator.ranks()));
  if (queue == nullptr || (fixed_order && !halves)) return make_host_exchange(communicator, backend);
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
  if (everywhere) {
    return std::make_unique<NcclExchange>(communicator, backend, std::move(nccl), std::move(queue),
                                          fixed_order);
  }
  if (nccl == nullptr) log_warning("{}: gradients go through host memory", reason);
  return make_host_exchange(communicator, backend);
}

}  // namespace residuum
