#include "engine/core/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "engine/core/check.h"

namespace residuum {

std::string_view to_string(DType type) {
  switch (type) {
    case DType::kF32:
      return "f32";
    case DType::kBF16:
      return "bf16";
    case DType::kF16:
      return "f16";
    case DType::kI32:
      return "i32";
    case DType::kI64:
      return "i64";
    case DType::kU8:
      return "u8";
  }
  return "?";
}

Shape::Shape(std::initializer_list<int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  check(extents.size() <= kMaxRank, ErrorKind::kShape, "shape has {} dimensions, at most {} are allowed",
        extents.size(), kMaxRank);
  for (int64_t extent : extents) {
    check(extent >= 0, ErrorKind::kShape, "shape [{}] has a negative extent",
          fmt::join(extents.begin(), extents.end(), ", "));
  }
  std::copy(extents.begin(), extents.end(), extents_.begin());
}

int64_t Shape::elements() const {
  int64_t count = 1;
  for (int i = 0; i < rank_; ++i) count *= (*this)[i];
  return count;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (int i = 0; i < shape.rank(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

Nhwc Nhwc::of(const Shape& shape) {
  check(shape.rank() == 4, ErrorKind::kShape, "expected an N,H,W,C tensor, found shape {}", to_string(shape));
  return {shape[0], shape[1], shape[2], shape[3]};
}

std::string to_string(const TensorDesc& desc) {
  return fmt::format("{}{}", to_string(desc.dtype), to_string(desc.shape));
}

}  // namespace residuum
