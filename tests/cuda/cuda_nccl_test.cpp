// Gradients summed by NCCL: a stand-in of the library (tests/emulator/nccl_stand_in.cpp) on the emulated GPU.
// Each rank is a process of its own, forked from the test, as the emulated runtime is one for a process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "engine/comm/communicator.h"
#include "engine/comm/socket.h"
#include "engine/core/check.h"
#include "tests/emulator/runtime.h"
#include "tests/support/rank_training.h"

namespace residuum {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// Runs body(rank) in a process for each rank; what it returned, or the message of what it threw.
std::vector<std::string> in_processes(int ranks, const std::function<std::string(int)>& body) {
  std::vector<std::pair<pid_t, int>> started;
  for (int rank = 0; rank < ranks; ++rank) {
    int ends[2];
    if (pipe(ends) != 0) return {};
    const pid_t process = fork();
    if (process == 0) {
      std::string result;
      try {
        result = body(rank);
      } catch (const std::exception& error) {
        result = error.what();
      }
      for (size_t done = 0; done < result.size();) {
        const ssize_t written = write(ends[1], result.data() + done, result.size() - done);
        if (written <= 0) break;
        done += static_cast<size_t>(written);
      }
      _exit(0);
    }
    close(ends[1]);
    started.emplace_back(process, ends[0]);
  }
  std::vector<std::string> results;
  for (const auto& [process, file] : started) {
    std::string& result = results.emplace_back();
    char buffer[4096];
    for (ssize_t got = 0; (got = read(file, buffer, sizeof(buffer))) > 0;) {
      result.append(buffer, static_cast<size_t>(got));
    }
    close(file);
    waitpid(process, nullptr, 0);
  }
  return results;
}

/// As text whose bits can be compared, and read back.
std::string text_of(const Values& values) {
  std::string text;
  for (const auto& [name, floats] : values) {
    text += name + " " + std::to_string(floats.size()) + "\n";
    text.append(reinterpret_cast<const char*>(floats.data()), floats.size() * sizeof(float));
  }
  return text;
}
Values values_of(std::string_view text) {
  Values values;
  while (!text.empty()) {
    const size_t space = text.find(' '), line = text.find('\n');
    if (space == std::string_view::npos || line == std::string_view::npos) {
      ADD_FAILURE() << "a rank ended with: " << text;
      return {};
    }
    std::vector<float>& floats = values[std::string(text.substr(0, space))];
    floats.resize(std::stoul(std::string(text.substr(space + 1, line - space - 1))));
    std::memcpy(floats.data(), text.data() + line + 1, floats.size() * sizeof(float));
    text.remove_prefix(line + 1 + floats.size() * sizeof(float));
  }
  return values;
}

class CudaNccl : public ::testing::Test {
 protected:
  CudaNccl() { setenv("RESIDUUM_NCCL_LIBRARY", RESIDUUM_NCCL_STAND_IN, 1); }

  /// body() on each of the ranks, which have joined, on an emulated GPU each. Work runs in one order on all,
  /// so the stand-in's ranks can wait for each other.
  std::vector<std::string> on_ranks(
      int ranks, double timeout,
      const std::function<std::string(Communicator&, Backend&, Exchange&)>& body) const {
    const int port = Socket::listening(0).local_port();
    return in_processes(ranks, [&](int rank) {
      if (rank == without_library_) setenv("RESIDUUM_NCCL_LIBRARY", "no_such_library.so", 1);
      emulator::set_stream_order(order_);
      const auto communicator =
          join_ranks({LaunchedBy::kFlags, rank, ranks, 0, 1, "127.0.0.1", port}, {.timeout = timeout});
      try {
        const std::unique_ptr<Backend> backend = make_backend("cuda", {});
        const auto exchange = make_exchange(*communicator, *backend, fixed_order_);
        return body(*communicator, *backend, *exchange);
      } catch (const Error& error) {
        communicator->fail(error.what());
        throw;
      }
    });
  }
  std::vector<std::string> train(const RankRun& run) const {
    return on_ranks(run.ranks, kLong, [&](Communicator& c, Backend& backend, Exchange& exchange) {
      return text_of(train_rank(run, c.rank(), backend, &exchange));
    });
  }

