// References of the operations that work element by element, of the per-channel bias and of the image window.
#include <cmath>

#include "engine/core/random.h"
#include "tests/reference/reference.h"

namespace residuum::reference {
namespace {

template <typename Function>
Tensor map(const Tensor& src, const Function& function) {
  Tensor dst(src.shape);
  for (int64_t i = 0; i < src.elements(); ++i) dst[i] = function(src[i]);
  return dst;
}

template <typename Function>
Tensor map(const Tensor& a, const Tensor& b, const Function& function) {
  Tensor dst(a.shape);
  for (int64_t i = 0; i < a.elements(); ++i) dst[i] = function(a[i], b[i]);
  return dst;
}

/// Element i uses word i % 4 of Philox block i / 4; 24 of its bits make a uniform number.
bool dropout_keeps(const Dropout& op, int64_t i, const StepParams& params) {
  const auto block = static_cast<uint64_t>(i / 4);
  const auto words = philox(
      {static_cast<uint32_t>(block), params.micro_step ^ (static_cast<uint32_t>(block >> 32) << 16),
       static_cast<uint32_t>(params.step), (op.stream << 8) | static_cast<uint32_t>(RandomPurpose::kDropout)},
      {static_cast<uint32_t>(params.seed), static_cast<uint32_t>(params.seed >> 32)});
  return static_cast<float>(words[static_cast<size_t>(i % 4)] >> 8) * 0x1p-24f >= op.probability;
}

/// Where gate `block` would lie in [0, 1).
double gate_number(uint32_t block, const StepParams& params) {
  const auto words = philox({block / 4, params.micro_step, static_cast<uint32_t>(params.step),
                             static_cast<uint32_t>(RandomPurpose::kBlockGate)},
                            {static_cast<uint32_t>(params.seed), static_cast<uint32_t>(params.seed >> 32)});
  return static_cast<double>(words[block % 4] >> 8) * 0x1p-24;
}

/// All gates of a step at once: selection sampling from the first block to the last.
std::vector<bool> sampled_gates(const BlockDraw& draw, const StepParams& params) {
  std::vector<bool> gates;
  double left = draw.open;
  for (uint32_t block = 0; block < draw.blocks; ++block) {
    const double rest = static_cast<double>(draw.blocks - block);
    gates.push_back(gate_number(block, params) * rest < left);
    left -= gates.back() ? 1 : 0;
  }
  return gates;
}

}  // namespace

Tensor crop_flip(const CropFlip& op, const Tensor& images, const Tensor& windows) {
  const Shape& s = images.shape;
  Tensor dst({s[0], op.height, op.width, s[3]});
  for (int64_t n = 0; n < s[0]; ++n)
    for (int64_t p = 0; p < op.height; ++p)
      for (int64_t q = 0; q < op.width; ++q) {
        const int64_t y = p + static_cast<int64_t>(windows[n * 3]);
        const int64_t mirrored = windows[n * 3 + 2] != 0 ? op.width - 1 - q : q;
        const int64_t x = mirrored + static_cast<int64_t>(windows[n * 3 + 1]);
        const bool inside = y >= 0 && y < s[1] && x >= 0 && x < s[2];
        for (int64_t c = 0; c < s[3]; ++c) dst.at(n, p, q, c) = inside ? images.at(n, y, x, c) : 0;
      }
  return dst;
}

Tensor normalize(const Normalize& op, const Tensor& images) {
  Tensor dst(images.shape);
  for (int64_t i = 0; i < images.elements(); ++i) {
    const auto c = static_cast<size_t>(i % images.channels());
    dst[i] = (images[i] / 255.0 - op.mean[c]) / op.std[c];
  }
  return dst;
}

Tensor bias(const Tensor& src, const Tensor& bias_values) {
  Tensor dst(src.shape);
  for (int64_t i = 0; i < src.elements(); ++i) dst[i] = src[i] + bias_values[i % src.channels()];
  return dst;
}

Tensor bias_backward(const Tensor& d_dst) {
  Tensor d_bias({d_dst.channels()});
  for (int64_t i = 0; i < d_dst.elements(); ++i) d_bias[i % d_dst.channels()] += d_dst[i];
  return d_bias;
}

Tensor activation(ActivationKind kind, const Tensor& src) {
  switch (kind) {
    case ActivationKind::kRelu:
      return map(src, [](double x) { return x > 0 ? x : 0.0; });
    case ActivationKind::kSigmoid:
      return map(src, [](double x) { return 1 / (1 + std::exp(-x)); });
    case ActivationKind::kTanh:
      return map(src, [](double x) { return std::tanh(x); });
  }
  return {};
}

Tensor activation_backward(ActivationKind kind, const Tensor& d_dst, const Tensor& dst) {
  switch (kind) {
    case ActivationKind::kRelu:
      return map(d_dst, dst, [](double d, double y) { return y > 0 ? d : 0.0; });
    case ActivationKind::kSigmoid:
      return map(d_dst, dst, [](double d, double y) { return d * y * (1 - y); });
    case ActivationKind::kTanh:
      return map(d_dst, dst, [](double d, double y) { return d * (1 - y * y); });
  }
  return {};
}

Tensors relu_mask(const Tensor& src) {
  const Tensor dst = activation(ActivationKind::kRelu, src);
  const int64_t channels = src.channels(), mask_bytes = (channels + 7) / 8;
  Tensor mask({src.shape[0], src.shape[1], src.shape[2], mask_bytes});
  for (int64_t i = 0; i < src.elements(); ++i) {
    const int64_t row = i / channels, c = i % channels;
    if (!(dst[i] <= 0)) mask[row * mask_bytes + c / 8] += std::exp2(c % 8);
  }
  return {dst, mask};
}

Tensor relu_mask_backward(const Tensor& d_dst, const Tensor& mask) {
  Tensor d_src(d_dst.shape);
  const int64_t channels = d_dst.channels();
  for (int64_t i = 0; i < d_dst.elements(); ++i) {
    const int64_t row = i / channels, c = i % channels;
    const auto byte = static_cast<int>(mask[row * mask.channels() + c / 8]);
    d_src[i] = (byte >> (c % 8) & 1) != 0 ? d_dst[i] : 0.0;
  }
  return d_src;
}

Tensor add(const Tensor& a, const Tensor& b) {
  return map(a, b, [](double x, double y) { return x + y; });
}

Tensor multiply(const Tensor& a, const Tensor& b) {
  return map(a, b, [](double x, double y) { return x * y; });
}

Tensor scale(const Scale& op, const Tensor& src) {
  return map(src, [&](double x) { return double{op.factor} * x + double{op.offset}; });
}

Tensor dropout(const Dropout& op, const Tensor& src, const StepParams& params) {
  Tensor dst(src.shape);
  for (int64_t i = 0; i < src.elements(); ++i)
    dst[i] = dropout_keeps(op, i, params) ? src[i] / (1.0 - op.probability) : 0.0;
  return dst;
}

Tensor block_gate(const BlockGate& op, const Tensor& src, const StepParams& params) {
  const bool open = op.draw.open > 0
                        ? sampled_gates(op.draw, params)[op.draw.block]
                        : gate_number(op.draw.block, params) < static_cast<double>(op.draw.probability);
  return open ? src : Tensor(src.shape);
}

}  // namespace residuum::reference
