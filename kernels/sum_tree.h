// A sum over the blocks of a launch in a fixed order, as a tree: up to eight neighbours of a level make a
// group, whose sum is a member of the next level. The last block of a group to arrive adds its members in the
// order of their numbers, so the bits do not depend on who that is. Plain C++, for launchers and tests; the
// device's part is device/sum_tree.cuh.
#pragma once

namespace residuum::kernels {

/// Eight loads under way at once hide the way to L2 and back, and 264 pieces take three levels.
inline constexpr int kSumRadix = 8;

constexpr int sum_groups(int members) {
  return (members + kSumRadix - 1) / kSumRadix;
}
/// Members of a level that leave a partial sum: all but a last one that is alone in its group, which passes
/// through.
constexpr int joined_members(int members) {
  return members % kSumRadix == 1 ? members - 1 : members;
}

/// What the sum of some pieces takes: partial sums written (slots of a workspace), partial sums read (the
/// last of a group has its own in registers), and groups with a counter each.
struct SumTree {
  int levels = 0, slots = 0, groups = 0;
  constexpr int reads() const { return slots - groups; }
};
constexpr SumTree sum_tree(int pieces) {
  SumTree tree;
  for (int members = pieces; members > 1; members = sum_groups(members)) {
    ++tree.levels;
    tree.slots += joined_members(members);
    tree.groups += sum_groups(joined_members(members));
  }
  return tree;
}

}  // namespace residuum::kernels