  static constexpr double kLong = 120;
  static constexpr RankRun kSmall{.steps = 2, .images = 4, .size = 4};
  int without_library_ = -1;
  bool fixed_order_ = false;
  emulator::StreamOrder order_ = emulator::StreamOrder::kForward;
};

TEST_F(CudaNccl, RanksTakeTheStepOfOneRankWithTheWholeBatch) {
  RankRun run = kSmall;
  run.batch_norms = false;
  const Values one = values_of(in_processes(
      1, [&](int) { return text_of(train_rank(run, 0, *make_backend("cuda", {}), nullptr)); })[0]);
  run.ranks = 2;
  // The launches' streams first, or communication first: either way it comes after what it sums.
  for (const auto order : {emulator::StreamOrder::kForward, emulator::StreamOrder::kReverse}) {
    order_ = order;
    const std::vector<std::string> two = train(run);
    EXPECT_TRUE(two[0] == two[1]);
    expect_close(values_of(two[0]), one, 1e-4);
  }
}

TEST_F(CudaNccl, SynchronisedBatchNormsScaleTheirSums) {
  RankRun run = kSmall;
  const Values one = values_of(in_processes(
      1, [&](int) { return text_of(train_rank(run, 0, *make_backend("cuda", {}), nullptr)); })[0]);
  run.ranks = 2;
  run.sync = true;
  const std::vector<std::string> two = train(run);
  EXPECT_TRUE(two[0] == two[1]);
  expect_close(values_of(two[0]), one, 2e-3);
}

TEST_F(CudaNccl, NamesItselfAndMeasuresItsWaits) {
  for (const std::string& text : on_ranks(2, kLong, [](Communicator&c, Backend&backend, Exchange&exchange) {
         RankRun run = kSmall;
         run.ranks = 2;
         train_rank(run, c.rank(), backend, &exchange);
         backend.synchronize();
         return exchange.describe() + (exchange.waited_seconds() > 0 ? ", waited" : ", did not wait");
       })) {
    EXPECT_THAT(text, AllOf(HasSubstr("of 2"), HasSubstr("NCCL 2.27.3, waited")));
  }
}

TEST_F(CudaNccl, WithoutTheLibraryOnOneRankAllGoThroughHostMemory) {
  RankRun run = kSmall;
  run.ranks = 2;
  const std::vector<std::string> by_nccl = train(run);
  without_library_ = 1;
  const std::vector<std::string> by_host = train(run);
  EXPECT_TRUE(by_host[0] == by_host[1]);
  EXPECT_TRUE(by_host[0] == by_nccl[0]) << "two numbers have one sum";
}

TEST_F(CudaNccl, PartsInPairsHaveTheSameBitsOnAnyNumberOfRanks) {
  fixed_order_ = true;
  RankRun run = kSmall;
  run.micro_steps = 4;
  run.in_pairs = true;
  const std::string one = in_processes(
      1, [&](int) { return text_of(train_rank(run, 0, *make_backend("cuda", {}), nullptr)); })[0];
  for (const int ranks : {2, 4}) {
    run.ranks = ranks;
    run.micro_steps = 4 / ranks;
    for (const auto order : {emulator::StreamOrder::kForward, emulator::StreamOrder::kReverse}) {
      order_ = order;
      for (const std::string& text : train(run)) EXPECT_TRUE(text == one) << ranks << " ranks on the GPU";
    }
  }
  without_library_ = 3;
  EXPECT_TRUE(train(run)[0] == one) << "4 ranks through host memory";
}

TEST_F(CudaNccl, SumsInFixedOrderHaveTheBitsOfPairsOfPairs) {
  fixed_order_ = true;
  // Two pieces of odd sizes, so that halves cut through them.
  constexpr size_t kFirst = 101, kSecond = 1000;
  const auto value = [](int rank, size_t i) {
    return std::ldexp(1.0f + static_cast<float>(i % 97) / 97, 8 * ((rank + static_cast<int>(i)) % 4));
  };
  const auto results = on_ranks(4, kLong, [&](Communicator& c, Backend& backend, Exchange& exchange) {
    std::vector<float> values(kFirst + kSecond);
    for (size_t i = 0; i < values.size(); ++i) values[i] = value(c.rank(), i);
    const std::unique_ptr<Memory> first = backend.allocate(kFirst * sizeof(float)),
                                  second = backend.allocate(kSecond * sizeof(float));
    const std::vector<SummedMemory> pieces{{first->data(), kFirst}, {second->data(), kSecond}};
    backend.copy_to_device(first->data(), values.data(), first->bytes());
    backend.copy_to_device(second->data(), values.data() + kFirst, second->bytes());
    exchange.start(std::span(pieces).first(1), 1, "alone");  // a larger sum then wants more room
    exchange.start(std::span(pieces).subspan(1), 1, "after it");
    exchange.finish();
    backend.copy_to_host(values.data(), first->data(), first->bytes());
    backend.copy_to_host(values.data() + kFirst, second->data(), second->bytes());
    return text_of({{exchange.describe().ends_with("in fixed order") ? "sums" : "other", values}});
  });
  std::vector<float> expected, in_turn;
  for (size_t i = 0; i < kFirst + kSecond; ++i) {
    expected.push_back((value(0, i) + value(1, i)) + (value(2, i) + value(3, i)));
    in_turn.push_back(value(0, i) + value(1, i) + value(2, i) + value(3, i));
  }
  EXPECT_NE(in_turn, expected) << "of these numbers the order matters";
  for (const std::string& text : results) EXPECT_EQ(values_of(text)["sums"], expected);
}

TEST_F(CudaNccl, RanksOfOneGpuAreRefusedWhereTheEnvironmentNamesOneHost) {
  setenv("NCCL_HOSTID", "one", 1);
  for (const std::string& text :
       on_ranks(2, kLong, [](Communicator&, Backend&, Exchange&) { return "met"; })) {
    EXPECT_THAT(text, HasSubstr("ncclCommInitRank failed: invalid usage: two ranks use one GPU of one host"));
  }
  unsetenv("NCCL_HOSTID");
  EXPECT_THAT(on_ranks(2, kLong, [](Communicator&, Backend&, Exchange&) { return "met"; }),
              testing::Each("met"));
}

TEST_F(CudaNccl, ARankThatDiesIsNamedAndTheOthersAreInterrupted) {
  for (const int ranks : {2, 3}) {
    const auto results =
        on_ranks(ranks, kLong, [&](Communicator& c, Backend& backend, Exchange& exchange) -> std::string {
          RankRun run = kSmall;
          run.ranks = ranks;
          train_rank(run, c.rank(), backend, &exchange);
          if (c.rank() == ranks - 1) _exit(1);
          for (;;) train_rank(run, c.rank(), backend, &exchange);
        });
    for (int rank = 0; rank < ranks - 1; ++rank) {
      EXPECT_THAT(results[static_cast<size_t>(rank)],
                  AllOf(HasSubstr("rank " + std::to_string(ranks - 1) + " ("), HasSubstr("has died")));
    }
  }
}

TEST_F(CudaNccl, ARankThatDoesNotComeIsNamed) {
  const auto results =
      on_ranks(2, 6, [&](Communicator& c, Backend& backend, Exchange& exchange) -> std::string {
        RankRun run = kSmall;
        run.ranks = 2;
        if (c.rank() == 0) {
          for (;;) train_rank(run, c.rank(), backend, &exchange);
        }
        for (;;) {
          c.check_alive();
          usleep(10000);
        }
      });
  for (const std::string& result : results) {
    EXPECT_THAT(result, AllOf(HasSubstr("rank 1 ("), HasSubstr("has not come to collective #"),
                              HasSubstr("NCCL sum")));
  }
}

TEST_F(CudaNccl, AnErrorOnTheWayEndsAllRanks) {
  for (const bool fixed_order : {false, true}) {
    fixed_order_ = fixed_order;
    const auto results =
        on_ranks(2, kLong, [&](Communicator& c, Backend& backend, Exchange& exchange) -> std::string {
          const std::unique_ptr<Memory> memory = backend.allocate(4096);
          const std::vector<SummedMemory> pieces{{memory->data(), c.rank() == 0 ? size_t{100} : size_t{200}}};
          exchange.start(pieces, 1, "unequal");
          exchange.finish();
          backend.synchronize();
          for (;;) {
            c.check_alive();
            usleep(10000);
          }
        });
    for (const std::string& result : results) {
      EXPECT_THAT(result,
                  AllOf(HasSubstr("stopped: NCCL met an error on its way: "), HasSubstr("invalid argument")));
    }
  }
}

}  // namespace
}  // namespace residuum
