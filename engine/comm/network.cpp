#include "engine/comm/network.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

#include "engine/core/check.h"

namespace residuum {
namespace {

/// Goes before the data of each exchange.
struct Header {
  uint64_t number = 0, bytes = 0;
  char name[48] = {};
};

Header header_of(const Collective& what) {
  Header header{what.number, what.bytes, {}};
  what.name.copy(header.name, sizeof(header.name) - 1);
  return header;
}

std::string describe(const Header& header) {
  return fmt::format("#{} '{}' of {} bytes", header.number, header.name, header.bytes);
}

/// One rank's part in one collective.
class Call {
 public:
  Call(Network& network, const Collective& what, const Watch& watch)
      : network_(network), header_(header_of(what)), watch_(watch) {}

  /// Makes sure that the partner is in the same collective.
  void meet(int partner) const {
    Header theirs;
    network_.exchange(partner, std::as_bytes(std::span(&header_, 1)),
                      std::as_writable_bytes(std::span(&theirs, 1)), watch_);
    theirs.name[sizeof(theirs.name) - 1] = '\0';
    const bool same = theirs.number == header_.number && theirs.bytes == header_.bytes &&
                      std::strcmp(theirs.name, header_.name) == 0;
    check(same, ErrorKind::kCommunication, "ranks went different ways: rank {} is in {}, rank {} in {}",
          network_.rank(), describe(header_), partner, describe(theirs));
  }
  void exchange(int partner, std::span<const std::byte> out, std::span<std::byte> in) const {
    network_.exchange(partner, out, in, watch_);
  }
  void exchange(int partner, std::span<const float> out, std::span<float> in) const {
    exchange(partner, std::as_bytes(out), std::as_writable_bytes(in));
  }
  std::string exchange(int partner, const std::string& out) const {
    const uint64_t size = out.size();
    uint64_t size_in = 0;
    exchange(partner, std::as_bytes(std::span(&size, 1)), std::as_writable_bytes(std::span(&size_in, 1)));
    std::string in(size_in, '\0');
    exchange(partner, bytes_of(out), std::as_writable_bytes(std::span(in)));
    return in;
  }

 private:
  Network& network_;
  const Header header_;
  const Watch& watch_;
};

/// How ranks pair up: `inner` of them, a power of two, exchange with rank ^ 1, rank ^ 2, ...; each rank
/// beyond has one of those that speaks for it.
struct Pairing {
  Pairing(int own_rank, int ranks)
      : rank(own_rank),
        inner(static_cast<int>(std::bit_floor(static_cast<unsigned>(ranks)))),
        outer(ranks - inner) {}
  bool is_outer() const { return rank >= inner; }
  /// The partner outside, or of an outer rank the one inside; -1 for none.
  int spokesman() const { return is_outer() ? rank - inner : rank < outer ? rank + inner : -1; }

  int rank, inner, outer;
};

/// a += b.
void add(std::span<float> a, std::span<const float> b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
}

/// Sums among the inner ranks.
void sum_inside(const Call& call, const Pairing& pairing, std::span<float> values,
                std::vector<float>& buffer) {
  const std::vector<Halving> steps = halvings(pairing.rank, pairing.inner, values.size());
  const auto at = [&](const Halving::Part& part) { return values.subspan(part.begin, part.count); };
  for (const Halving& step : steps) {
    call.meet(step.partner);
    buffer.resize(step.mine.count);
    call.exchange(step.partner, at(step.theirs), std::span<float>(buffer));
    add(at(step.mine), buffer);
  }
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    call.exchange(step->partner, at(step->mine), at(step->theirs));
  }
}

using Texts = std::map<int, std::string>;

template <typename T>
void append_number(std::string& text, T number) {
  text.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

std::string packed(const Texts& texts) {
  std::string all;
  for (const auto& [rank, text] : texts) {
    append_number(all, static_cast<uint64_t>(rank));
    append_number(all, static_cast<uint64_t>(text.size()));
    all += text;
  }
  return all;
}

void unpack(std::string_view all, Texts& texts) {
  uint64_t pair[2] = {};
  while (all.size() >= sizeof(pair)) {
    std::memcpy(pair, all.data(), sizeof(pair));
    texts[static_cast<int>(pair[0])] = all.substr(sizeof(pair), pair[1]);
    all.remove_prefix(std::min(all.size(), sizeof(pair) + pair[1]));
  }
}

}  // namespace

std::vector<int> partners_of(int rank, int ranks) {
  const Pairing pairing(rank, ranks);
  std::vector<int> partners;
  if (pairing.spokesman() >= 0) partners.push_back(pairing.spokesman());
  for (int bit = 1; bit < pairing.inner && !pairing.is_outer(); bit *= 2) partners.push_back(rank ^ bit);
  return partners;
}

std::vector<Halving> halvings(int rank, int ranks, size_t count) {
  std::vector<Halving> steps;
  Halving::Part part{0, count};
  for (int bit = 1; bit < ranks; bit *= 2) {
    const Halving::Part low{part.begin, part.count / 2}, high{part.begin + low.count, part.count - low.count};
    const bool keeps_low = (rank & bit) == 0;
    steps.push_back({rank ^ bit, keeps_low ? low : high, keeps_low ? high : low});
    part = steps.back().mine;
  }
  return steps;
}

void sum_over_ranks(Network& network, std::span<float> values, const Collective& what, const Watch& watch) {
  const Call call(network, what, watch);
  const Pairing pairing(network.rank(), network.ranks());
  std::vector<float> buffer;
  const int other = pairing.spokesman();
  if (other >= 0) call.meet(other);
  if (pairing.is_outer()) {
    call.exchange(other, values, std::span<float>());
    call.exchange(other, std::span<const float>(), values);
    return;
  }
  if (other >= 0) {
    buffer.resize(values.size());
    call.exchange(other, std::span<const float>(), std::span<float>(buffer));
    add(values, buffer);
  }
  sum_inside(call, pairing, values, buffer);
  if (other >= 0) call.exchange(other, values, std::span<float>());
}

std::vector<std::string> gather_from_ranks(Network& network, const std::string& mine, const Collective& what,
                                           const Watch& watch) {
  const Call call(network, what, watch);
  const Pairing pairing(network.rank(), network.ranks());
  Texts texts{{network.rank(), mine}};
  const int other = pairing.spokesman();
  if (other >= 0) {
    call.meet(other);
    unpack(call.exchange(other, pairing.is_outer() ? packed(texts) : std::string()), texts);
  }
  for (int bit = 1; bit < pairing.inner && !pairing.is_outer(); bit *= 2) {
    call.meet(pairing.rank ^ bit);
    unpack(call.exchange(pairing.rank ^ bit, packed(texts)), texts);
  }
  if (other >= 0) unpack(call.exchange(other, pairing.is_outer() ? std::string() : packed(texts)), texts);
  std::vector<std::string> all;
  for (auto& [rank, text] : texts) all.push_back(std::move(text));
  return all;
}

}  // namespace residuum
