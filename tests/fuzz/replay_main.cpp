// Runs a fuzz target over a corpus without libFuzzer: each file whole, cut at every length (to 8 KiB), and
// with each of its first 256 bytes flipped, all bits and then the lowest bit. The target aborts on a broken
// promise; an empty corpus is an error.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/core/file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr size_t kMaxCuts = 8192;
constexpr size_t kMaxFlips = 256;

// The input is copied to a block of exactly its size, so that AddressSanitizer sees a read past its end.
void run(const std::string& input) {
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

void replay(const std::string& input) {
  run(input);
  for (size_t size = 0; size < std::min(input.size(), kMaxCuts); ++size) run(input.substr(0, size));
  for (size_t i = 0; i < std::min(input.size(), kMaxFlips); ++i) {
    for (const int mask : {0xFF, 0x01}) {
      std::string flipped = input;
      flipped[i] = static_cast<char>(flipped[i] ^ mask);
      run(flipped);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string current = "the command line";
  try {
    std::vector<std::filesystem::path> files;
    for (int i = 1; i < argc; ++i) {
      for (const auto& entry : std::filesystem::directory_iterator(argv[i])) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
      current = file.string();
      std::fprintf(stderr, "%s\n", current.c_str());  // the last line names the file of a crash
      replay(residuum::read_text_file(file));
    }
    if (files.empty()) {
      std::fprintf(stderr, "usage: %s CORPUS_DIRECTORY..., each with at least one file\n", argv[0]);
      return EXIT_FAILURE;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", current.c_str(), error.what());
    return EXIT_FAILURE;
  }
  return EXIT_SUCCESS;
}
