#include "engine/train/team.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>

#include "engine/core/check.h"
#include "engine/core/crc32c.h"
#include "engine/train/resume.h"

namespace residuum {
namespace {

/// The bits of numbers.
template <typename T>
std::string packed(const std::vector<T>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(T)};
}

template <typename T>
std::vector<T> unpacked(const std::string& bytes) {
  std::vector<T> numbers(bytes.size() / sizeof(T));
  if (!numbers.empty()) std::memcpy(numbers.data(), bytes.data(), numbers.size() * sizeof(T));
  return numbers;
}

bool is_shared(const State::Entry& entry) {
  return entry.kind != ValueKind::kSum && entry.kind != ValueKind::kCopy;
}

}  // namespace

std::vector<std::string> Team::gather(const std::string& mine, const std::string& name) const {
  if (communicator_ == nullptr) return {mine};
  return communicator_->gather(mine, name);
}

bool Team::any(bool mine, const std::string& name) const {
  return communicator_ == nullptr ? mine : any_rank(*communicator_, mine, name);
}

std::string Team::from_leader(const std::string& mine, const std::string& name) const {
  return gather(leads() ? mine : std::string(), name).at(0);
}

void Team::check_same(const Recipe& recipe, const std::string& facts) const {
  const std::vector<std::string> all =
      gather(to_toml(deciding_part(recipe)) + "[facts]\n" + facts, "recipes");
  std::string differences;
  for (size_t r = 1; r < all.size(); ++r) {
    differences += differing_keys(all[0], "rank 0", all[r], fmt::format("rank {}", r));
  }
  check(differences.empty(), ErrorKind::kConfig, "the ranks were started for different runs:{}", differences);
}

void Team::share(State& state) const {
  if (communicator_ == nullptr) return;
  for (const State::Entry& entry : state.entries()) {
    if (!is_shared(entry)) continue;
    std::string bytes;
    if (leads()) {
      const std::vector<std::byte> values = state.read(entry.name);
      bytes.assign(reinterpret_cast<const char*>(values.data()), values.size());
    }
    bytes = from_leader(bytes, "state " + entry.name);
    if (!leads()) state.write(entry.name, std::as_bytes(std::span(bytes)));
  }
}

void Team::check_replicas(const State& state, int64_t step) const {
  if (communicator_ == nullptr) return;
  uint32_t checksum = 0;
  for (const State::Entry& entry : state.entries()) {
    if (is_shared(entry)) checksum = crc32c(state.read(entry.name), checksum);
  }
  const std::vector<std::string> all = gather(packed(std::vector{checksum}), "checksum");
  std::string different;
  for (size_t r = 1; r < all.size(); ++r) {
    if (all[r] != all[0]) different += fmt::format("{}{}", different.empty() ? "" : ", ", r);
  }
  check(different.empty(), ErrorKind::kCommunication,
        "after step {} weights and statistics of rank {} are not those of rank 0", step, different);
}

StepOutcome Team::combined(const StepOutcome& mine) const {
  if (communicator_ == nullptr) return mine;
  StepOutcome whole = mine;  // norm and finiteness are the same on all ranks
  whole.losses.clear();
  whole.unreadable.clear();
  whole.valid = whole.right = 0;
  std::vector<double> numbers{static_cast<double>(mine.valid), static_cast<double>(mine.right),
                              static_cast<double>(mine.losses.size())};
  numbers.insert(numbers.end(), mine.losses.begin(), mine.losses.end());
  numbers.insert(numbers.end(), mine.unreadable.begin(), mine.unreadable.end());
  for (const std::string& bytes : gather(packed(numbers), "outcome")) {
    const auto theirs = unpacked<double>(bytes);
    whole.valid += static_cast<int64_t>(theirs.at(0));
    whole.right += static_cast<int64_t>(theirs.at(1));
    const auto losses = theirs.begin() + 3, unreadable = losses + static_cast<std::ptrdiff_t>(theirs.at(2));
    whole.losses.insert(whole.losses.end(), losses, unreadable);
    std::transform(unreadable, theirs.end(), std::back_inserter(whole.unreadable),
                   [](double id) { return static_cast<int64_t>(id); });
  }
  return whole;
}

}  // namespace residuum
