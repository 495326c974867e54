// Ranks as threads of this process, which meet over loopback: launch variables, sums, and what happens when
// ranks do not fit together, go different ways, fall silent or leave.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cmath>
#include <functional>
#include <latch>
#include <map>
#include <random>
#include <thread>

#include "engine/comm/communicator.h"
#include "engine/comm/meeting.h"
#include "engine/comm/patience.h"
#include "engine/comm/tcp_network.h"
#include "engine/core/check.h"

namespace residuum {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Environment variables(std::map<std::string, std::string> values) {
  return [values](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional(found->second);
  };
}

std::string usage_error(const std::map<std::string, std::string>& values, const PlaceFlags& flags = {}) {
  try {
    find_place(flags, variables(values));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "no error";
}

const std::map<std::string, std::string> kTorchrun = {{"RANK", "5"},           {"LOCAL_RANK", "1"},
                                                      {"WORLD_SIZE", "8"},     {"LOCAL_WORLD_SIZE", "4"},
                                                      {"MASTER_ADDR", "head"}, {"MASTER_PORT", "1234"}};
const std::map<std::string, std::string> kSlurm = {
    {"SLURM_PROCID", "3"},  {"SLURM_LOCALID", "1"},
    {"SLURM_NTASKS", "4"},  {"SLURM_TASKS_PER_NODE", "2(x2)"},
    {"SLURM_JOB_ID", "77"}, {"SLURM_JOB_NODELIST", "gpu[03-04]"}};
const std::map<std::string, std::string> kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "2"},
                                                     {"OMPI_COMM_WORLD_SIZE", "4"},
                                                     {"OMPI_COMM_WORLD_LOCAL_RANK", "0"},
                                                     {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};

std::map<std::string, std::string> merged(std::map<std::string, std::string> a,
                                          const std::map<std::string, std::string>& b) {
  for (const auto& [name, value] : b) a[name] = value;
  return a;
}

TEST(Patience, CountsTheTimeInWhichSomebodyLooked) {
  using Seconds = std::chrono::seconds;
  Patience::Clock::time_point now = Patience::Clock::now() + Seconds(1);
  Patience looked_at(8), suspended(8);
  int seconds = 0;
  for (; !looked_at.is_over(now) && seconds < 100; ++seconds) now += Seconds(1);
  EXPECT_NEAR(seconds, 7, 1);
  now = Patience::Clock::now() + Seconds(1);
  EXPECT_FALSE(suspended.is_over(now));
  EXPECT_FALSE(suspended.is_over(now += Seconds(1000)));
  EXPECT_FALSE(suspended.is_over(now += Seconds(1000)));
  EXPECT_FALSE(suspended.is_over(now += Seconds(1)));
  EXPECT_TRUE(suspended.is_over(now += Seconds(1000)));
}

TEST(RankPlace, EachLauncherIsUnderstood) {
  const RankPlace alone = find_place({}, variables({}));
  EXPECT_EQ(alone.ranks, 1);
  EXPECT_EQ(alone.by, LaunchedBy::kNobody);

  const RankPlace torchrun = find_place({}, variables(kTorchrun));
  EXPECT_EQ(torchrun.rank, 5);
  EXPECT_EQ(torchrun.ranks, 8);
  EXPECT_EQ(torchrun.local_rank, 1);
  EXPECT_EQ(torchrun.local_ranks, 4);
  EXPECT_EQ(torchrun.host, "head");
  EXPECT_EQ(torchrun.port, 1234);

  const RankPlace slurm = find_place({}, variables(kSlurm));
  EXPECT_EQ(slurm.rank, 3);
  EXPECT_EQ(slurm.ranks, 4);
  EXPECT_EQ(slurm.local_rank, 1);
  EXPECT_EQ(slurm.local_ranks, 2);
  EXPECT_EQ(slurm.host, "gpu03");
  EXPECT_GT(slurm.port, 1024);
  EXPECT_NE(slurm.port, find_place({}, variables(merged(kSlurm, {{"SLURM_JOB_ID", "78"}}))).port);

  const RankPlace mpi = find_place({}, variables(kOpenMpi));
  EXPECT_EQ(mpi.rank, 2);
  EXPECT_EQ(mpi.ranks, 4);
  EXPECT_EQ(mpi.by, LaunchedBy::kMpi);
  const RankPlace mpich =
      find_place({}, variables({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MPI_LOCALRANKID", "1"}}));
  EXPECT_EQ(mpich.rank, 1);
  EXPECT_EQ(mpich.local_rank, 1);

  const RankPlace flags = find_place({"auto", 0, 2, 0, "10.0.0.1:99"}, variables(kSlurm));
  EXPECT_EQ(flags.by, LaunchedBy::kFlags);
  EXPECT_EQ(flags.host, "10.0.0.1");
  EXPECT_EQ(flags.port, 99);
}

TEST(RankPlace, PrecedenceAndContradictions) {
  EXPECT_EQ(find_place({}, variables(merged(kTorchrun, kSlurm))).rank, 5) << "torchrun inside of Slurm";
  EXPECT_THAT(
      usage_error(merged(kSlurm, kOpenMpi)),
      AllOf(HasSubstr("Slurm says rank 3 of 4"), HasSubstr("MPI says rank 2 of 4"), HasSubstr("--launch")));
  EXPECT_EQ(find_place({.launch = "mpi"}, variables(merged(kSlurm, kOpenMpi))).rank, 2);
  EXPECT_EQ(find_place({.launch = "slurm"}, variables(merged(kSlurm, kOpenMpi))).rank, 3);
  EXPECT_EQ(find_place({.launch = "none"}, variables(kTorchrun)).ranks, 1);
  EXPECT_THAT(usage_error({{"RANK", "1"}}), HasSubstr("RANK is set and WORLD_SIZE is not"));
  EXPECT_THAT(usage_error(merged(kTorchrun, {{"RANK", "8"}})),
              HasSubstr("RANK is '8', allowed are whole numbers 0 to 7"));
  EXPECT_THAT(usage_error(merged(kTorchrun, {{"MASTER_PORT", "x"}})), HasSubstr("MASTER_PORT is 'x'"));
  EXPECT_THAT(usage_error({}, {"auto", 1, std::nullopt, std::nullopt, ""}), HasSubstr("together"));
  EXPECT_THAT(usage_error({}, {"auto", 1, 2, std::nullopt, ""}), HasSubstr("--rendezvous"));
  EXPECT_THAT(usage_error({}, {.launch = "slurm"}), HasSubstr("no variable of it is set"));
}

TEST(RankPlace, FirstHostOfANodeList) {
  EXPECT_EQ(first_host("one"), "one");
  EXPECT_EQ(first_host("one,two[1-3]"), "one");
  EXPECT_EQ(first_host("gpu[007-009,12],cpu1"), "gpu007");
  EXPECT_EQ(first_host("rack[1,4]-node[2-3]"), "rack1-node[2-3]");
}

/// Runs body(rank) in a thread for each rank and returns what each threw, "" for nothing.
std::vector<std::string> on_ranks(int ranks, const std::function<void(int)>& body) {
  std::vector<std::string> errors(static_cast<size_t>(ranks));
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        body(rank);
      } catch (const std::exception& error) {
        errors[static_cast<size_t>(rank)] = error.what();
      }
    });
  }
  threads.clear();
  return errors;
}

