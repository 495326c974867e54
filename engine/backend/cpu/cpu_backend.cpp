#include "engine/backend/cpu/cpu_backend.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <limits>

#include "engine/backend/cpu/launch.h"
#include "engine/backend/cpu/onednn.h"
#include "engine/backend/cpu/simd.h"
#include "engine/core/check.h"
#include "engine/core/log.h"

namespace residuum::cpu {
namespace {

/// Pages straight from the kernel (zeroed, page aligned), large ones where it has them.
class PageMemory : public Memory {
 public:
  explicit PageMemory(size_t bytes) : bytes_(bytes) {
    if (bytes == 0) return;
    void* const pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
      throw OutOfMemory(
          fmt::format("the CPU cannot give {} bytes of memory: {}", bytes, std::strerror(errno)));
    }
    madvise(pages, bytes, MADV_HUGEPAGE);
    data_ = static_cast<std::byte*>(pages);
  }
  ~PageMemory() override {
    if (data_ != nullptr) munmap(data_, bytes_);
  }
  PageMemory(const PageMemory&) = delete;
  PageMemory& operator=(const PageMemory&) = delete;

  std::byte* data() override { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_;
};

/// A copy made at once: nothing runs behind the caller's back.
class HostDownload : public Download {
 public:
  HostDownload(const std::byte* src, size_t bytes) : bytes_(src, src + bytes) {}
  std::span<const std::byte> wait() override { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

/// Nothing is left running when a call returns, so the clock tells when it is done.
class ClockTimer : public Timer {
 public:
  void mark() override { marks_.push_back(std::chrono::steady_clock::now()); }
  std::vector<double> intervals() override {
    std::vector<double> seconds;
    for (size_t i = 1; i < marks_.size(); ++i) {
      seconds.push_back(std::chrono::duration<double>(marks_[i] - marks_[i - 1]).count());
    }
    marks_.clear();
    return seconds;
  }

 private:
  std::vector<std::chrono::steady_clock::time_point> marks_;
};

/// The launches, one after the other.
class LaunchList : public Program {
 public:
  explicit LaunchList(std::vector<RecordedLaunch> launches) : launches_(std::move(launches)) {}
  void run(const StepParams& params) override {
    for (const RecordedLaunch& recorded : launches_) recorded.launch->run(params);
  }

 private:
  std::vector<RecordedLaunch> launches_;
};

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof(set), &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

/// What the kernel could hand out without swapping.
size_t available_memory() {
  std::ifstream info("/proc/meminfo");
  for (std::string name; info >> name; info.ignore(std::numeric_limits<std::streamsize>::max(), '\n')) {
    size_t kilobytes = 0;
    if (name == "MemAvailable:" && info >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

/// Of the last level, 0 where the system does not say.
size_t last_cache_bytes() {
  const long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return bytes > 0 ? static_cast<size_t>(bytes) : 0;
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

// A shard may run through nodes one after another as long as none needs a sum over the other shards.
bool joins(const Graph& graph, std::span<const NodeId> group, NodeId next) {
  const Node& node = graph.node(next);
  const auto shardable = [&](const Node& n) {
    return op_domain(n.op) != OpDomain::kWhole && pieces_of(graph, n) == shard_count(batch_of(graph, n));
  };
  const Node& first = graph.node(group.front());
  if (!shardable(first) || !shardable(node) || batch_of(graph, first) != batch_of(graph, node)) return false;
  for (ValueId input : node.inputs) {
    const NodeId producer = graph.value(input).producer;
    const bool inside = std::find(group.begin(), group.end(), producer) != group.end();
    if (producer != kNone && inside && op_domain(graph.node(producer).op) == OpDomain::kBatchReduce)
      return false;
  }
  return true;
}

bool has_bf16(const Graph& graph, const Group& group) {
  return std::any_of(group.nodes.begin(), group.nodes.end(), [&](NodeId id) {
    const auto& outputs = graph.node(id).outputs;
    return std::any_of(outputs.begin(), outputs.end(),
                       [&](ValueId value) { return graph.desc(value).dtype == DType::kBF16; });
  });
}

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(int threads) : pool_(threads) {}

  std::string name() const override { return "cpu"; }
  std::string describe() const override {
    return fmt::format("{}, {} thread{}, {} loops, {}", processor_name(), pool_.threads(),
                       pool_.threads() == 1 ? "" : "s", simd_level(), onednn::version());
  }
  std::unique_ptr<Memory> allocate(size_t bytes) override { return std::make_unique<PageMemory>(bytes); }
  size_t free_bytes() const override { return available_memory(); }
  void copy_to_device(std::byte* dst, const void* src, size_t bytes) override {
    if (bytes > 0) std::memcpy(dst, src, bytes);
  }
  void copy_to_host(void* dst, const std::byte* src, size_t bytes) override {
    if (bytes > 0) std::memcpy(dst, src, bytes);
  }
  void upload(std::byte* dst, const void* src, size_t bytes) override { copy_to_device(dst, src, bytes); }
  std::unique_ptr<Download> download(const std::byte* src, size_t bytes) override {
    return std::make_unique<HostDownload>(src, bytes);
  }
  void copy(std::byte* dst, const std::byte* src, size_t bytes) override {
    const auto pieces = static_cast<size_t>(pool_.threads());
    pool_.run(pool_.threads(), [&](int task, int) {
      const auto piece = static_cast<size_t>(task);
      const size_t first = bytes * piece / pieces, last = bytes * (piece + 1) / pieces;
      if (last > first) std::memcpy(dst + first, src + first, last - first);
    });
  }
  std::vector<Group> groups(const Graph& graph) const override { return form_groups(graph, joins); }
  bool absorbs(const Graph&, NodeId, size_t) const override { return false; }
  std::unique_ptr<Launch> prepare(const Graph& graph, const Group& group) override {
    if (!told_of_bf16_ && has_bf16(graph, group) && simd_level() != std::string_view("avx512_bf16")) {
      told_of_bf16_ = true;
      log_warning("this CPU has no instructions for bf16: it takes less memory than fp32, but more time");
    }
    const OneOpenMpThread sequential;
    return std::make_unique<CpuLaunch>(graph, group, pool_);
  }
  int streams() const override { return 1; }
  std::unique_ptr<Program> record(std::vector<RecordedLaunch> launches) override {
    return std::make_unique<LaunchList>(std::move(launches));
  }
  bool launches_wait() const override { return true; }
  bool wants_weight_copies() const override { return false; }
  void synchronize() override {}
  std::unique_ptr<Timer> make_timer() override { return std::make_unique<ClockTimer>(); }
  size_t cache_bytes() const override { return last_cache_bytes(); }

 private:
  ThreadPool pool_;
  bool told_of_bf16_ = false;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options) {
  check(options.threads >= 0, ErrorKind::kUsage, "threads is {}, must be >= 0 (0: every core)",
        options.threads);
  return std::make_unique<CpuBackend>(options.threads > 0 ? options.threads : usable_cores());
}

}  // namespace residuum::cpu
