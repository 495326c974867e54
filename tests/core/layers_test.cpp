// The rules between folders, checked on the text of every source file: who may include whom, how long a file
// may be. Invariant: an #include that is not allowed by kRules below fails the test with file, line and rule.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/source_tree.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxLines = 600;

/// Files below `folder` may include project headers below one of `allowed` only. The first rule whose folder
/// contains a file is the rule of that file.
struct Rule {
  std::string_view folder;
  std::vector<std::string_view> allowed;
};

/// architecture.md, "Who may include whom". kernels/shapes.h and kernels/philox.h are plain C++ and belong to
/// core.
const std::vector<Rule> kRules = {
    {"kernels/device/",
     {"kernels/device/", "kernels/dependent_launch.h", "kernels/launch.h", "kernels/philox.h",
      "kernels/shapes.h", "kernels/sum_tree.h"}},
    {"kernels/conv/", {"kernels/conv/", "kernels/device/", "kernels/launch.h", "kernels/shapes.h"}},
    {"kernels/conv_backward_filter/",
     {"kernels/conv_backward_filter/", "kernels/conv/", "kernels/device/", "kernels/launch.h",
      "kernels/shapes.h", "kernels/sum_tree.h"}},
    {"kernels/", {"kernels/"}},
    {"engine/core/", {"engine/core/", "kernels/shapes.h", "kernels/philox.h"}},
    {"engine/graph/", {"engine/graph/", "engine/core/", "kernels/shapes.h", "kernels/philox.h"}},
    {"engine/backend/cuda/report/", {"engine/backend/cuda/report/", "engine/core/", "kernels/"}},
    {"engine/backend/cuda/device/",
     {"engine/backend/cuda/device/", "engine/backend/backend.h", "engine/core/", "kernels/"}},
    {"engine/backend/cuda/libraries/",
     {"engine/backend/cuda/libraries/", "engine/backend/cuda/device/", "engine/core/", "kernels/"}},
    {"engine/backend/cuda/fusion/",
     {"engine/backend/cuda/fusion/", "engine/backend/backend.h", "engine/graph/", "engine/core/",
      "kernels/"}},
    {"engine/backend/cuda/launch/",
     {"engine/backend/cuda/launch/", "engine/backend/cuda/libraries/", "engine/backend/cuda/device/",
      "engine/backend/backend.h", "engine/graph/", "engine/core/", "kernels/"}},
    {"engine/backend/cuda/steps/",
     {"engine/backend/cuda/steps/", "engine/backend/cuda/launch/", "engine/backend/cuda/fusion/",
      "engine/backend/backend.h", "engine/graph/", "engine/core/", "kernels/"}},
    {"engine/backend/cuda/",
     {"engine/backend/backend.h", "engine/backend/cuda/", "engine/graph/", "engine/core/", "kernels/"}},
    {"engine/backend/cpu/",
     {"engine/backend/backend.h", "engine/backend/cpu/", "engine/graph/", "engine/core/", "kernels/shapes.h",
      "kernels/philox.h"}},
    {"engine/backend/",
     {"engine/backend/", "engine/graph/", "engine/core/", "kernels/shapes.h", "kernels/philox.h"}},
    {"engine/comm/",
     {"engine/comm/", "engine/backend/backend.h", "engine/core/", "kernels/shapes.h", "kernels/philox.h"}},
    {"engine/exec/",
     {"engine/exec/", "engine/comm/", "engine/backend/backend.h", "engine/graph/", "engine/core/",
      "kernels/shapes.h", "kernels/philox.h"}},
    {"engine/data/", {"engine/data/", "engine/core/"}},
    {"engine/checkpoint/", {"engine/checkpoint/", "engine/core/"}},
    {"engine/train/",
     {"engine/train/", "engine/checkpoint/", "engine/data/", "engine/exec/", "engine/comm/",
      "engine/backend/", "engine/graph/", "engine/core/", "kernels/shapes.h", "kernels/philox.h"}},
    {"engine/lab/", {"engine/", "kernels/shapes.h", "kernels/philox.h"}},
    {"models/", {"models/", "engine/", "kernels/shapes.h", "kernels/philox.h"}},
    {"bench/", {"bench/", "models/", "engine/", "kernels/shapes.h"}},
    {"tools/page/", {"tools/page/", "engine/core/"}},
    {"tools/", {"tools/", "bench/", "models/", "engine/", "kernels/shapes.h", "kernels/philox.h"}},
    {"tests/", {"tests/", "bench/", "tools/", "models/", "engine/", "kernels/"}},
};

