// What the emulator's self-tests share: running in every order, and catching a fault's message.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/device/platform.cuh"
#include "tests/emulator/options.h"

namespace residuum::emulator {

/// Options as they were, after the test.
class EmulatorTest : public ::testing::Test {
 protected:
  void TearDown() override { options() = saved_; }

 private:
  const Options saved_ = options();
};

/// The ways in which a kernel may run.
inline std::vector<Options> all_ways() {
  std::vector<Options> ways;
  for (const Copies copies : {Copies::kLazy, Copies::kEager, Copies::kRandom}) {
    for (const Order order : {Order::kForward, Order::kReverse, Order::kRandom}) {
      Options way = options();
      way.order = order;
      way.copies = copies;
      way.seed = ways.size() + 1;
      ways.push_back(way);
    }
  }
  return ways;
}

/// What `compute` returns in each way.
template <typename Compute>
auto in_all_ways(const Compute& compute) {
  std::vector<decltype(compute())> results;
  for (const Options& way : all_ways()) {
    options() = way;
    results.push_back(compute());
  }
  return results;
}

template <typename T>
bool all_equal(const std::vector<T>& values) {
  for (const T& value : values) {
    if (!(value == values[0])) return false;
  }
  return true;
}

/// The message of the fault that `run` ends in; empty when there is none.
template <typename Run>
std::string fault_of(const Run& run) {
  try {
    run();
  } catch (const Fault& fault) {
    return fault.what();
  }
  return {};
}

#define EXPECT_CONTAINS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << "the message is: \"" << (text) << '"'

}  // namespace residuum::emulator
