#include "engine/comm/monitor.h"

#include <algorithm>
#include <array>
#include <sstream>

#include "engine/core/check.h"

namespace residuum {
namespace {

constexpr auto kTick = std::chrono::milliseconds(100);
constexpr auto kBeat = std::chrono::milliseconds(500);
constexpr auto kGrace = std::chrono::seconds(20);   ///< to end by oneself after a verdict
constexpr size_t kLongestOutbox = size_t{1} << 16;  ///< of one who does not read

/// One line: a reason of several lines must not be taken for several messages.
std::string one_line(std::string text) {
  for (char& c : text) c = c == '\n' ? ' ' : c;
  return text;
}

}  // namespace

Monitor::Monitor(int rank, Meeting& meeting, MonitorOptions options)
    : rank_(rank), ranks_(meeting.ranks), options_(std::move(options)), progress_(meeting.ranks.size()) {
  for (Progress& progress : progress_) progress.heard = Clock::now();
  for (size_t i = 0; i < meeting.control.size(); ++i) {
    if (!meeting.control[i].is_open()) continue;
    peers_.push_back({std::move(meeting.control[i]), rank == 0 ? static_cast<int>(i) : 0, {}, {}});
  }
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

Monitor::~Monitor() {
  thread_.request_stop();
  thread_.join();
  for (Peer& peer : peers_) speak(peer, "bye\n");
}

void Monitor::enter(uint64_t number, const std::string& name) {
  const std::lock_guard lock(mutex_);
  number_ = number;
  name_ = name;
  entered_ = Clock::now();
}

void Monitor::leave() {
  const std::lock_guard lock(mutex_);
  entered_.reset();
}

std::optional<std::string> Monitor::verdict() const {
  const std::lock_guard lock(mutex_);
  return verdict_;
}

void Monitor::fail(const std::string& reason) {
  std::unique_lock lock(mutex_);
  if (verdict_ || own_failure_) return;
  own_failure_ = one_line(reason);
  // The process may end right after this: wait until it is said.
  wake_.wait_for(lock, std::chrono::seconds(2), [this] { return verdict_.has_value(); });
}

Monitor::Progress Monitor::own_progress(Clock::time_point now) const {
  const std::lock_guard lock(mutex_);
  Progress own{number_, -1, name_, now, false};
  if (entered_) own.waiting_ms = static_cast<long>((now - *entered_) / std::chrono::milliseconds(1));
  return own;
}

void Monitor::forgive(Clock::duration pause, Clock::time_point now) {
  for (Progress& progress : progress_) progress.heard = std::min(progress.heard + pause, now);
  const std::lock_guard lock(mutex_);
  if (entered_) *entered_ = std::min(*entered_ + pause, now);
  decided_ = std::min(decided_ + pause, now);
}

void Monitor::run(const std::stop_token& stop) {
  // See Patience.
  const auto longest_gap =
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.timeout / 4));
  Clock::time_point next_beat{}, before = Clock::now();
  bool said_stuck = false, lasting_error = false;
  while (!stop.stop_requested()) {
    const Clock::time_point now = Clock::now();
    if (now - before > longest_gap) forgive(now - before - longest_gap, now);
    before = now;
    for (Peer& peer : peers_) listen(peer);
    Progress& own = progress_[static_cast<size_t>(rank_)];
    own = own_progress(now);
    std::optional<std::string> failure;
    {
      const std::lock_guard lock(mutex_);
      failure = own_failure_;
    }
    if (failure) decide(fmt::format("{} stopped: {}", name_of(rank_), *failure));
    if (now >= next_beat) {
      next_beat = now + kBeat;
      for (Peer& peer : peers_) {
        speak(peer, fmt::format("beat {} {} {}\n", own.number, own.waiting_ms, own.name));
      }
      // When it has lasted for a beat: of an error that a dead rank explains, rank 0 has heard by then.
      const auto error = options_.poll ? options_.poll() : std::nullopt;
      if (error && lasting_error) decide(fmt::format("{} stopped: {}", name_of(rank_), one_line(*error)));
      lasting_error = error.has_value();
      if (const auto found = judge(now)) decide(*found);
    }
    std::unique_lock lock(mutex_);
    if (verdict_ && !said_stuck && now - decided_ > kGrace && options_.on_stuck) {
      said_stuck = true;
      const std::string text = *verdict_;
      lock.unlock();
      options_.on_stuck(text);
      lock.lock();
    }
    wake_.wait_for(lock, stop, kTick, [this] { return own_failure_ && !verdict_; });
  }
}

