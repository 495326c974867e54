// residuum launch: several processes of this program on this machine, without MPI or Slurm. They meet at a
// port that the launcher holds open before they start, so no other process can take it.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "engine/comm/rank_place.h"
#include "engine/comm/socket.h"
#include "tools/exit_codes.h"
#include "tools/verbs.h"

namespace residuum {
namespace {

using Clock = std::chrono::steady_clock;

struct LaunchArguments {
  int processes = 1;
  double grace = 30;
  std::vector<std::string> command;
};

/// Signals that this process waits for instead of being interrupted by them.
class HeldSignals {
 public:
  HeldSignals() {
    sigemptyset(&held_);
    for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&held_, number);
    sigprocmask(SIG_BLOCK, &held_, &before_);
  }
  ~HeldSignals() { restore(); }
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

  void restore() const { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  /// The next one, if one comes within a tick.
  std::optional<siginfo_t> next() const {
    const timespec tick{0, 200'000'000};
    siginfo_t info{};
    return sigtimedwait(&held_, &info, &tick) > 0 ? std::optional(info) : std::nullopt;
  }

 private:
  sigset_t held_{}, before_{};
};

/// Becomes rank `rank`; never returns.
[[noreturn]] void become(const LaunchArguments& arguments, int rank, const Socket& door) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const auto set = [](const char* name, const std::string& value) { setenv(name, value.c_str(), 1); };
  const std::string count = std::to_string(arguments.processes), number = std::to_string(rank);
  set("RANK", number);
  set("LOCAL_RANK", number);
  set("WORLD_SIZE", count);
  set("LOCAL_WORLD_SIZE", count);
  set("MASTER_ADDR", "127.0.0.1");
  set("MASTER_PORT", std::to_string(door.local_port()));
  if (rank == 0) {
    fcntl(door.file(), F_SETFD, 0);
    set(kListeningFileVariable, std::to_string(door.file()));
  }
  std::vector<char*> words;
  std::string program = "residuum";
  words.push_back(program.data());
  std::vector<std::string> command = arguments.command;
  for (std::string& word : command) words.push_back(word.data());
  words.push_back(nullptr);
  execv("/proc/self/exe", words.data());
  std::fprintf(stderr, "residuum: error: rank %d cannot be started: %s\n", rank, std::strerror(errno));
  _exit(kExitInternal);
}

class Ranks {
 public:
  explicit Ranks(const LaunchArguments& arguments) : grace_(arguments.grace) {
    const Socket door = Socket::listening(0);
    for (int rank = 0; rank < arguments.processes; ++rank) {
      const pid_t process = fork();
      if (process == 0) {
        signals_.restore();
        become(arguments, rank, door);
      }
      if (process < 0) {
        tell_all(SIGKILL);
        fail(ErrorKind::kIo, "rank {} cannot be started: {}", rank, std::strerror(errno));
      }
      running_.push_back({rank, process});
    }
  }

  /// Waits for all; 0, or the exit code of the first that failed for another reason than that others did.
  int wait() {
    std::optional<Clock::time_point> failed_at;
    while (!running_.empty()) {
      const std::optional<siginfo_t> signal = signals_.next();
      // What the terminal sends reaches the ranks without help.
      const bool stop = signal && signal->si_signo != SIGCHLD && signal->si_code == SI_USER;
      if (stop) tell_all(signal->si_signo);
      reap();
      if (code_ == 0) continue;
      if (!failed_at) failed_at = Clock::now();
      if (Clock::now() - *failed_at > std::chrono::duration<double>(grace_)) tell_all(SIGKILL);
    }
    return code_;
  }

 private:
  struct Process {
    int rank;
    pid_t id;
  };

  void tell_all(int signal) const {
    for (const Process& process : running_) kill(process.id, signal);
  }

  void reap() {
    std::erase_if(running_, [&](const Process& process) {
      int status = 0;
      if (waitpid(process.id, &status, WNOHANG) != process.id) return false;
      int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
      if (WIFSIGNALED(status)) {
        std::fprintf(stderr, "residuum launch: rank %d (process %d) was ended by signal %d (%s)\n",
                     process.rank, process.id, WTERMSIG(status), strsignal(WTERMSIG(status)));
        code = kExitCommunication;
      }
      if (code_ == 0 || (code_ == kExitCommunication && code != 0)) code_ = code;
      return true;
    });
  }

  double grace_;
  HeldSignals signals_;
  std::vector<Process> running_;
  int code_ = 0;
};

int run_launch(const LaunchArguments& arguments) {
  check(arguments.command.empty() || arguments.command[0] != "launch", ErrorKind::kUsage,
        "launch cannot start launch");
  return Ranks(arguments).wait();
}

}  // namespace

Verb launch_verb(const Command& program) {
  const Command command = program.add_command("launch", "Several processes of a verb on this machine");
  const auto arguments = std::make_shared<LaunchArguments>();
  command.add_option("-n,--processes", arguments->processes, "How many: one for each GPU")
      .range(1, 1024)
      .required();
  command.add_option("--grace", arguments->grace, "Seconds that the others have to end when one has failed")
      .range(0.0, 1e6)
      .show_default();
  command.add_option("command", arguments->command, "What each of them runs")
      .required()
      .type_name("-- VERB ...");
  command.footer(
      "Sets RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT as torchrun does.\n"
      "SIGTERM, SIGINT and SIGHUP are passed on. The exit code is that of the first process that failed by "
      "itself.\n\n"
      "Example:\n"
      "  residuum launch -n 4 -- train models/recipes/cifar10_resnet20.toml --data cifar10 --out runs/a");
  return {command, [arguments] { return run_launch(*arguments); }};
}

}  // namespace residuum
