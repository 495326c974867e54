// Any bytes are either refused with Error(kCheckpoint) or read as tensors that cover the data exactly, and
// whatever is read is the same after writing and reading again.
#include <algorithm>
#include <cstdlib>

#include "engine/checkpoint/safetensors.h"
#include "engine/core/check.h"

namespace {

using residuum::SafetensorsFile;
using residuum::StoredTensor;

void require(bool condition) {
  if (!condition) std::abort();
}

bool equal(const StoredTensor& a, const StoredTensor& b) {
  return a.name == b.name && a.dtype == b.dtype && a.shape == b.shape &&
         std::equal(a.data.begin(), a.data.end(), b.data.begin(), b.data.end());
}

void check_round_trip(const SafetensorsFile& file) {
  const residuum::SafetensorsImage image(file.tensors(), file.metadata());
  std::vector<std::byte> bytes;
  for (const auto part : image.parts()) bytes.insert(bytes.end(), part.begin(), part.end());
  const SafetensorsFile again = SafetensorsFile::parse("again", std::move(bytes));
  require(again.metadata() == file.metadata());
  require(again.tensors().size() == file.tensors().size());
  for (const StoredTensor& tensor : file.tensors()) {
    const StoredTensor* found = again.find(tensor.name);
    require(found != nullptr && equal(*found, tensor));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    check_round_trip(SafetensorsFile::parse("fuzz", {bytes.begin(), bytes.end()}));
  } catch (const residuum::Error& error) {
    require(error.kind() == residuum::ErrorKind::kCheckpoint);
  }
  return 0;
}
