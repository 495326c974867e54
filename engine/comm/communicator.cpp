#include "engine/comm/communicator.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "engine/comm/monitor.h"
#include "engine/comm/mpi_network.h"
#include "engine/comm/tcp_network.h"
#include "engine/core/check.h"
#include "engine/core/log.h"

namespace residuum {
namespace {

using Clock = std::chrono::steady_clock;

/// The last collectives of this rank, for whoever has to find out why they stopped.
class Record {
 public:
  uint64_t enter(const std::string& name, size_t bytes) {
    const std::lock_guard lock(mutex_);
    entries_.push_back({++count_, name, bytes, Clock::now(), {}});
    if (entries_.size() > kLength) entries_.pop_front();
    return count_;
  }
  void leave(uint64_t number) {
    const std::lock_guard lock(mutex_);
    for (Entry& entry : entries_) {
      if (entry.number == number) entry.end = Clock::now();
    }
  }
  /// Warns, with the oldest first; says nothing when all have ended, so that none of them is to blame.
  void dump(int rank) const {
    const std::lock_guard lock(mutex_);
    const Clock::time_point now = Clock::now();
    if (std::none_of(entries_.begin(), entries_.end(), [](const Entry& entry) { return entry.is_open(); })) {
      return;
    }
    const auto ms = [](Clock::duration time) {
      return std::chrono::duration<double, std::milli>(time).count();
    };
    for (const Entry& entry : entries_) {
      log_warning("rank {}: collective #{} '{}', {} bytes, began {:.1f} ms ago, {}", rank, entry.number,
                  entry.name, entry.bytes, ms(now - entry.begin),
                  entry.is_open() ? std::string("has not ended")
                                  : fmt::format("took {:.1f} ms", ms(entry.end - entry.begin)));
    }
  }

 private:
  static constexpr size_t kLength = 16;
  struct Entry {
    uint64_t number = 0;
    std::string name;
    size_t bytes = 0;
    Clock::time_point begin, end;
    bool is_open() const { return end == Clock::time_point{}; }
  };

  mutable std::mutex mutex_;
  std::deque<Entry> entries_;
  uint64_t count_ = 0;
};

class NetworkCommunicator : public Communicator {
 public:
  NetworkCommunicator(const RankPlace& place, const CommunicatorOptions& options,
                      std::unique_ptr<Network> network, Meeting meeting)
      : place_(place),
        timeout_(options.timeout),
        network_(std::move(network)),
        monitor_(place.rank, meeting,
                 {options.timeout, [this] { return poll_once(); },
                  [this](const std::string&) { interrupt(); }, options.on_stuck}),
        worker_([this](const std::stop_token& stop) { work(stop); }) {}

  int rank() const override { return place_.rank; }
  int ranks() const override { return place_.ranks; }
  std::string describe() const override {
    return fmt::format("rank {} of {} ({}), {}", place_.rank, place_.ranks, to_string(place_.by),
                       network_->describe());
  }

  std::future<void> begin_sum(std::span<float> values, const std::string& name) override {
    return begin("sum " + name, values.size_bytes(),
                 [this, values](const Collective& what, const Watch& watch) {
                   sum_over_ranks(*network_, values, what, watch);
                 });
  }
  std::vector<std::string> gather(const std::string& mine, const std::string& name) override {
    std::vector<std::string> all;
    begin("gather " + name, 0, [&](const Collective& what, const Watch& watch) {
      all = gather_from_ranks(*network_, mine, what, watch);
    }).get();
    return all;
  }

  void check_alive() const override {
    if (const auto verdict = monitor_.verdict()) fail_because(*verdict);
  }
  uint64_t enter(const std::string& name, size_t bytes) override {
    const uint64_t number = record_.enter(name, bytes);
    monitor_.enter(number, name);
    return number;
  }
  void leave(uint64_t number) override {
    record_.leave(number);
    monitor_.leave();
  }
  void poll(std::function<std::optional<std::string>()> error) override {
    const std::lock_guard lock(interrupt_mutex_);
    poll_ = std::move(error);
  }
  void on_failure(std::function<void()> interrupt) override {
    const std::lock_guard lock(interrupt_mutex_);
    interrupt_ = std::move(interrupt);
  }
  void fail(const std::string& reason) noexcept override {
    try {
      monitor_.fail(reason);
    } catch (const std::exception&) {  // the others will see that this process has gone
    }
  }

 private:
  using Action = std::function<void(const Collective&, const Watch&)>;

