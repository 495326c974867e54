#include "engine/backend/cuda/report/cuobjdump_text.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace residuum::cuda {
namespace {

constexpr std::string_view kBlanks = " \t\r";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) + 1 - begin);
}

/// The number at the start of `text`, 0 when there is none.
int64_t number(std::string_view text, int base = 10) {
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, base);
  return value;
}

/// What follows `key` in `line`, if it is there.
std::optional<std::string_view> after(std::string_view line, std::string_view key) {
  const size_t at = line.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  return line.substr(at + key.size());
}

/// Calls function(line, id) for every trimmed line; `id.arch` is that of the file the line belongs to.
template <typename Function>
void for_each_line(std::string_view text, const Function& function) {
  KernelId id;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    if (line.starts_with("arch = ")) {
      id = {"", std::string(line.substr(7))};
    } else if (!line.empty()) {
      function(line, id);
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

int field(std::string_view line, std::string_view key) {
  const auto value = after(line, key);
  return value ? static_cast<int>(number(*value)) : 0;
}

/// "/*4570*/  @!PT LDS RZ, [RZ] ;  /* encoding */"; nothing for the second line of an encoding.
std::optional<Instruction> parse_instruction(std::string_view line) {
  const size_t end = line.find("*/");
  const size_t semicolon = line.find(';');
  if (!line.starts_with("/*") || end == std::string_view::npos || semicolon == std::string_view::npos)
    return {};
  Instruction instruction;
  instruction.address = number(line.substr(2, end - 2), 16);
  std::string_view rest = trimmed(line.substr(end + 2, semicolon - end - 2));
  const auto take_word = [&rest] {
    const std::string_view word = rest.substr(0, rest.find(' '));
    rest = trimmed(rest.substr(word.size()));
    return std::string(word);
  };
  if (rest.starts_with('@')) instruction.predicate = take_word();
  instruction.opcode = take_word();
  instruction.operands = std::string(rest);
  return instruction;
}

/// Addresses of the first and the last instruction.
struct Loop {
  int64_t first = 0, last = 0;
  bool contains(const Loop& other) const {
    return first <= other.first && other.last <= last && (first != other.first || last != other.last);
  }
};

/// One for each branch backwards, but for the branch to itself that fills the end of a kernel.
std::vector<Loop> loops_of(const std::vector<Instruction>& code) {
  std::vector<Loop> loops;
  for (const Instruction& instruction : code) {
    if (instruction.base() != "BRA") continue;
    const auto hex = after(instruction.operands, "0x");
    if (!hex) continue;
    const int64_t target = number(*hex, 16);
    if (target < instruction.address) loops.push_back({target, instruction.address});
  }
  return loops;
}

InstructionMix mix_of(const std::vector<Instruction>& code, const Loop& range) {
  InstructionMix mix;
  for (const Instruction& instruction : code) {
    if (instruction.address < range.first || instruction.address > range.last) continue;
    ++mix.instructions;
    if (!instruction.executes()) continue;
    const std::string_view base = instruction.base();
    mix.hmma += base == "HMMA" || base == "HGMMA";
    mix.ldsm += base == "LDSM";
    mix.ldgsts += base == "LDGSTS";
    mix.ldg += base == "LDG" || base == "LD";
    mix.lds += base == "LDS";
    mix.sts += base == "STS";
    mix.stg += base == "STG" || base == "ST";
    mix.bar += base == "BAR";
  }
  return mix;
}

}  // namespace

std::map<KernelId, KernelResources> parse_resource_usage(std::string_view text) {
  std::map<KernelId, KernelResources> kernels;
  for_each_line(text, [&](std::string_view line, KernelId& id) {
    if (line.starts_with("Function ") && line.ends_with(':')) {
      id.symbol = std::string(line.substr(9, line.size() - 10));
    } else if (line.starts_with("REG:") && !id.symbol.empty()) {
      kernels[id] = {field(line, "REG:"), field(line, " SHARED:"), field(line, " STACK:"),
                     field(line, " LOCAL:")};
    }
  });
  return kernels;
}

ElfAttributes parse_elf(std::string_view text) {
  ElfAttributes attributes;
  std::string attribute;
  for_each_line(text, [&](std::string_view line, KernelId& id) {
    // A section is a line of its own: ".nv.info.SYMBOL"; the table of sections has other columns before it.
    if (line.starts_with('.')) id.symbol = line.starts_with(".nv.info.") ? std::string(line.substr(9)) : "";
    if (const auto version = after(line, "Tool Version:"); version && attributes.compiler.empty()) {
      attributes.compiler = std::string(trimmed(*version));
    }
    if (const auto name = after(line, "Attribute:")) {
      attribute = std::string(trimmed(*name));
    } else if (const auto value = after(line, "Value:"); value && !id.symbol.empty()) {
      if (attribute != "EIATTR_MAX_THREADS" && attribute != "EIATTR_REQNTID") return;
      int threads = 1;
      for (auto hex = after(*value, "0x"); hex; hex = after(*hex, "0x")) {
        threads *= static_cast<int>(number(*hex, 16));
      }
      attributes.max_threads[id] = threads;
    }
  });
  return attributes;
}

std::map<KernelId, std::vector<Instruction>> parse_sass(std::string_view text) {
  std::map<KernelId, std::vector<Instruction>> kernels;
  std::vector<Instruction>* code = nullptr;
  for_each_line(text, [&](std::string_view line, KernelId& id) {
    if (line.starts_with("Function : ")) {
      id.symbol = std::string(line.substr(11));
      code = &kernels[id];
      code->clear();
    } else if (line.starts_with("/*") && code != nullptr) {
      if (auto instruction = parse_instruction(line)) code->push_back(std::move(*instruction));
    }
  });
  return kernels;
}

InstructionMix main_loop_mix(const std::vector<Instruction>& code) {
  const std::vector<Loop> loops = loops_of(code);
  InstructionMix best;
  const auto better = [&best](const InstructionMix& mix, int value, int best_value) {
    return !best.is_loop || value > best_value ||
           (value == best_value && mix.instructions < best.instructions);
  };
  for (const Loop& loop : loops) {
    InstructionMix mix = mix_of(code, loop);
    mix.is_loop = true;
    if (mix.hmma > 0 && better(mix, mix.hmma, best.hmma)) best = mix;
  }
  if (best.is_loop) return best;
  const auto loads = [](const InstructionMix& mix) { return mix.ldg + mix.ldgsts + mix.lds; };
  for (const Loop& loop : loops) {
    const auto inside = [&loop](const Loop& other) { return loop.contains(other); };
    if (std::any_of(loops.begin(), loops.end(), inside)) continue;
    InstructionMix mix = mix_of(code, loop);
    mix.is_loop = true;
    if (better(mix, loads(mix), loads(best))) best = mix;
  }
  if (best.is_loop || code.empty()) return best;
  return mix_of(code, {code.front().address, code.back().address});
}

int local_accesses(const std::vector<Instruction>& code) {
  return static_cast<int>(std::count_if(code.begin(), code.end(), [](const Instruction& instruction) {
    return instruction.base() == "LDL" || instruction.base() == "STL";
  }));
}

}  // namespace residuum::cuda
