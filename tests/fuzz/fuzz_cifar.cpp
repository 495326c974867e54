// CIFAR files of both layouts: any input gives whole records with labels in range or Error(kData), never
// anything else.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "engine/core/check.h"
#include "engine/data/cifar.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  for (const residuum::CifarFormat& format : {residuum::kCifar10, residuum::kCifar100}) {
    std::vector<uint8_t> pixels;
    std::vector<int32_t> labels;
    try {
      residuum::parse_cifar(file, format, "fuzz", pixels, labels);
    } catch (const residuum::Error& error) {
      if (error.kind() != residuum::ErrorKind::kData) std::abort();
      continue;
    }
    if (labels.empty() || pixels.size() != labels.size() * 3072) std::abort();
    for (const int32_t label : labels) {
      if (label < 0 || label >= format.classes) std::abort();
    }
  }
  return 0;
}
