// The answers of a GPU to the cases of ptx_cases.h, as a small JSON file: device, and for each case the
// CRC-32C of its inputs and the words of its outputs in hexadecimal.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "tests/ptx_golden/ptx_cases.h"

namespace residuum::ptx {

/// tests/golden/ptx_sm90.json; written by ptx_golden_gpu --record on a GPU of that generation.
inline constexpr const char* kRecordingFile = "tests/golden/ptx_sm90.json";

struct Answer {
  uint32_t inputs_crc = 0;
  Words outputs;
};
struct Recording {
  std::string device;
  std::map<std::string, Answer> answers;  ///< by name of the case
};

/// Whether the device has the instruction that the case is about.
bool can_answer(const PtxCase& question);

/// Asks the device, or the emulator, whichever this program is linked with. Throws Error(kDevice).
Answer ask(const PtxCase& question);

void write_recording(const std::filesystem::path& path, const Recording& recording);
/// Throws Error(kIo), Error(kData).
Recording read_recording(const std::filesystem::path& path);

}  // namespace residuum::ptx