  std::future<void> begin(const std::string& name, size_t bytes, Action action) {
    std::packaged_task<void()> task(
        [this, name, bytes, action = std::move(action)] { run(name, bytes, action); });
    std::future<void> done = task.get_future();
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    wake_.notify_one();
    return done;
  }

  void run(const std::string& name, size_t bytes, const Action& action) {
    check_alive();
    const uint64_t number = enter(name, bytes);
    const Watch late = deadline_watch(
        2 * timeout_ + 10,
        fmt::format("collective #{} '{}' has not ended, and no rank is known to be at fault", number, name));
    const Watch watch = [&] {
      check_alive();
      late();
    };
    try {
      action({number, bytes, name}, watch);
    } catch (const BrokenConnection& error) {
      await_verdict(*this);
      fail(error.what());
      throw;
    } catch (const Error& error) {
      fail(error.what());  // nothing new when it is the verdict
      throw;
    }
    leave(number);
  }

  void work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (wake_.wait(lock, stop, [this] { return !tasks_.empty(); })) {
      std::packaged_task<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  void interrupt() {
    record_.dump(place_.rank);
    const std::lock_guard lock(interrupt_mutex_);
    if (interrupt_) interrupt_();
  }

  std::optional<std::string> poll_once() {
    const std::lock_guard lock(interrupt_mutex_);
    return poll_ ? poll_() : std::nullopt;
  }

  [[noreturn]] static void fail_because(const std::string& verdict) {
    residuum::fail(ErrorKind::kCommunication, "{}", verdict);
  }

  const RankPlace place_;
  const double timeout_;
  std::unique_ptr<Network> network_;
  Record record_;
  std::mutex interrupt_mutex_;
  std::function<void()> interrupt_;
  std::function<std::optional<std::string>()> poll_;
  Monitor monitor_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::deque<std::packaged_task<void()>> tasks_;
  std::jthread worker_;  ///< last: stopped and joined before anything it uses goes
};

}  // namespace

std::unique_ptr<Communicator> join_ranks(const RankPlace& place, const CommunicatorOptions& options) {
  const std::string& wanted = options.network;
  check(wanted == "auto" || wanted == "tcp" || wanted == "mpi", ErrorKind::kUsage,
        "there is no network '{}'; allowed are auto, tcp and mpi", wanted);
  check(wanted != "mpi" || place.by == LaunchedBy::kMpi, ErrorKind::kUsage,
        "the network mpi needs processes started by mpirun; these were started by {}", to_string(place.by));
  RankPlace found = place;
  MeetingOptions meeting_options{options.timeout, options.version, -1};
  if (place.by == LaunchedBy::kMpi) {
    meeting_options.listening_file = find_meeting_by_mpi(found);
  } else if (const auto file = environment_variable(kListeningFileVariable); file && place.rank == 0) {
    meeting_options.listening_file = std::stoi(*file);
  }
  Meeting meeting = meet(found, meeting_options);
  std::unique_ptr<Network> network = place.by == LaunchedBy::kMpi && wanted != "tcp"
                                         ? make_mpi_network(meeting.ranks)
                                         : make_tcp_network(found.rank, meeting, options.timeout);
  return std::make_unique<NetworkCommunicator>(found, options, std::move(network), std::move(meeting));
}

void await_verdict(const Communicator& communicator) {
  // Who is to blame is for rank 0 to say; it may take a moment until it knows.
  constexpr auto kTick = std::chrono::milliseconds(50);
  for (int tick = 0; tick < 60; ++tick) {
    communicator.check_alive();
    std::this_thread::sleep_for(kTick);
  }
  communicator.check_alive();
}

std::vector<double> gather_numbers(Communicator& communicator, double mine, const std::string& name) {
  std::string bytes(sizeof(mine), '\0');
  std::memcpy(bytes.data(), &mine, sizeof(mine));
  std::vector<double> numbers;
  for (const std::string& theirs : communicator.gather(bytes, name)) {
    check(theirs.size() == sizeof(double), ErrorKind::kCommunication, "'{}': {} bytes came, expected are {}",
          name, theirs.size(), sizeof(double));
    std::memcpy(&numbers.emplace_back(), theirs.data(), sizeof(double));
  }
  return numbers;
}

bool any_rank(Communicator& communicator, bool mine, const std::string& name) {
  for (const double theirs : gather_numbers(communicator, mine ? 1 : 0, name)) {
    if (theirs != 0) return true;
  }
  return false;
}

}  // namespace residuum