int free_port() {
  return Socket::listening(0).local_port();
}

RankPlace place(int rank, int ranks, int port) {
  return {LaunchedBy::kFlags, rank, ranks, 0, 1, "127.0.0.1", port};
}

/// Ranks that are joined.
std::vector<std::string> joined(int ranks, double timeout, const std::function<void(Communicator&)>& body) {
  const int port = free_port();
  return on_ranks(ranks, [&](int rank) {
    const auto communicator =
        join_ranks(place(rank, ranks, port), {.timeout = timeout, .version = "1", .network = "tcp"});
    body(*communicator);
  });
}

constexpr double kLong = 60;

/// Adds neighbours, then pairs of pairs; what is beyond a power of two is added to the first ones before.
float sum_in_pairs(std::vector<float> values) {
  size_t inner = 1;
  while (inner * 2 <= values.size()) inner *= 2;
  for (size_t i = inner; i < values.size(); ++i) values[i - inner] += values[i];
  for (; inner > 1; inner /= 2) {
    for (size_t i = 0; i < inner / 2; ++i) values[i] = values[2 * i] + values[2 * i + 1];
  }
  return values[0];
}

float value_of(int rank, size_t i) {
  std::minstd_rand random(static_cast<unsigned>(rank * 1000 + static_cast<int>(i) + 1));
  return std::ldexp(static_cast<float>(random()), -static_cast<int>(random() % 30));
}

