#include "tests/ptx_golden/recording.h"

#include <algorithm>
#include <charconv>
#include <span>

#include "engine/core/crc32c.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tests/kernels/device_array.h"
#include "tests/ptx_golden/ptx_kernels.h"

namespace residuum::ptx {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kDigits = 8;

std::string hex_of(const Words& words) {
  std::string text;
  for (const uint32_t word : words) text += fmt::format("{:08x}", word);
  return text;
}

Words words_of(const std::string& text) {
  check(text.size() % kDigits == 0, ErrorKind::kData, "{} digits are no whole words", text.size());
  Words words(text.size() / kDigits);
  for (size_t i = 0; i < words.size(); ++i) {
    const char* const begin = text.data() + kDigits * i;
    const auto [end, error] = std::from_chars(begin, begin + kDigits, words[i], 16);
    check(error == std::errc{} && end == begin + kDigits, ErrorKind::kData, "'{}' is no word",
          std::string(begin, kDigits));
  }
  return words;
}

const PtxKernel& kernel_of(const PtxCase& question) {
  const auto kernels = ptx_kernels();
  const auto kernel = std::find_if(kernels.begin(), kernels.end(),
                                   [&](const PtxKernel& k) { return k.name == question.kernel; });
  check(kernel != kernels.end(), ErrorKind::kInternal, "case {} asks kernel {}, which there is not",
        question.name, question.kernel);
  return *kernel;
}

}  // namespace

bool can_answer(const PtxCase& question) {
  return runs_here(kernel_of(question));
}

Answer ask(const PtxCase& question) {
  const PtxKernel& kernel = kernel_of(question);
  check(kernel.words_in == question.inputs.size(), ErrorKind::kInternal, "case {} has {} words for kernel {}",
        question.name, question.inputs.size(), question.kernel);
  const DeviceArray<uint32_t> in(question.inputs), out(kernel.words_out);
  kernel.launch(in.data(), out.data(), nullptr);
  check_cuda(cudaDeviceSynchronize(), question.name.c_str());
  check(out.guard_intact(), ErrorKind::kInternal, "case {} wrote past its end", question.name);
  return {crc32c(std::as_bytes(std::span(question.inputs))), out.download()};
}

void write_recording(const std::filesystem::path& path, const Recording& recording) {
  Json json = {{"device", recording.device}, {"cases", Json::object()}};
  for (const auto& [name, answer] : recording.answers) {
    json["cases"][name] = {{"inputs_crc32c", fmt::format("{:08x}", answer.inputs_crc)},
                           {"outputs", hex_of(answer.outputs)}};
  }
  write_file_atomically(path, json_text(json, 1) + "\n");
}

Recording read_recording(const std::filesystem::path& path) {
  const std::string text = read_text_file(path);
  try {
    const Json json = parse_json<Json>(text);
    Recording recording{json.at("device"), {}};
    for (const auto& [name, answer] : json.at("cases").items()) {
      recording.answers[name] = {words_of(answer.at("inputs_crc32c")).at(0), words_of(answer.at("outputs"))};
    }
    return recording;
  } catch (const std::exception& error) {
    fail(ErrorKind::kData, "{}: {}", path.string(), error.what());
  }
}

}  // namespace residuum::ptx