void Monitor::speak(Peer& peer, const std::string& line) {
  if (!peer.socket.is_open()) return;
  if (peer.outbox.size() < kLongestOutbox) peer.outbox += line;
  const long sent = peer.socket.try_send(bytes_of(peer.outbox));
  if (sent > 0) peer.outbox.erase(0, static_cast<size_t>(sent));
}

void Monitor::listen(Peer& peer) {
  std::array<char, 4096> buffer;
  Progress& progress = progress_[static_cast<size_t>(peer.rank)];
  while (peer.socket.is_open()) {
    const long got = peer.socket.try_receive(std::as_writable_bytes(std::span(buffer)));
    if (got == 0) return;
    if (got < 0) {
      peer.socket = Socket();
      if (!progress.gone) decide(name_of(peer.rank) + " has died");
      progress.gone = true;
      return;
    }
    progress.heard = Clock::now();
    peer.inbox.append(buffer.data(), static_cast<size_t>(got));
    for (size_t end = peer.inbox.find('\n'); end != std::string::npos; end = peer.inbox.find('\n')) {
      hear(peer, peer.inbox.substr(0, end));
      peer.inbox.erase(0, end + 1);
    }
  }
}

void Monitor::hear(Peer& peer, const std::string& line) {
  Progress& progress = progress_[static_cast<size_t>(peer.rank)];
  std::istringstream words(line);
  std::string verb;
  words >> verb;
  if (verb == "bye") progress.gone = true;
  if (verb == "beat") {
    words >> progress.number >> progress.waiting_ms >> std::ws;
    std::getline(words, progress.name);
  }
  if (verb == "fail") decide(line.substr(verb.size() + 1));
}

std::optional<std::string> Monitor::judge(Clock::time_point now) const {
  std::optional<std::string> late = rank_ == 0 ? judge_collectives() : std::nullopt;
  // A rank that stops while others wait for it is silent for about as long as they wait.
  const double patience = late ? options_.timeout / 2 : options_.timeout;
  for (const Peer& peer : peers_) {
    const Progress& progress = progress_[static_cast<size_t>(peer.rank)];
    const double silent = std::chrono::duration<double>(now - progress.heard).count();
    if (progress.gone || silent <= patience) continue;
    return fmt::format(
        "{} has not answered for {:.0f} s: it is stopped, or its machine or the network to it is down",
        name_of(peer.rank), silent);
  }
  return late;
}

std::optional<std::string> Monitor::judge_collectives() const {
  size_t waiting = 0, last = 0;
  for (size_t r = 1; r < progress_.size(); ++r) {
    if (progress_[r].waiting_ms > progress_[waiting].waiting_ms) waiting = r;
    if (progress_[r].number < progress_[last].number) last = r;
  }
  const Progress& one = progress_[waiting];
  if (static_cast<double>(one.waiting_ms) <= options_.timeout * 1000) return std::nullopt;
  const auto who = [&](size_t r) { return name_of(static_cast<int>(r)); };
  if (progress_[last].number == one.number) {
    return fmt::format("collective #{} '{}' has not ended after {} s, with all ranks in it", one.number,
                       one.name, one.waiting_ms / 1000);
  }
  return fmt::format(
      "{} has not come to collective #{} '{}', in which {} has waited for {} s; its last one is #{} '{}'",
      who(last), one.number, one.name, who(waiting), one.waiting_ms / 1000, progress_[last].number,
      progress_[last].name);
}

void Monitor::decide(const std::string& text) {
  {
    const std::lock_guard lock(mutex_);
    if (verdict_) return;
    verdict_ = text;
    decided_ = Clock::now();
  }
  for (Peer& peer : peers_) speak(peer, "fail " + text + "\n");
  wake_.notify_all();
  if (options_.on_verdict) options_.on_verdict(text);
}

}  // namespace residuum
