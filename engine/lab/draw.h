// Random choices of the laboratory, from counter-based streams: a draw is a function of seed, what is drawn
// and its number, so a sample never depends on how many others were taken.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/core/random.h"

namespace residuum {

/// `count` different numbers below `total`, rising; every such set is as likely. Precondition: count <=
/// total.
std::vector<int> choose(int total, int count, RandomStream& random);

/// Kendall's rank correlation between an order of 0 .. n-1 and the rising one: 1 - 4 inversions / (n (n -
/// 1)); 1 for n < 2.
double kendall_tau(const std::vector<int>& order);

}  // namespace residuum
