// IDX files, plain and gzip: any input gives arrays that fit their header or Error(kData), never anything
// else.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "engine/core/check.h"
#include "engine/data/idx.h"

namespace {

template <typename Parse>
void expect_data_error_at_most(Parse&& parse) {
  try {
    parse();
  } catch (const residuum::Error& error) {
    if (error.kind() != residuum::ErrorKind::kData) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file = std::as_bytes(std::span(data, size));
  expect_data_error_at_most([&] {
    const residuum::IdxImages images = residuum::parse_idx_images(file, "fuzz");
    const int64_t bytes = images.count * images.height * images.width;
    if (bytes != static_cast<int64_t>(images.pixels.size()) || bytes == 0) std::abort();
  });
  expect_data_error_at_most([&] {
    if (residuum::parse_idx_labels(file, "fuzz").empty()) std::abort();
  });
  return 0;
}
