// What cuobjdump prints about the GPU code of a binary, as structs: pure functions of its text, which was
// recorded from version 13. Lines they do not know are passed over, so the order of sections is free.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace residuum::cuda {

/// A kernel compiled for one architecture.
struct KernelId {
  std::string symbol;  ///< mangled
  std::string arch;    ///< "sm_90a"
  auto operator<=>(const KernelId&) const = default;
};

/// --dump-resource-usage.
struct KernelResources {
  int registers = 0;
  int shared_bytes = 0;  ///< static; from sm_90 on with the 1024 that the system keeps of each block
  int stack_bytes = 0;   ///< arrays that are indexed at run time, and spilled registers
  int local_bytes = 0;
};
std::map<KernelId, KernelResources> parse_resource_usage(std::string_view text);

/// --dump-elf: the bound of __launch_bounds__ and the compiler that made the code.
struct ElfAttributes {
  std::map<KernelId, int> max_threads;  ///< of a block; kernels without a bound are absent
  std::string compiler;                 ///< "Cuda compilation tools, release 13.0, V13.0.88"
};
ElfAttributes parse_elf(std::string_view text);

/// An instruction of --dump-sass: "@!P0 BRA 0x40f0 ;" has predicate "@!P0", opcode "BRA", operands "0x40f0".
struct Instruction {
  int64_t address = 0;
  std::string predicate, opcode, operands;

  /// The opcode without modifiers: LDGSTS of LDGSTS.E.BYPASS.128.
  std::string_view base() const { return std::string_view(opcode).substr(0, opcode.find('.')); }
  /// False for the fillers that the assembler puts before asynchronous copies.
  bool executes() const { return predicate != "@!PT"; }
};
std::map<KernelId, std::vector<Instruction>> parse_sass(std::string_view text);

/// How often each opcode stands in a stretch of code; a loop inside of it is counted once. ldg and stg
/// include the generic LD and ST.
struct InstructionMix {
  bool is_loop = false;  ///< false: there is no loop, and the counts are those of the whole kernel
  int instructions = 0;
  int hmma = 0, ldsm = 0, ldgsts = 0, ldg = 0, lds = 0, sts = 0, stg = 0, bar = 0;
};
/// The mix of the main loop: of the loops with the most tensor-core instructions the shortest; without any
/// of those, the innermost loop with the most loads.
InstructionMix main_loop_mix(const std::vector<Instruction>& code);

/// Instructions that read or write local memory: spilled registers, arrays on the stack.
int local_accesses(const std::vector<Instruction>& code);

}  // namespace residuum::cuda
