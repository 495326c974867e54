// The static kernel report on text in the form of cuobjdump 13.0, cut down to a few instructions
// (tests/golden/cuobjdump).
#include "engine/backend/cuda/report/kernel_report.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "engine/backend/cuda/report/kernel_name.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "tests/support/source_tree.h"

namespace residuum::cuda {
namespace {

// In the recorded texts; of an earlier form of the kernels.
const std::string kConv =
    "_ZN8residuum7kernels11conv_kernelILNS0_8TileNameE0E13__nv_bfloat16LNS0_7F32MathE0ELb1ELNS0_5PatchE1ENS0_"
    "13StoreEpilogueIS3_EEEEvNS0_12ConvGeometryEPKT0_SB_T4_";
const std::string kCast = "_ZN8residuum7kernels11cast_kernelIfEEvPKT_";

std::string recorded(const char* name) {
  return read_text_file(source_tree() / "tests/golden/cuobjdump" / name);
}
std::string resource_usage() {
  return recorded("resource_usage.txt");
}
std::string elf() {
  return recorded("elf.txt");
}
std::string sass() {
  return recorded("sass.txt");
}

Instruction at(int64_t address, const char* opcode, const char* operands = "") {
  return {address, "", opcode, operands};
}

TEST(CuobjdumpText, ResourceUsage) {
  const auto kernels = parse_resource_usage(resource_usage());
  ASSERT_EQ(kernels.size(), 3u);
  EXPECT_EQ(kernels.at({kConv, "sm_80"}).registers, 128);
  EXPECT_EQ(kernels.at({kConv, "sm_90a"}).registers, 127);
  EXPECT_EQ(kernels.at({kConv, "sm_90a"}).shared_bytes, 1024);
  EXPECT_EQ(kernels.at({kCast, "sm_80"}).shared_bytes, 2048);
  EXPECT_EQ(kernels.at({kCast, "sm_80"}).stack_bytes, 16);
  EXPECT_TRUE(parse_resource_usage("cuobjdump info    : File 'x' does not contain device code").empty());
}

TEST(CuobjdumpText, Elf) {
  const ElfAttributes attributes = parse_elf(elf());
  EXPECT_EQ(attributes.compiler, "Cuda compilation tools, release 13.0, V13.0.88");
  ASSERT_EQ(attributes.max_threads.size(), 1u);
  EXPECT_EQ(attributes.max_threads.at({kConv, "sm_90a"}), 256) << "0x80 x 0x2 x 0x1";
}

TEST(CuobjdumpText, Sass) {
  const auto kernels = parse_sass(sass());
  ASSERT_EQ(kernels.size(), 1u);
  const std::vector<Instruction>& code = kernels.at({kConv, "sm_90a"});
  ASSERT_EQ(code.size(), 13u) << "one for each pair of lines";
  EXPECT_EQ(code[3].predicate, "@!PT");
  EXPECT_FALSE(code[3].executes());
  EXPECT_EQ(code[4].address, 0x40);
  EXPECT_EQ(code[4].opcode, "LDGSTS.E.BYPASS.128");
  EXPECT_EQ(code[4].base(), "LDGSTS");
  EXPECT_EQ(code[4].operands, "[R17+0x880], desc[UR30][R18.64], P0");
  EXPECT_EQ(code[12].operands, "0xc0");
}

TEST(CuobjdumpText, MainLoopOfTensorCoresIsTheShortestThatHoldsThemAll) {
  const InstructionMix mix = main_loop_mix(parse_sass(sass()).at({kConv, "sm_90a"}));
  EXPECT_TRUE(mix.is_loop);
  EXPECT_EQ(mix.instructions, 9) << "0x10 to 0x90: neither the copy loop inside nor the loop around";
  EXPECT_EQ(mix.hmma, 2);
  EXPECT_EQ(mix.ldsm, 1);
  EXPECT_EQ(mix.ldgsts, 1);
  EXPECT_EQ(mix.bar, 1);
  EXPECT_EQ(mix.lds, 0) << "a filler is no load";
  EXPECT_EQ(mix.ldg + mix.sts + mix.stg, 0);
}

TEST(CuobjdumpText, MainLoopWithoutTensorCoresIsTheInnermostWithMostLoads) {
  const std::vector<Instruction> code = {
      at(0x00, "LDG.E", "R0"), at(0x10, "LDG.E", "R1"), at(0x20, "STG.E"),  at(0x30, "BRA", "0x20"),
      at(0x40, "LDG.E.128"),   at(0x50, "LD.E"),        at(0x60, "STS.64"), at(0x70, "ST.E"),
      at(0x80, "BRA", "0x40"), at(0x90, "BRA", "0x0"),  at(0xa0, "EXIT"),   at(0xb0, "BRA", "0xb0"),
  };
  const InstructionMix mix = main_loop_mix(code);
  EXPECT_TRUE(mix.is_loop);
  EXPECT_EQ(mix.instructions, 5);
  EXPECT_EQ(mix.ldg, 2);
  EXPECT_EQ(mix.sts, 1);
  EXPECT_EQ(mix.stg, 1);
}

TEST(CuobjdumpText, WithoutALoopTheWholeKernelCounts) {
  const InstructionMix mix = main_loop_mix({at(0, "LDG.E"), at(0x10, "STG.E"), at(0x20, "BRA", "0x40"),
                                            at(0x30, "STG.E"), at(0x40, "EXIT"), at(0x50, "BRA", "0x50")});
  EXPECT_FALSE(mix.is_loop);
  EXPECT_EQ(mix.instructions, 6);
  EXPECT_EQ(mix.stg, 2);
  EXPECT_EQ(main_loop_mix({}).instructions, 0);
}

TEST(CuobjdumpText, LocalAccesses) {
  EXPECT_EQ(local_accesses({at(0, "STL.64"), at(0x10, "LDL"), at(0x20, "LDG.E"), at(0x30, "LDS")}), 2);
}

TEST(KernelName, Convolutions) {
  const auto text = [](const char* symbol) { return kernel_name(symbol).text; };
  const KernelName name = kernel_name(
      "_ZN8residuum7kernels11conv_kernelILNS0_8TileNameE0E13__nv_bfloat16LNS0_7F32MathE0ELb1ELNS0_"
      "5PatchE1ELNS0_8PrologueE0EEEvNS0_12ConvGeometryENS0_10ConvSourceEPKT0_NS0_10ConvResultE");
  EXPECT_EQ(name.text, "conv_kernel kConvWide bf16 backward-data halo");
  EXPECT_EQ(name.tile, kernels::TileName::kConvWide);
  EXPECT_EQ(name.element_bytes, 2u);
  EXPECT_EQ(text("_ZN8residuum7kernels11conv_kernelILNS0_8TileNameE8EfLNS0_"
                 "7F32MathE1ELb0ELNS0_5PatchE2ELNS0_8PrologueE0EEEvNS0_12ConvGeometryENS0_"
                 "10ConvSourceEPKT0_NS0_10ConvResultE"),
            "conv_kernel kConvF32Packed tf32x3 forward elements");
  EXPECT_EQ(text("_ZN8residuum7kernels11conv_kernelILNS0_8TileNameE2E13__nv_bfloat16LNS0_"
                 "7F32MathE0ELb1ELNS0_5PatchE0ELNS0_8PrologueE1EEEvNS0_12ConvGeometryENS0_"
                 "10ConvSourceEPKT0_NS0_10ConvResultE"),
            "conv_kernel kConvWideTwo bf16 backward-data gather formed");
  EXPECT_EQ(text("_ZN8residuum7kernels27conv_backward_filter_kernelILNS0_8TileNameE10E6__"
                 "halfLNS0_7F32MathE0ELb1EEEv"
                 "NS0_14FilterGeometryEPKT0_S8_Pfl"),
            "conv_backward_filter_kernel kFilterWide f16 chunks");
  EXPECT_EQ(
      text("_ZN8residuum7kernels17conv_lines_kernelILNS0_8TileNameE9E13__nv_bfloat16LNS0_7F32MathE0ELi3E"
           "Lb1ELNS0_7ProductE1EEEvNS0_12ConvGeometryENS0_9ConvLinesEPKvPKT0_NS0_10ConvResultE"),
      "conv_lines_kernel kConvLines bf16 3 shifted warpgroup");
}

TEST(KernelName, Others) {
  EXPECT_EQ(kernel_name(kCast).text, "cast_kernel<f32>");
  EXPECT_EQ(kernel_name("_ZN8residuum7kernels41_GLOBAL__N__bc7b78db_9_update_cu_2e9beb961"
                        "3update_kernelINS1_3SgdI13__nv_bfloat16EEEEvNS0_11TensorListsET_")
                .text,
            "update_kernel<Sgd<bf16>>");
  EXPECT_EQ(kernel_name("_Z9short").text, "_Z9short");
  EXPECT_EQ(kernel_name("cast_kernel").text, "cast_kernel");
}

TEST(KernelReport, Occupancy) {
  // 128 registers x 256 threads: half of the registers of a multiprocessor.
  EXPECT_EQ(blocks_per_multiprocessor("sm_90a", 256, 128, 0, 0), 2);
  // 98 KB a block: one on an A100 (164 KB), two on an H100 (228 KB).
  EXPECT_EQ(blocks_per_multiprocessor("sm_80", 256, 128, 0, 100480), 1);
  EXPECT_EQ(blocks_per_multiprocessor("sm_90a", 256, 128, 0, 100480), 2);
  EXPECT_EQ(blocks_per_multiprocessor("sm_80", 256, 32, 0, 0), 8) << "2048 threads";
  EXPECT_EQ(blocks_per_multiprocessor("sm_80", 256, 32, 0, 200 << 10), 0) << "more than a block may have";
  EXPECT_EQ(blocks_per_multiprocessor("sm_120", 256, 32, 0, 0), std::nullopt) << "a chip not known";
}

TEST(KernelReport, Rows) {
  const KernelReport report = make_kernel_report(resource_usage(), elf(), sass());
  EXPECT_EQ(report.compiler, "Cuda compilation tools, release 13.0, V13.0.88");
  ASSERT_EQ(report.rows.size(), 3u);
  const KernelRow &cast = report.rows[0], &conv = report.rows[2];
  EXPECT_EQ(cast.name, "cast_kernel<f32>");
  EXPECT_EQ(cast.shared_bytes, 2048) << "sm_80: all of it the kernel's own";
  EXPECT_TRUE(cast.spills());
  EXPECT_EQ(cast.threads, std::nullopt);
  EXPECT_EQ(cast.occupancy, std::nullopt);
  EXPECT_EQ(report.rows[1].arch, "sm_80");
  EXPECT_EQ(conv.arch, "sm_90a");
  EXPECT_EQ(conv.shared_bytes, 0) << "1024 bytes are the system's";
  EXPECT_EQ(conv.dynamic_shared_bytes, 4 * 128 * 8 + 128 + (112 + 16) + (128 + 128) * 3 * 64 * 2 + 1024);
  EXPECT_EQ(conv.threads, 256);
  EXPECT_EQ(conv.blocks, 2);
  EXPECT_EQ(conv.occupancy, 0.25);
  EXPECT_EQ(conv.loop.hmma, 2);
  EXPECT_FALSE(conv.spills());
}

ErrorKind kind_of_failure(const std::filesystem::path& binary, const std::filesystem::path& tool) {
  try {
    kernel_report(binary, tool);
  } catch (const Error& error) {
    return error.kind();
  }
  return ErrorKind::kInternal;
}

/// Stands in for cuobjdump.
std::filesystem::path make_tool(const std::string& name, const std::string& script) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / name;
  std::ofstream(path) << "#!/bin/sh\n" << script;
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  return path;
}

TEST(KernelReport, RunsTheTool) {
  const std::string usage = "cat <<'END'\n" + resource_usage() + "END\n";
  const auto tool = make_tool("cuobjdump_good", "[ \"$1\" != --dump-resource-usage ] || " + usage);
  const KernelReport report = kernel_report("/proc/self/exe", tool);
  EXPECT_EQ(report.rows.size(), 3u);
  EXPECT_EQ(kind_of_failure("/proc/self/exe", make_tool("cuobjdump_empty", "exit 0\n")), ErrorKind::kDevice);
  EXPECT_EQ(
      kind_of_failure("/proc/self/exe", make_tool("cuobjdump_host_only",
                                                  "echo \"File does not contain device code\"; exit 255\n")),
      ErrorKind::kDevice);
}

TEST(KernelReport, ToolThatFailsOrIsAbsent) {
  EXPECT_EQ(kind_of_failure("/proc/self/exe", make_tool("cuobjdump_bad", "exit 1\n")), ErrorKind::kUsage);
  EXPECT_EQ(kind_of_failure("/proc/self/exe", "/nowhere/cuobjdump"), ErrorKind::kUsage);
  EXPECT_EQ(kind_of_failure("/nowhere/binary", ""), ErrorKind::kUsage);
}

}  // namespace
}  // namespace residuum::cuda
