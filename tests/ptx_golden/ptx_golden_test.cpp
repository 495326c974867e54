// Every function of kernels/device/ptx.cuh against plain C++ and against what a GPU answered. In the emulated
// program that checks the twins, in the one built by nvcc the instructions themselves.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "engine/core/check.h"
#include "tests/ptx_golden/ptx_kernels.h"
#include "tests/ptx_golden/recording.h"

namespace residuum::ptx {
namespace {

/// Equal bits, or NaN and NaN, where larger magnitudes than `infinity` are NaN.
bool same_value(uint32_t found, uint32_t expected, uint32_t infinity, uint32_t magnitude) {
  return found == expected || ((found & magnitude) > infinity && (expected & magnitude) > infinity);
}

bool same_halves(uint32_t found, uint32_t expected, uint32_t infinity) {
  return same_value(found & 0xFFFFu, expected & 0xFFFFu, infinity, 0x7FFFu) &&
         same_value(found >> 16, expected >> 16, infinity, 0x7FFFu);
}

bool agree(uint32_t found, uint32_t expected, Kind kind, double scale) {
  switch (kind) {
    case Kind::kWords:
      return found == expected;
    case Kind::kF32:
      return same_value(found, expected, 0x7F800000u, 0x7FFFFFFFu);
    case Kind::kBF16:
      return same_halves(found, expected, 0x7F80u);
    case Kind::kF16:
      return same_halves(found, expected, 0x7C00u);
    case Kind::kSums:
      break;
  }
  const double difference = std::bit_cast<float>(found) - double{std::bit_cast<float>(expected)};
  return std::abs(difference) <= kTensorCoreSum.absolute * scale;
}

/// The first words that differ, and how many.
std::string disagreement(const PtxCase& question, const Words& found, const Words& expected,
                         const std::vector<double>& scale) {
  if (found.size() != expected.size()) return fmt::format("{} words for {}", found.size(), expected.size());
  size_t count = 0, first = 0;
  for (size_t i = found.size(); i-- > 0;) {
    if (agree(found[i], expected[i], question.kind, scale.empty() ? 0 : scale[i])) continue;
    ++count;
    first = i;
  }
  if (count == 0) return {};
  return fmt::format("{} of {} words are off; first word {}: {:08x}, expected {:08x}", count, found.size(),
                     first, found[first], expected[first]);
}

TEST(PtxGolden, EveryKernelIsAsked) {
  std::set<std::string_view> asked, exist;
  const std::vector<PtxCase> cases = ptx_cases();
  for (const PtxCase& question : cases) asked.insert(question.kernel);
  for (const PtxKernel& kernel : ptx_kernels()) exist.insert(kernel.name);
  EXPECT_EQ(asked, exist);
}

std::string text_of(const std::string& file) {
  std::ifstream in(std::filesystem::path(RESIDUUM_SOURCE_DIR) / file);
  return {std::istreambuf_iterator<char>(in), {}};
}
/// The functions that a header of device code defines.
std::set<std::string> functions_of(const std::string& text) {
  constexpr std::string_view kDevice = "__device__ __forceinline__ ";
  std::set<std::string> names;
  for (size_t at = text.find(kDevice); at != std::string::npos; at = text.find(kDevice, at + 1)) {
    const size_t end = text.find('(', at), begin = text.rfind(' ', end) + 1;
    names.insert(text.substr(begin, end - begin));
  }
  return names;
}
bool calls(const std::string& text, const std::string& function) {
  return text.find(" " + function + "(") != std::string::npos ||
         text.find(" " + function + "<") != std::string::npos;
}

TEST(PtxGolden, EveryFunctionIsAsked) {
  const std::string kernels = text_of("tests/ptx_golden/ptx_kernels.cu");
  std::set<std::string> functions = functions_of(text_of("kernels/device/ptx.cuh"));
  functions.merge(functions_of(text_of("kernels/device/ptx_sm90.cuh")));
  EXPECT_GT(functions.size(), 20u);
  functions.erase("descriptor_of");  // of wgmma
  for (const std::string& function : functions) EXPECT_TRUE(calls(kernels, function)) << function;
}

TEST(PtxGolden, OnlyInstructionsOfWarpgroupsWantACertainChip) {
  for (const PtxKernel& kernel : ptx_kernels()) {
    EXPECT_EQ(kernel.by_warpgroup, kernel.name.starts_with("wgmma")) << kernel.name;
    EXPECT_TRUE(kernel.by_warpgroup || runs_here(kernel)) << kernel.name;
  }
}

TEST(PtxGolden, AgreesWithPlainCode) {
  for (const PtxCase& question : ptx_cases()) {
    if (!can_answer(question)) continue;
    const Expected expected = question.expected(question.inputs);
    EXPECT_EQ(disagreement(question, ask(question).outputs, expected.words, expected.scale), "")
        << question.name;
  }
}

TEST(PtxGolden, AgreesWithTheRecordingOfAGpu) {
  const std::filesystem::path path = std::filesystem::path(RESIDUUM_SOURCE_DIR) / kRecordingFile;
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << kRecordingFile << " does not exist yet: ptx_golden_gpu --record writes it on a GPU";
  }
  const Recording recording = read_recording(path);
  for (const PtxCase& question : ptx_cases()) {
    if (!can_answer(question)) continue;
    const std::string& name = question.recorded_name();
    ASSERT_EQ(recording.answers.contains(name), question.is_recorded)
        << name
        << (question.is_recorded ? " is not in the recording" : " is recorded: is_recorded is out of date");
    if (!question.is_recorded) continue;
    const Answer& recorded = recording.answers.at(name);
    const Answer answer = ask(question);
    ASSERT_EQ(answer.inputs_crc, recorded.inputs_crc) << question.name << " was recorded with other inputs";
    // Bits, those of NaN included, but for sums.
    PtxCase strict = question;
    if (question.kind != Kind::kSums) strict.kind = Kind::kWords;
    const std::vector<double> scale = question.expected(question.inputs).scale;
    EXPECT_EQ(disagreement(strict, answer.outputs, recorded.outputs, scale), "")
        << question.name << " on " << recording.device;
  }
}

TEST(PtxGolden, ADisagreementIsFound) {
  const PtxCase words{"", "", Kind::kWords, {}, {}}, sums{"", "", Kind::kSums, {}, {}};
  EXPECT_EQ(disagreement(words, {1, 2, 3}, {1, 0, 0}, {}),
            "2 of 3 words are off; first word 1: 00000002, expected 00000000");
  EXPECT_EQ(disagreement(words, {1}, {1, 2}, {}), "1 words for 2");
  const Words one = {0x3F800000u}, next = {0x3F800001u}, far = {0x3F800100u};
  EXPECT_EQ(disagreement(sums, next, one, {1.0}), "");
  EXPECT_NE(disagreement(sums, far, one, {1.0}), "");
  const PtxCase f32{"", "", Kind::kF32, {}, {}};
  EXPECT_EQ(disagreement(f32, {0x7FC00000u}, {0x7FFFFFFFu}, {}), "");
  EXPECT_NE(disagreement(words, {0x7FC00000u}, {0x7FFFFFFFu}, {}), "");
}

TEST(PtxGolden, RecordingIsReadAsItWasWritten) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "ptx_recording.json";
  write_recording(path, {"a device", {{"one", {0x1234u, {0u, 0xFFFFFFFFu}}}}});
  const Recording read = read_recording(path);
  EXPECT_EQ(read.device, "a device");
  EXPECT_EQ(read.answers.at("one").inputs_crc, 0x1234u);
  EXPECT_EQ(read.answers.at("one").outputs, (Words{0u, 0xFFFFFFFFu}));
  std::ofstream(path) << R"({"device": "x", "cases": {"one": {"inputs_crc32c": "0000zzzz", "outputs": ""}}})";
  EXPECT_THROW(read_recording(path), Error);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace residuum::ptx
