// StopSignals: one request however often it is sent within a moment, and the end of the process after that.
#include "engine/train/signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

namespace residuum {
namespace {

TEST(StopSignals, ASignalSentTwiceIsOneRequest) {
  const StopSignals signals;
  EXPECT_FALSE(signals.requested());
  std::raise(SIGTERM);
  EXPECT_TRUE(signals.requested());
  std::raise(SIGTERM);  // as timeout(1), systemd and `residuum launch` do
  std::raise(SIGINT);
  EXPECT_TRUE(signals.requested());
}

TEST(StopSignals, AnotherOneLaterEndsTheProcess) {
  const auto asked_twice = [] {
    const StopSignals signals;
    std::raise(SIGTERM);
    for (unsigned left = StopSignals::kSameRequestSeconds; left > 0;) left = ::sleep(left);
    std::raise(SIGINT);
  };
  EXPECT_EXIT(asked_twice(), ::testing::ExitedWithCode(128 + SIGINT), "");
}

TEST(StopSignals, ATerminalThatGoesIsARequestUnlessItIsIgnored) {
  {
    const StopSignals signals;
    std::raise(SIGHUP);
    EXPECT_TRUE(signals.requested());
  }
  std::signal(SIGHUP, SIG_IGN);  // as nohup does
  {
    const StopSignals signals;
    std::raise(SIGHUP);
    EXPECT_FALSE(signals.requested());
  }
  EXPECT_EQ(std::signal(SIGHUP, SIG_DFL), SIG_IGN);
}

TEST(StopSignals, TheHandlersBeforeComeBackAndCallsAreRestarted) {
  struct sigaction before {
  }, during{}, after{};
  sigaction(SIGTERM, nullptr, &before);
  {
    const StopSignals signals;
    sigaction(SIGTERM, nullptr, &during);
  }
  sigaction(SIGTERM, nullptr, &after);
  EXPECT_NE(during.sa_flags & SA_RESTART, 0) << "else a slow open or read of an image fails with EINTR";
  EXPECT_EQ(after.sa_handler, before.sa_handler);
}

}  // namespace
}  // namespace residuum
