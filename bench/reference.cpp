#include "bench/reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>

#include "engine/core/half.h"
#include "engine/core/random.h"

namespace residuum::bench {
namespace {

constexpr double kEpsilon = 1e-5;  ///< of batch norms, as the operations have it by default

/// An index taken apart; the last extent changes fastest.
struct Position {
  int64_t n, y, x, c;
};
Position position_of(int64_t index, int64_t height, int64_t width, int64_t channels) {
  const int64_t pixel = index / channels;
  return {pixel / (height * width), pixel / width % height, pixel % width, index % channels};
}

using Inputs = std::vector<Pattern>;

Expected conv(const ConvShape& s, const Inputs& in, int64_t index) {
  const Position at = position_of(index, s.p(), s.q(), s.k);
  const int64_t group_c = s.c / s.groups, first_c = at.c / (s.k / s.groups) * group_c;
  Expected sum;
  for (int64_t r = 0; r < s.r; ++r) {
    for (int64_t t = 0; t < s.s; ++t) {
      const int64_t y = at.y * s.stride - s.pad + r, x = at.x * s.stride - s.pad + t;
      if (y < 0 || y >= s.h || x < 0 || x >= s.w) continue;
      const int64_t src = ((at.n * s.h + y) * s.w + x) * s.c + first_c;
      const int64_t weight = ((at.c * s.r + r) * s.s + t) * group_c;
      for (int64_t c = 0; c < group_c; ++c) sum.value += in[0][src + c] * in[1][weight + c];
      sum.terms += group_c;
    }
  }
  return sum;
}

Expected conv_backward_data(const ConvShape& s, const Inputs& in, int64_t index) {
  const Position at = position_of(index, s.h, s.w, s.c);
  const int64_t group_c = s.c / s.groups, group_k = s.k / s.groups, group = at.c / group_c;
  Expected sum;
  for (int64_t r = 0; r < s.r; ++r) {
    for (int64_t t = 0; t < s.s; ++t) {
      const int64_t y = at.y + s.pad - r, x = at.x + s.pad - t;
      if (y % s.stride != 0 || x % s.stride != 0 || y < 0 || x < 0) continue;
      const int64_t p = y / s.stride, q = x / s.stride;
      if (p >= s.p() || q >= s.q()) continue;
      for (int64_t k = group * group_k; k < (group + 1) * group_k; ++k) {
        sum.value += in[0][((at.n * s.p() + p) * s.q() + q) * s.k + k] *
                     in[1][((k * s.r + r) * s.s + t) * group_c + at.c % group_c];
      }
      sum.terms += group_k;
    }
  }
  return sum;
}

Expected conv_backward_filter(const ConvShape& s, const Inputs& in, int64_t index) {
  const int64_t group_c = s.c / s.groups;
  const Position at = position_of(index, s.r, s.s, group_c);  // n is k, y is r, x is s
  const int64_t c = at.n / (s.k / s.groups) * group_c + at.c;
  Expected sum;
  for (int64_t n = 0; n < s.n; ++n) {
    for (int64_t p = 0; p < s.p(); ++p) {
      const int64_t y = p * s.stride - s.pad + at.y;
      if (y < 0 || y >= s.h) continue;
      for (int64_t q = 0; q < s.q(); ++q) {
        const int64_t x = q * s.stride - s.pad + at.x;
        if (x < 0 || x >= s.w) continue;
        sum.value +=
            in[0][((n * s.p() + p) * s.q() + q) * s.k + at.n] * in[1][((n * s.h + y) * s.w + x) * s.c + c];
        ++sum.terms;
      }
    }
  }
  return sum;
}

int64_t pixels_of(const ConvShape& s) {
  return s.n * s.h * s.w;
}

Expected batch_norm_stats(const ConvShape& s, const Inputs& in, size_t output, int64_t c) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < pixels_of(s); ++i) sum += in[0][i * s.c + c];
  const double mean = sum / static_cast<double>(pixels_of(s));
  for (int64_t i = 0; i < pixels_of(s); ++i) squares += std::pow(in[0][i * s.c + c] - mean, 2);
  return {output == 0 ? mean : squares / static_cast<double>(pixels_of(s)), pixels_of(s)};
}

