// Conversions element by element; the bytes of a stored tensor need not be aligned, so elements are copied
// out.
#include "engine/checkpoint/tensor_values.h"

#include <fmt/format.h>
#include <cstring>

#include "engine/core/check.h"
#include "engine/core/half.h"

namespace residuum {
namespace {

template <typename Stored, typename Value, typename Convert>
std::vector<Value> convert_elements(std::span<const std::byte> data, Convert convert) {
  std::vector<Value> values(data.size() / sizeof(Stored));
  for (size_t i = 0; i < values.size(); ++i) {
    Stored element;
    std::memcpy(&element, data.data() + i * sizeof(Stored), sizeof(Stored));
    values[i] = convert(element);
  }
  return values;
}

template <typename Stored>
std::vector<int64_t> widen(std::span<const std::byte> data) {
  return convert_elements<Stored, int64_t>(data, [](Stored value) { return int64_t{value}; });
}

// src of shape a,b,c,d; dst of shape a,c,d,b.
std::vector<float> move_second_to_last(std::span<const float> src, const std::array<int64_t, 4>& shape) {
  const auto [a, b, c, d] = shape;
  check(a >= 0 && b >= 0 && c >= 0 && d >= 0 && static_cast<int64_t>(src.size()) == a * b * c * d,
        ErrorKind::kShape, "{} weights do not have the shape [{}]", src.size(), fmt::join(shape, ", "));
  const int64_t area = c * d;
  std::vector<float> dst(src.size());
  for (int64_t i = 0; i < a; ++i) {
    for (int64_t j = 0; j < b; ++j) {
      for (int64_t k = 0; k < area; ++k) dst[(i * area + k) * b + j] = src[(i * b + j) * area + k];
    }
  }
  return dst;
}

}  // namespace

bool is_floating(std::string_view dtype) {
  return dtype == "F32" || dtype == "F64" || dtype == "F16" || dtype == "BF16";
}

bool is_integer(std::string_view dtype) {
  return dtype == "I64" || dtype == "I32" || dtype == "I16" || dtype == "I8" || dtype == "U8";
}

std::vector<float> to_floats(const StoredTensor& tensor) {
  if (tensor.dtype == "F32") return convert_elements<float, float>(tensor.data, [](float v) { return v; });
  if (tensor.dtype == "F64") {
    return convert_elements<double, float>(tensor.data, [](double v) { return static_cast<float>(v); });
  }
  if (tensor.dtype == "BF16") return convert_elements<uint16_t, float>(tensor.data, from_bf16);
  if (tensor.dtype == "F16") return convert_elements<uint16_t, float>(tensor.data, from_f16);
  fail(ErrorKind::kCheckpoint, "tensor '{}' has dtype {}, expected F64, F32, F16 or BF16", tensor.name,
       tensor.dtype);
}

std::vector<int64_t> to_int64s(const StoredTensor& tensor) {
  if (tensor.dtype == "I64") return widen<int64_t>(tensor.data);
  if (tensor.dtype == "I32") return widen<int32_t>(tensor.data);
  if (tensor.dtype == "I16") return widen<int16_t>(tensor.data);
  if (tensor.dtype == "I8") return widen<int8_t>(tensor.data);
  if (tensor.dtype == "U8") return widen<uint8_t>(tensor.data);
  fail(ErrorKind::kCheckpoint, "tensor '{}' has dtype {}, expected I64, I32, I16, I8 or U8", tensor.name,
       tensor.dtype);
}

std::vector<float> oihw_to_krsc(std::span<const float> weights, const std::array<int64_t, 4>& oihw) {
  return move_second_to_last(weights, oihw);
}

std::vector<float> krsc_to_oihw(std::span<const float> weights, const std::array<int64_t, 4>& krsc) {
  // K,RS,C -> K,C,RS is the same exchange of two axes: take R*S as the second axis and C as the last two.
  return move_second_to_last(weights, {krsc[0], krsc[1] * krsc[2], krsc[3], 1});
}

}  // namespace residuum
