// What carries messages between two ranks, and the collectives made of it. Sums are added in a fixed order:
// neighbours first, then pairs of pairs, so the bits depend on nothing but the number of ranks, and a sum of
// sums of neighbours has the bits of the sum of all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/comm/socket.h"

namespace residuum {

class Network {
 public:
  virtual ~Network() = default;
  virtual int rank() const = 0;
  virtual int ranks() const = 0;
  /// "TCP", "Open MPI 4.1.4".
  virtual std::string describe() const = 0;
  /// Sends `out` to rank `partner` and fills `in` with what that sends in its call. Throws BrokenConnection
  /// naming the partner, or what `watch` throws.
  virtual void exchange(int partner, std::span<const std::byte> out, std::span<std::byte> in,
                        const Watch& watch) = 0;
};

/// The partners of a rank in collectives of `ranks`.
std::vector<int> partners_of(int rank, int ranks);

/// One exchange of a sum over a power of two of ranks: `mine` and `theirs` are the halves of what the rank
/// was responsible for before; it adds the partner's `mine` to its own and is then responsible for that
/// alone.
struct Halving {
  struct Part {
    size_t begin = 0, count = 0;
  };
  int partner = 0;
  Part mine, theirs;
};
/// How rank `rank` of `ranks`, a power of two, adds `count` values: neighbours first, then pairs of pairs.
/// The sums are gathered in the opposite order: each partner sends its `mine` into the other's `theirs`.
std::vector<Halving> halvings(int rank, int ranks, size_t count);

/// What a collective is, which must be the same on all ranks.
struct Collective {
  uint64_t number = 0;  ///< how many came before
  uint64_t bytes = 0;   ///< of the result; 0: may differ from rank to rank
  std::string name;     ///< "sum bucket3"
};

/// Replaces `values` by their sum over the ranks, the same bits on all: reduce-scatter by halving, then
/// all-gather by doubling (Rabenseifner 2004); ranks beyond the largest power of two send theirs to a partner
/// before and get the result after. Throws Error(kCommunication) when a partner is in another collective.
void sum_over_ranks(Network& network, std::span<float> values, const Collective& what, const Watch& watch);

/// What each rank gave, by rank.
std::vector<std::string> gather_from_ranks(Network& network, const std::string& mine, const Collective& what,
                                           const Watch& watch);

}  // namespace residuum