double normalised(const Inputs& in, size_t src, size_t mean, int64_t index, int64_t channels) {
  const int64_t c = index % channels;
  return (in[src][index] - in[mean][c]) / std::sqrt(in[mean + 1][c] + kEpsilon);
}

Expected batch_norm_apply(const ConvShape& s, const Inputs& in, int64_t index) {
  return {in[3][index % s.c] * normalised(in, 0, 1, index, s.c) + in[4][index % s.c], 1};
}

Expected batch_norm_backward_reduce(const ConvShape& s, const Inputs& in, size_t output, int64_t c) {
  double sum = 0;
  for (int64_t i = c; i < pixels_of(s) * s.c; i += s.c) {
    sum += in[0][i] * (output == 0 ? normalised(in, 1, 2, i, s.c) : 1);
  }
  return {sum, pixels_of(s)};
}

Expected batch_norm_backward_apply(const ConvShape& s, const Inputs& in, int64_t index) {
  const int64_t c = index % s.c;
  const auto pixels = static_cast<double>(pixels_of(s));
  const double d_gamma = in[5][c], d_beta = in[6][c];
  const double inner = in[0][index] - d_beta / pixels - normalised(in, 1, 2, index, s.c) * d_gamma / pixels;
  return {in[4][c] / std::sqrt(in[3][c] + kEpsilon) * inner, 1};
}

/// Output 0: the largest element of the window; output 1: its first place in it.
Expected max_pool(const ConvShape& s, const Inputs& in, size_t output, int64_t index) {
  const Position at = position_of(index, s.p(), s.q(), s.c);
  double best = -INFINITY;
  int64_t place = 0;
  for (int64_t r = 0; r < s.r; ++r) {
    for (int64_t t = 0; t < s.s; ++t) {
      const int64_t y = at.y * s.stride - s.pad + r, x = at.x * s.stride - s.pad + t;
      if (y < 0 || y >= s.h || x < 0 || x >= s.w) continue;
      const double value = in[0][((at.n * s.h + y) * s.w + x) * s.c + at.c];
      if (value <= best) continue;
      best = value;
      place = r * s.s + t;
    }
  }
  return {output == 0 ? best : static_cast<double>(place), 1};
}

Expected max_pool_backward(const ConvShape& s, const Inputs& in, int64_t index) {
  const Position at = position_of(index, s.h, s.w, s.c);
  Expected sum;
  for (int64_t r = 0; r < s.r; ++r) {
    for (int64_t t = 0; t < s.s; ++t) {
      const int64_t y = at.y + s.pad - r, x = at.x + s.pad - t;
      if (y < 0 || x < 0 || y % s.stride != 0 || x % s.stride != 0) continue;
      const int64_t p = y / s.stride, q = x / s.stride;
      if (p >= s.p() || q >= s.q()) continue;
      const int64_t dst = ((at.n * s.p() + p) * s.q() + q) * s.c + at.c;
      if (in[1][dst] != static_cast<double>(r * s.s + t)) continue;
      sum.value += in[0][dst];
      ++sum.terms;
    }
  }
  return sum;
}

Expected global_avg_pool(const ConvShape& s, const Inputs& in, int64_t index) {
  const int64_t n = index / s.c, c = index % s.c, pixels = s.h * s.w;
  double sum = 0;
  for (int64_t i = 0; i < pixels; ++i) sum += in[0][(n * pixels + i) * s.c + c];
  return {sum / static_cast<double>(pixels), pixels};
}

Expected global_avg_pool_backward(const ConvShape& s, const Inputs& in, int64_t index) {
  const Position at = position_of(index, s.h, s.w, s.c);
  return {in[0][at.n * s.c + at.c] / static_cast<double>(s.h * s.w), 1};
}