/// Libraries that only one layer may see.
const std::vector<Rule> kLibraryRules = {
    {"engine/backend/cpu/", {"oneapi/", "dnnl"}},
    {"engine/backend/cuda/", {"cuda", "nvrtc", "nvtx", "nvToolsExt"}},
    {"engine/comm/", {"nccl", "mpi", "cuda"}},
    {"kernels/", {"cuda", "mma.h", "cooperative_groups"}},
    {"kernels/device/platform.cuh", {"simt_emulator.h"}},
};

bool starts_with_any(std::string_view text, const std::vector<std::string_view>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view p) { return text.starts_with(p); });
}

struct Include {
  int line = 0;
  std::string target;
  bool quoted = false;
};

/// Every #include of a source text.
std::vector<Include> includes_of(const std::string& text) {
  std::vector<Include> found;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::string squeezed;
    for (const char c : line) {
      if (c != ' ' && c != '\t') squeezed += c;
    }
    constexpr std::string_view kDirective = "#include";
    if (!squeezed.starts_with(kDirective) || squeezed.size() < kDirective.size() + 2) continue;
    const bool quoted = squeezed[kDirective.size()] == '"';
    const std::string rest = squeezed.substr(kDirective.size() + 1);
    found.push_back({number, rest.substr(0, rest.find(quoted ? '"' : '>')), quoted});
  }
  return found;
}

std::string join(const std::vector<std::string_view>& texts) {
  std::string joined;
  for (const std::string_view text : texts) joined += (joined.empty() ? "" : ", ") + std::string(text);
  return joined;
}

/// One message for each include of `text` that the rules for a file at `path` (relative to the root) do not
/// allow.
std::vector<std::string> violations(const std::string& path, const std::string& text) {
  std::vector<std::string> messages;
  const auto rule =
      std::find_if(kRules.begin(), kRules.end(), [&](const Rule& r) { return path.starts_with(r.folder); });
  if (rule == kRules.end()) return {path + ": no rule for this folder"};
  for (const Include& include : includes_of(text)) {
    if (include.quoted && !starts_with_any(include.target, rule->allowed)) {
      messages.push_back(fmt::format("{}:{}: includes \"{}\", but {} may include only {}", path, include.line,
                                     include.target, rule->folder, join(rule->allowed)));
    }
    if (include.quoted || path.starts_with("tests/")) continue;
    std::vector<std::string_view> owners;
    for (const Rule& library : kLibraryRules) {
      if (starts_with_any(include.target, library.allowed)) owners.push_back(library.folder);
    }
    if (!owners.empty() && !starts_with_any(path, owners)) {
      messages.push_back(fmt::format("{}:{}: includes <{}>, a library that only {} may see", path,
                                     include.line, include.target, join(owners)));
    }
    // kernels use the CUDA toolkit and the C++ standard library, whose headers have no folder and no ".h".
    const bool standard = include.target.find_first_of("./") == std::string::npos;
    if (path.starts_with("kernels/") && owners.empty() && !standard) {
      messages.push_back(
          fmt::format("{}:{}: includes <{}>, but kernels/ may include only the CUDA toolkit and the C++ "
                      "standard library",
                      path, include.line, include.target));
    }
  }
  return messages;
}

struct Source {
  std::string path;  ///< relative to the root, with forward slashes
  std::string text;
};

/// Every source file below the layers' folders.
std::vector<Source> sources() {
  const fs::path root = source_tree();
  std::vector<Source> found;
  for (const char* folder : {"kernels", "engine", "models", "tools", "tests", "bench"}) {
    if (!fs::exists(root / folder)) continue;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cpp" && extension != ".cu" && extension != ".cuh") continue;
      std::ostringstream text;
      text << std::ifstream(entry.path()).rdbuf();
      found.push_back({entry.path().lexically_relative(root).generic_string(), text.str()});
    }
  }
  return found;
}

