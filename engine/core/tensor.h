// Element types, shapes and descriptors of tensors. Layout is always dense, row major, last dimension
// fastest: activations N,H,W,C; convolution weights K,R,S,C/groups; vectors C.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace residuum {

enum class DType : uint8_t { kF32, kBF16, kF16, kI32, kI64, kU8 };

/// Bytes of one element.
constexpr size_t size_of(DType type) {
  switch (type) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
      return 2;
    case DType::kI64:
      return 8;
    case DType::kU8:
      return 1;
  }
  return 0;
}

/// Whether it is a floating point type.
constexpr bool is_float(DType type) {
  return type == DType::kF32 || type == DType::kBF16 || type == DType::kF16;
}

/// "f32", "bf16", "f16", "i32", "i64", "u8".
std::string_view to_string(DType type);

/// Up to four extents, each >= 0; rank 0 is a scalar with one element.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  /// Throws Error(kShape) for more than four extents or a negative one.
  Shape(std::initializer_list<int64_t> extents);

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return extents_[static_cast<size_t>(i)]; }
  int64_t elements() const;
  bool operator==(const Shape&) const = default;

 private:
  std::array<int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

/// "[2, 32, 32, 16]".
std::string to_string(const Shape& shape);

/// Extents of an activation by name; `of` throws Error(kShape) unless the rank is 4.
struct Nhwc {
  int64_t n, h, w, c;
  static Nhwc of(const Shape& shape);
};

struct TensorDesc {
  DType dtype = DType::kF32;
  Shape shape;

  int64_t elements() const { return shape.elements(); }
  size_t bytes() const { return static_cast<size_t>(shape.elements()) * size_of(dtype); }
  bool operator==(const TensorDesc&) const = default;
};

/// "f32[2, 32, 32, 16]".
std::string to_string(const TensorDesc& desc);

}  // namespace residuum
