#include "engine/comm/tcp_network.h"

#include <algorithm>
#include <map>

#include "engine/core/check.h"

namespace residuum {
namespace {

/// Seconds in which who connects must have said which rank it is.
constexpr double kIntroduction = 20;

/// The rank that a visitor says it is; -1 for a stranger, which leaves or says nothing.
int rank_of(Socket& visitor) {
  int32_t rank = -1;
  try {
    visitor.receive(std::as_writable_bytes(std::span(&rank, 1)), deadline_watch(kIntroduction, "silent"));
  } catch (const Error&) {
    return -1;
  }
  return rank;
}

class TcpNetwork : public Network {
 public:
  TcpNetwork(int rank, Meeting& meeting, double timeout) : rank_(rank), ranks_(meeting.ranks) {
    const std::vector<int> partners = partners_of(rank, this->ranks());
    const auto name = [&](int partner) { return ranks_[static_cast<size_t>(partner)].describe(); };
    for (const int partner : partners) {
      if (partner > rank) continue;
      const RankInfo& info = ranks_[static_cast<size_t>(partner)];
      const Watch late =
          deadline_watch(timeout, fmt::format("rank {} could not reach {} at {}:{} within {} s", rank,
                                              info.describe(), info.address, info.port, timeout));
      Socket& socket = partners_[partner] = Socket::connected(info.address, info.port, late);
      const int32_t mine = rank;
      socket.send(std::as_bytes(std::span(&mine, 1)), late);
    }
    const auto expected = [&](int partner) { return partner > rank && !partners_.contains(partner); };
    for (;;) {
      const auto missing = std::find_if(partners.begin(), partners.end(), expected);
      if (missing == partners.end()) break;
      const Watch late = deadline_watch(
          timeout, fmt::format("rank {} has waited {} s for {}", rank, timeout, name(*missing)));
      Socket visitor = meeting.listener.accepted(late);
      const int theirs = rank_of(visitor);
      if (std::ranges::find(partners, theirs) != partners.end()) partners_[theirs] = std::move(visitor);
    }
  }

  int rank() const override { return rank_; }
  int ranks() const override { return static_cast<int>(ranks_.size()); }
  std::string describe() const override { return "TCP"; }
  void exchange(int partner, std::span<const std::byte> out, std::span<std::byte> in,
                const Watch& watch) override {
    try {
      partners_.at(partner).exchange(out, in, watch);
    } catch (const BrokenConnection& error) {
      throw BrokenConnection(
          fmt::format("{}: {}", ranks_[static_cast<size_t>(partner)].describe(), error.what()));
    }
  }

 private:
  int rank_;
  std::vector<RankInfo> ranks_;
  std::map<int, Socket> partners_;
};

}  // namespace

std::unique_ptr<Network> make_tcp_network(int rank, Meeting& meeting, double timeout) {
  return std::make_unique<TcpNetwork>(rank, meeting, timeout);
}

}  // namespace residuum