TEST(Layers, IncludesFollowTheRules) {
  const std::vector<Source> all = sources();
  ASSERT_GT(all.size(), 30u) << "the source tree was not found below " << source_tree();
  for (const Source& source : all) {
    for (const std::string& message : violations(source.path, source.text)) ADD_FAILURE() << message;
  }
}

TEST(Layers, QuotedIncludesAreFilesOfTheTree) {
  for (const Source& source : sources()) {
    for (const Include& include : includes_of(source.text)) {
      if (include.quoted && !fs::exists(source_tree() / include.target)) {
        ADD_FAILURE() << fmt::format("{}:{}: \"{}\" is not a path from the root of the tree", source.path,
                                     include.line, include.target);
      }
    }
  }
}

TEST(Layers, FilesAreShort) {
  for (const Source& source : sources()) {
    const auto lines = std::count(source.text.begin(), source.text.end(), '\n');
    EXPECT_LE(lines, kMaxLines) << source.path << " is longer than a file may be";
  }
}

TEST(Layers, ABadIncludeIsFound) {
  const auto count = [](const char* path, const char* text) { return violations(path, text).size(); };
  EXPECT_EQ(count("engine/graph/made_up.cpp", "#include \"engine/exec/executor.h\"\n"), 1u);
  EXPECT_EQ(count("engine/core/made_up.h", "\n  #  include   \"engine/graph/graph.h\"\n"), 1u);
  EXPECT_EQ(count("engine/data/made_up.cpp", "#include \"engine/graph/graph.h\"\n"), 1u);
  EXPECT_EQ(count("engine/backend/cpu/made_up.cpp", "#include \"engine/backend/cuda/launch.h\"\n"), 1u);
  EXPECT_EQ(count("models/made_up.cpp", "#include \"tools/verb.h\"\n"), 1u);
  EXPECT_EQ(count("tools/made_up.cpp", "#include \"tests/reference/reference.h\"\n"), 1u);
  EXPECT_EQ(count("engine/train/made_up.cpp", "#include \"bench/harness.h\"\n"), 1u);
  EXPECT_EQ(
      count("bench/made_up.cpp", "#include \"tools/verbs.h\"\n#include \"tests/reference/reference.h\"\n"),
      2u);
  EXPECT_EQ(count("kernels/made_up.cu", "#include \"engine/core/check.h\"\n#include <fmt/core.h>\n"), 2u);
  EXPECT_EQ(count("engine/exec/made_up.cpp", "#include <dnnl.h>\n"), 1u);
  EXPECT_EQ(count("engine/train/made_up.cpp", "#include \"engine/lab/surgery.h\"\n"), 1u);
  EXPECT_EQ(count("engine/lab/made_up.cpp", "#include \"models/zoo.h\"\n"), 1u);
  EXPECT_EQ(count("engine/made_up/file.cpp", "int x;\n"), 1u);

  EXPECT_EQ(count("engine/graph/fine.cpp", "#include <vector>\n#include \"engine/core/check.h\"\n"), 0u);
  EXPECT_EQ(count("engine/backend/cpu/fine.cpp", "#include <oneapi/dnnl/dnnl.h>\n"), 0u);
  EXPECT_EQ(
      count("kernels/fine.cu", "#include <cuda_bf16.h>\n#include <cstdint>\n#include \"kernels/shapes.h\"\n"),
      0u);
  EXPECT_EQ(count("models/fine.cpp", "// #include \"tools/verb.h\"\n"), 0u);
}

TEST(Layers, ViolationNamesFileLineAndRule) {
  const std::vector<std::string> messages =
      violations("engine/core/made_up.h", "\n#include \"models/zoo.h\"\n");
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(
      messages[0],
      "engine/core/made_up.h:2: includes \"models/zoo.h\", but engine/core/ may include only engine/core/, "
      "kernels/shapes.h, kernels/philox.h");
}

}  // namespace
}  // namespace residuum
