#include "engine/comm/meeting.h"

#include <unistd.h>

#include "engine/core/check.h"
#include "engine/core/json.h"

namespace residuum {
namespace {

using Json = nlohmann::json;

constexpr const char* kGreeting = "residuum meeting 1";
constexpr double kPatience = 10;  ///< seconds for one message of a side that is there

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown host";
}

bool is_loopback(const std::string& address) {
  return address.starts_with("127.") || address == "::1" || address.starts_with("::ffff:127.");
}

Json to_json(const RankInfo& info) {
  return {{"rank", info.rank},
          {"host", info.host},
          {"process", info.process},
          {"address", info.address},
          {"port", info.port}};
}

RankInfo rank_from_json(const Json& json) {
  return {json.at("rank").get<int>(), json.at("host").get<std::string>(), json.at("process").get<int>(),
          json.at("address").get<std::string>(), json.at("port").get<int>()};
}

std::string missing_ranks(const std::vector<Socket>& control) {
  std::string missing;
  for (size_t r = 1; r < control.size(); ++r) {
    if (!control[r].is_open()) missing += (missing.empty() ? "" : ", ") + std::to_string(r);
  }
  return missing;
}

/// Rank 0's side.
class Host {
 public:
  Host(const RankPlace& place, const MeetingOptions& options, Meeting& meeting)
      : place_(place), options_(options), meeting_(meeting) {
    meeting_.control.resize(static_cast<size_t>(place.ranks));
  }

  void run(Socket door) {
    const Watch late = deadline_watch(options_.timeout, "");
    for (forget_dead(); !missing_ranks(meeting_.control).empty(); forget_dead()) {
      Socket visitor = accept(door, late);
      forget_dead();
      try {
        welcome(std::move(visitor));
      } catch (const Json::exception&) {  // somebody else's program
      } catch (const Error& error) {
        if (refused_.empty()) continue;  // a connection that broke: the rank may come again
        refuse_all();
        fail(ErrorKind::kCommunication, "{}", refused_);
      }
    }
    Json roster = Json::array();
    for (const RankInfo& info : meeting_.ranks) roster.push_back(to_json(info));
    for (size_t r = 1; r < meeting_.control.size(); ++r) {
      meeting_.control[r].send_text(json_text(Json{{"ranks", roster}}), patience());
    }
  }

 private:
  static Watch patience() { return deadline_watch(kPatience, "a message at the meeting took too long"); }

  Socket accept(Socket& door, const Watch& late) {
    try {
      return door.accepted(late);
    } catch (const Error&) {
      refused_ = fmt::format("rank 0 has waited {} s at port {} of {} for rank {} of {}", options_.timeout,
                             place_.port, host_name(), missing_ranks(meeting_.control), place_.ranks);
      refuse_all();
      fail(ErrorKind::kCommunication, "{}", refused_);
    }
  }

  /// A rank that came and died while others were awaited may come again: its pod was started anew, say.
  void forget_dead() {
    for (Socket& rank : meeting_.control) {
      std::byte nothing{};  // a rank that waits says no more
      if (rank.is_open() && rank.try_receive({&nothing, 1}) < 0) rank = Socket();
    }
  }

  void welcome(Socket visitor) {
    const std::string text = visitor.receive_text(patience(), size_t{1} << 16);
    const Json hello = parse_json(text);
    if (hello.value("greeting", "") != kGreeting) return;
    RankInfo info = rank_from_json(hello);
    info.address = visitor.peer_address();
    if (is_loopback(info.address)) info.address.clear();  // beside rank 0, whose address everybody has
    const auto refuse = [&](std::string reason) {
      refused_ = std::move(reason);
      visitor.send_text(json_text(Json{{"error", refused_}}), patience());
      fail(ErrorKind::kCommunication, "{}", refused_);
    };
    const int ranks = hello.at("ranks").get<int>();
    if (ranks != place_.ranks) {
      refuse(fmt::format("{} was started as one of {} ranks, rank 0 as one of {}", info.describe(), ranks,
                         place_.ranks));
    }
    const auto version = hello.at("version").get<std::string>();
    if (version != options_.version) {
      refuse(
          fmt::format("{} is version {}, rank 0 is version {}", info.describe(), version, options_.version));
    }
    if (info.rank < 1 || info.rank >= place_.ranks) {
      refuse(fmt::format("{} came, expected are ranks 1 to {}", info.describe(), place_.ranks - 1));
    }
    const auto at = static_cast<size_t>(info.rank);
    if (meeting_.control[at].is_open()) {
      refuse(fmt::format("rank {} came twice: as process {} of {} and as process {} of {}", info.rank,
                         meeting_.ranks[at].process, meeting_.ranks[at].host, info.process, info.host));
    }
    meeting_.ranks[at] = info;
    meeting_.control[at] = std::move(visitor);
  }