TEST(Communicator, SumsHaveTheBitsOfPairsOfPairsOnEveryRank) {
  for (const int ranks : {2, 3, 4, 5}) {
    const auto errors = joined(ranks, kLong, [&](Communicator& c) {
      for (const size_t count : {size_t{1}, size_t{2}, size_t{7}, size_t{300000}}) {
        std::vector<float> values(count);
        for (size_t i = 0; i < count; ++i) values[i] = value_of(c.rank(), i % 100);
        c.begin_sum(values, "test").get();
        for (size_t i = 0; i < std::min(count, size_t{100}); ++i) {
          std::vector<float> all;
          for (int rank = 0; rank < ranks; ++rank) all.push_back(value_of(rank, i));
          ASSERT_EQ(values[i], sum_in_pairs(all)) << ranks << " ranks, element " << i << " of " << count;
          ASSERT_EQ(values[count - 1], values[(count - 1) % 100]) << "the same numbers at its end";
        }
      }
    });
    for (const std::string& error : errors) EXPECT_EQ(error, "");
  }
}

TEST(Communicator, GathersTextsOfAnyLength) {
  for (const int ranks : {2, 3, 5}) {
    const auto errors = joined(ranks, kLong, [&](Communicator& c) {
      std::vector<std::string> expected;
      for (int rank = 0; rank < ranks; ++rank) {
        expected.emplace_back(static_cast<size_t>(rank) * 100000, static_cast<char>('a' + rank));
      }
      EXPECT_EQ(c.gather(expected[static_cast<size_t>(c.rank())], "texts"), expected);
      EXPECT_TRUE(any_rank(c, c.rank() == 1, "one says yes"));
      EXPECT_FALSE(any_rank(c, false, "nobody"));
      EXPECT_EQ(gather_numbers(c, c.rank() * 1.5, "numbers").back(), (ranks - 1) * 1.5);
    });
    for (const std::string& error : errors) EXPECT_EQ(error, "");
  }
}