/// A linear layer is a convolution of one pixel.
std::string without_linear(const std::string& operation) {
  return operation.starts_with("linear") ? "conv" + operation.substr(std::string("linear").size())
                                         : operation;
}

}  // namespace

Pattern::Pattern(const TensorDesc& desc, DType precision, uint32_t bound, uint64_t seed) {
  RandomStream random(seed, RandomPurpose::kAnalysis, 0, 0);
  values_.resize(static_cast<size_t>(std::min<int64_t>(desc.elements(), kLength)));
  if (desc.dtype == DType::kU8) {
    for (float& value : values_) value = static_cast<float>(random.uniform_below(bound));
    for (const float value : values_) bytes_.push_back(static_cast<std::byte>(value));
    return;
  }
  const bool vector = desc.shape.rank() == 1;
  for (float& value : values_) value = vector ? 0.5f + random.uniform() : 2 * random.uniform() - 1;
  const std::vector<std::byte> rounded = encode_floats(values_, precision);
  for (size_t i = 0; i < values_.size(); ++i) {
    values_[i] = static_cast<float>(element_at(rounded.data(), precision, i));
  }
  bytes_ = encode_floats(values_, desc.dtype);
}

void Pattern::fill(Backend& backend, Memory& memory) const {
  if (memory.bytes() == 0) return;
  backend.copy_to_device(memory.data(), bytes_.data(), std::min(bytes_.size(), memory.bytes()));
  for (size_t done = bytes_.size(); done < memory.bytes(); done *= 2) {
    backend.copy(memory.data() + done, memory.data(), std::min(done, memory.bytes() - done));
  }
}

Expected expected_element(const Problem& problem, const std::string& operation, const Inputs& in,
                          size_t output, int64_t index) {
  const ConvShape& s = problem.shape;
  const std::map<std::string, std::function<Expected()>> elements = {
      {"conv", [&] { return conv(s, in, index); }},
      {"conv_backward_data", [&] { return conv_backward_data(s, in, index); }},
      {"conv_backward_filter", [&] { return conv_backward_filter(s, in, index); }},
      {"batch_norm_stats", [&] { return batch_norm_stats(s, in, output, index); }},
      {"batch_norm_apply", [&] { return batch_norm_apply(s, in, index); }},
      {"batch_norm_backward_reduce", [&] { return batch_norm_backward_reduce(s, in, output, index); }},
      {"batch_norm_backward_apply", [&] { return batch_norm_backward_apply(s, in, index); }},
      {"max_pool", [&] { return max_pool(s, in, output, index); }},
      {"max_pool_backward", [&] { return max_pool_backward(s, in, index); }},
      {"global_avg_pool", [&] { return global_avg_pool(s, in, index); }},
      {"global_avg_pool_backward", [&] { return global_avg_pool_backward(s, in, index); }},
  };
  return elements.at(without_linear(operation))();
}

int64_t terms_of(const Problem& problem, const std::string& operation) {
  const ConvShape& s = problem.shape;
  const std::string name = without_linear(operation);
  if (name == "conv") return s.r * s.s * s.c / s.groups;
  if (name == "conv_backward_data") return s.r * s.s * s.k / s.groups;
  if (name == "conv_backward_filter") return s.n * s.p() * s.q();
  if (name == "batch_norm_stats" || name == "batch_norm_backward_reduce") return 2 * pixels_of(s);
  if (name == "global_avg_pool") return s.h * s.w;
  return s.r * s.s;
}

double element_at(const std::byte* data, DType type, size_t index) {
  const std::byte* const at = data + index * size_of(type);
  if (type == DType::kU8) return static_cast<double>(*at);
  if (type == DType::kF32) {
    float value = 0;
    std::memcpy(&value, at, sizeof(value));
    return double{value};
  }
  uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof(bits));
  return double{type == DType::kBF16 ? from_bf16(bits) : from_f16(bits)};
}

}  // namespace residuum::bench