  void refuse_all() {
    for (Socket& rank : meeting_.control) {
      if (!rank.is_open()) continue;
      try {
        rank.send_text(json_text(Json{{"error", refused_}}), patience());
      } catch (const Error&) {  // it has gone
      }
    }
  }

  const RankPlace& place_;
  const MeetingOptions& options_;
  Meeting& meeting_;
  std::string refused_;  ///< why the run cannot begin
};

/// A connection to rank 0, which may come later than this rank.
Socket reach_host(const RankPlace& place, const MeetingOptions& options) {
  std::string said;
  const std::string what = fmt::format("rank {} has waited {} s for rank 0 at {}:{}", place.rank,
                                       options.timeout, place.host, place.port);
  try {
    return Socket::connected(place.host, place.port, deadline_watch(options.timeout, what), &said);
  } catch (const Error& error) {
    fail(ErrorKind::kCommunication, "{}{}", error.what(), said.empty() ? "" : " (" + said + ")");
  }
}

/// Rank 0's door, at the address that the others were told.
Socket open_door(const RankPlace& place, const MeetingOptions& options) {
  if (options.listening_file >= 0) return Socket(FileDescriptor(options.listening_file));
  try {
    return Socket::listening(place.port);
  } catch (const Error& error) {
    fail(ErrorKind::kCommunication, "rank 0 on {}, where the others look for it at {}:{}: {}", host_name(),
         place.host, place.port, error.what());
  }
}

void visit(const RankPlace& place, const MeetingOptions& options, Meeting& meeting) {
  meeting.control.push_back(reach_host(place, options));
  const std::string door = fmt::format("{}:{}", place.host, place.port);
  // Rank 0 waits for all as long, from when it came itself, and then says who is missing.
  const double patience = options.timeout + kPatience;
  const std::string silent = fmt::format(
      "rank {} has reached {} and heard nothing from there for {} s: rank 0 hangs, or something else listens",
      place.rank, door, patience);
  const Watch late = deadline_watch(patience, silent);
  std::string reason;
  std::vector<RankInfo> ranks;
  try {
    Json hello = to_json(meeting.ranks[static_cast<size_t>(place.rank)]);
    hello.update({{"greeting", kGreeting}, {"ranks", place.ranks}, {"version", options.version}});
    meeting.control[0].send_text(json_text(hello), late);
    const Json answer = parse_json(meeting.control[0].receive_text(late));
    reason = answer.value("error", "");
    for (const Json& entry : reason.empty() ? answer.at("ranks") : Json::array()) {
      ranks.push_back(rank_from_json(entry));
      if (ranks.back().address.empty()) ranks.back().address = place.host;
    }
  } catch (const BrokenConnection& error) {
    fail(ErrorKind::kCommunication, "rank {} had reached rank 0, or something else, at {}, but {}",
         place.rank, door, error.what());
  } catch (const Json::exception&) {
    fail(ErrorKind::kCommunication, "what listens at {} is not rank 0 of this run", door);
  }
  check(reason.empty(), ErrorKind::kCommunication, "{}", reason);
  meeting.ranks = std::move(ranks);
}

}  // namespace

std::string RankInfo::describe() const {
  return fmt::format("rank {} ({}, process {})", rank, host, process);
}

Meeting meet(const RankPlace& place, const MeetingOptions& options) {
  Meeting meeting;
  meeting.listener = Socket::listening(0);
  meeting.ranks.resize(static_cast<size_t>(place.ranks));
  meeting.ranks[static_cast<size_t>(place.rank)] = {place.rank, host_name(), getpid(), "",
                                                    meeting.listener.local_port()};
  if (place.rank > 0) {
    visit(place, options, meeting);
  } else if (place.ranks > 1) {
    Host(place, options, meeting).run(open_door(place, options));
    for (RankInfo& info : meeting.ranks) {
      if (info.address.empty()) info.address = place.host;
    }
  } else {
    meeting.control.resize(1);
  }
  return meeting;
}

}  // namespace residuum