TEST(Communicator, SumsBegunTogetherEndInTheirOrder) {
  const auto errors = joined(2, kLong, [](Communicator& c) {
    std::vector<std::vector<float>> values(8, std::vector<float>(1000, static_cast<float>(c.rank() + 1)));
    std::vector<std::future<void>> sums;
    for (auto& row : values) sums.push_back(c.begin_sum(row, "many"));
    for (auto& sum : sums) sum.get();
    for (const auto& row : values) EXPECT_EQ(row, std::vector<float>(1000, 3));
  });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

TEST(Communicator, RanksInDifferentCollectivesAreToldApart) {
  const auto errors = joined(2, kLong, [](Communicator& c) {
    std::vector<float> values(c.rank() == 0 ? 10 : 11);
    c.begin_sum(values, "bucket").get();
  });
  for (const std::string& error : errors) {
    EXPECT_THAT(error,
                AllOf(HasSubstr("#1 'sum bucket' of 40 bytes"), HasSubstr("#1 'sum bucket' of 44 bytes")));
  }
}

TEST(Communicator, TheReasonOfARankThatStopsReachesAll) {
  const auto errors = joined(3, kLong, [](Communicator& c) {
    if (c.rank() == 2) {
      c.fail("no more images");
      return;
    }
    c.gather("", "never");
  });
  for (const int rank : {0, 1}) {
    EXPECT_THAT(errors[static_cast<size_t>(rank)],
                AllOf(HasSubstr("rank 2 ("), HasSubstr(") stopped: no more images")));
  }
}

TEST(Communicator, ARankThatDoesNotComeIsNamed) {
  const auto errors = joined(3, 4, [](Communicator& c) {
    c.gather("", "first");
    if (c.rank() == 1) {  // busy elsewhere, but alive
      for (;;) {
        c.check_alive();
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
    }
    std::vector<float> values(100);
    c.begin_sum(values, "bucket0").get();
  });
  for (const std::string& error : errors) {
    EXPECT_THAT(error, AllOf(HasSubstr("rank 1 ("), HasSubstr("has not come to collective #2 'sum bucket0'"),
                             HasSubstr("its last one is #1 'gather first'")));
  }
}

TEST(Communicator, WhatWaitsByOtherMeansIsInterrupted) {
  const auto errors = joined(2, kLong, [&](Communicator& c) {
    std::atomic<bool> interrupted = false;
    c.on_failure([&] { interrupted = true; });
    c.gather("", "both are there");
    if (c.rank() == 0) c.fail("over");
    const Watch late = deadline_watch(kLong, "nobody interrupted");
    while (!interrupted) late();
    c.on_failure(nullptr);
    c.check_alive();
  });
  for (const std::string& error : errors) EXPECT_THAT(error, HasSubstr(") stopped: over"));
}

TEST(Communicator, APolledErrorOfOneRankReachesAll) {
  const auto errors = joined(2, kLong, [&](Communicator& c) {
    std::atomic<bool> broken = false;
    c.poll([&]() -> std::optional<std::string> {
      return broken ? std::optional<std::string>("the cable is out") : std::nullopt;
    });
    c.gather("", "both are there");
    broken = c.rank() == 1;
    const Watch late = deadline_watch(kLong, "nobody noticed");
    for (;;) {
      c.check_alive();
      late();
    }
  });
  for (const std::string& error : errors) {
    EXPECT_THAT(error, AllOf(HasSubstr("rank 1 ("), HasSubstr(") stopped: the cable is out")));
  }
}

TEST(Meeting, ARankThatComesTwiceIsRefused) {
  const int port = free_port();
  const std::array ranks = {0, 1, 1};
  const auto errors = on_ranks(3, [&](int i) {
    meet(place(ranks.at(static_cast<size_t>(i)), 3, port), {20, "1"});
  });
  for (const std::string& error : errors) EXPECT_THAT(error, HasSubstr("rank 1 came twice"));
}

TEST(Meeting, OtherVersionsAreRefused) {
  const int port = free_port();
  const auto errors = on_ranks(2, [&](int rank) {
    meet(place(rank, 2, port), {20, rank == 0 ? "0.1.0 abc" : "0.1.0 def"});
  });
  for (const std::string& error : errors) {
    EXPECT_THAT(error, HasSubstr("is version 0.1.0 def, rank 0 is version 0.1.0 abc"));
  }
}

TEST(Meeting, StrangersDoNotDisturb) {
  const int port = free_port();
  std::latch strangers(1);  // have come, before rank 1 does and rank 0 closes its door
  const auto errors = on_ranks(3, [&](int i) {
    if (i == 1) strangers.wait();
    if (i < 2) {
      EXPECT_EQ(meet(place(i, 2, port), {20, "1"}).ranks.size(), 2u);
      return;
    }
    const Watch late = deadline_watch(20, "late");
    Socket::connected("127.0.0.1", port, late).send_text("GET / HTTP/1.1", late);
    Socket::connected("127.0.0.1", port, late);
    strangers.count_down();
  });
  EXPECT_EQ(errors[0], "");
  EXPECT_EQ(errors[1], "");
}

TEST(TcpNetwork, StrangersDoNotDisturb) {
  const int port = free_port();
  const auto errors = on_ranks(2, [&](int rank) {
    Meeting meeting = meet(place(rank, 2, port), {20, "1"});
    if (rank == 1) {  // rank 0 is the one that listens
      const RankInfo& info = meeting.ranks[0];
      Socket::connected(info.address, info.port, deadline_watch(20, "late"));
      Socket::connected(info.address, info.port, deadline_watch(20, "late"))
          .send_text("GET /", deadline_watch(20, "late"));
    }
    const std::unique_ptr<Network> network = make_tcp_network(rank, meeting, 20);
    const auto mine = static_cast<std::byte>(rank + 1);
    std::byte theirs{};
    network->exchange(1 - rank, std::span(&mine, 1), std::span(&theirs, 1), deadline_watch(20, "late"));
    EXPECT_EQ(theirs, static_cast<std::byte>(2 - rank));
  });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

TEST(Meeting, WhoIsMissingIsToldToThoseWhoCame) {
  const int port = free_port();
  const auto errors = on_ranks(2, [&](int rank) { meet(place(rank, 3, port), {1, "1"}); });
  for (const std::string& error : errors) {
    EXPECT_THAT(error, AllOf(HasSubstr(fmt::format("rank 0 has waited 1 s at port {} of ", port)),
                             HasSubstr("for rank 2 of 3")));
  }
}

TEST(Meeting, APortInUseIsNamed) {
  const Socket taken = Socket::listening(0);
  const auto errors = on_ranks(1, [&](int) { meet(place(0, 2, taken.local_port()), {1, "1"}); });
  EXPECT_THAT(errors[0],
              AllOf(HasSubstr(fmt::format("127.0.0.1:{0}: cannot listen on port {0}: Address already in use",
                                          taken.local_port())),
                    HasSubstr("rank 0 on ")));
}

TEST(Meeting, SomethingElseAtThePortIsToldFromRankZero) {
  for (const char* answer : {"HTTP/1.1 400 Bad Request", "[1]", "{\"ranks\":[{}]}", "{\"error\":7}"}) {
    Socket other = Socket::listening(0);
    const auto errors = on_ranks(2, [&](int i) {
      if (i == 1) {
        meet(place(1, 2, other.local_port()), {1, "1"});
        return;
      }
      const Watch late = deadline_watch(20, "late");
      Socket visitor = other.accepted(late);
      visitor.receive_text(late);  // closing with unread bytes would break the connection instead
      visitor.send_text(answer, late);
    });
    EXPECT_EQ(errors[1],
              fmt::format("what listens at 127.0.0.1:{} is not rank 0 of this run", other.local_port()));
  }
}

TEST(Meeting, ARankThatDiedWhileOthersWereAwaitedMayComeAgain) {
  const int port = free_port();
  std::latch died(1);
  const auto errors = on_ranks(4, [&](int i) {
    if (i == 3) {  // what rank 1 says before it dies
      const Watch late = deadline_watch(20, "late");
      Socket::connected("127.0.0.1", port, late)
          .send_text(R"({"greeting":"residuum meeting 1","ranks":3,"version":"1","rank":1,"host":"here",)"
                     R"("process":1,"address":"","port":1})",
                     late);
      died.count_down();
      return;
    }
    if (i != 0) died.wait();
    const Meeting meeting = meet(place(i, 3, port), {20, "1"});
    EXPECT_EQ(meeting.ranks.at(1).process, getpid()) << "of the second one";
  });
  EXPECT_THAT(errors, ::testing::Each(""));
}

}  // namespace
}  // namespace residuum
