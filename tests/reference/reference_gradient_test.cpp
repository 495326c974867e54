// The backward references against central finite differences of the forward references, in double: no backend
// is needed. A case differentiates sum(direction * forward(inputs)) by every element of one input.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/support/compare.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using reference::Tensor;
using reference::Tensors;

double dot(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.elements(); ++i) sum += a[i] * b[i];
  return sum;
}

/// d sum(direction * forward(x)) / dx by central differences.
Tensor finite_difference(const std::function<Tensor(const Tensor&)>& forward, const Tensor& at,
                         const Tensor& direction) {
  constexpr double kStep = 1e-5;
  Tensor gradient(at.shape), x = at;
  for (int64_t i = 0; i < at.elements(); ++i) {
    x[i] = at[i] + kStep;
    const double above = dot(forward(x), direction);
    x[i] = at[i] - kStep;
    const double below = dot(forward(x), direction);
    x[i] = at[i];
    gradient[i] = (above - below) / (2 * kStep);
  }
  return gradient;
}

/// Expects backward(direction) to be the gradient of forward at `at`, for a random direction.
void expect_gradient(const Tensor& at, const std::function<Tensor(const Tensor&)>& forward,
                     const std::function<Tensor(const Tensor&)>& backward) {
  const Tensor direction = uniform_tensor(forward(at).shape, 99);
  EXPECT_TRUE(matches(backward(direction), finite_difference(forward, at, direction), kFiniteDifference));
}

struct ConvCase {
  int64_t h, w, c, k, r, s, stride, pad, groups;
};

TEST(ReferenceGradient, Conv) {
  const std::vector<ConvCase> cases = {{5, 5, 3, 4, 3, 3, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1, 0, 1},
                                       {7, 5, 4, 6, 3, 1, 2, 1, 2}, {6, 7, 4, 4, 3, 3, 3, 2, 4},
                                       {5, 5, 2, 3, 5, 5, 1, 3, 1}, {4, 9, 3, 2, 1, 3, 2, 0, 1}};
  for (const ConvCase& t : cases) {
    SCOPED_TRACE(fmt::format("{}x{}x{} -> {} kernel {}x{} stride {} pad {} groups {}", t.h, t.w, t.c, t.k,
                             t.r, t.s, t.stride, t.pad, t.groups));
    const ConvShape shape{2, t.h, t.w, t.c, t.k, t.r, t.s, t.stride, t.pad, t.groups};
    const Conv op{t.k, t.r, t.s, t.stride, t.pad, t.groups};
    const Tensor src = uniform_tensor({2, t.h, t.w, t.c}, 1),
                 weight = uniform_tensor({t.k, t.r, t.s, t.c / t.groups}, 2);
    expect_gradient(
        src, [&](const Tensor& x) { return reference::conv(op, x, weight); },
        [&](const Tensor& d) { return reference::conv_backward_data(shape, d, weight); });
    expect_gradient(
        weight, [&](const Tensor& w) { return reference::conv(op, src, w); },
        [&](const Tensor& d) { return reference::conv_backward_filter(shape, d, src); });
  }
}

TEST(ReferenceGradient, LinearAndBias) {
  const Tensor src = uniform_tensor({3, 2, 1, 4}, 1), weight = uniform_tensor({5, 8}, 2),
               bias = uniform_tensor({4}, 3);
  expect_gradient(
      src, [&](const Tensor& x) { return reference::linear(x, weight); },
      [&](const Tensor& d) { return reference::linear_backward_data(d, weight, src.shape); });
  expect_gradient(
      weight, [&](const Tensor& w) { return reference::linear(src, w); },
      [&](const Tensor& d) { return reference::linear_backward_filter(d, src); });
  expect_gradient(
      bias, [&](const Tensor& b) { return reference::bias(src, b); },
      [&](const Tensor& d) { return reference::bias_backward(d); });
}

TEST(ReferenceGradient, BatchNorm) {
  constexpr double kEpsilon = 1e-5;
  const Tensor src = uniform_tensor({3, 2, 3, 4}, 1), gamma = uniform_tensor({4}, 2, 0.5, 1.5),
               beta = uniform_tensor({4}, 3);
  const auto forward = [&](const Tensor& x, const Tensor& g, const Tensor& b) {
    const Tensors stats = reference::batch_norm_stats(x);
    return reference::batch_norm_apply(kEpsilon, x, stats[0], stats[1], g, b);
  };
  const Tensors stats = reference::batch_norm_stats(src);
  const auto reduce = [&](const Tensor& d) {
    return reference::batch_norm_backward_reduce(kEpsilon, d, src, stats[0], stats[1]);
  };
  expect_gradient(
      gamma, [&](const Tensor& g) { return forward(src, g, beta); },
      [&](const Tensor& d) { return reduce(d)[0]; });
  expect_gradient(
      beta, [&](const Tensor& b) { return forward(src, gamma, b); },
      [&](const Tensor& d) { return reduce(d)[1]; });
  expect_gradient(
      src, [&](const Tensor& x) { return forward(x, gamma, beta); },
      [&](const Tensor& d) {
        const Tensors sums = reduce(d);
        return reference::batch_norm_backward_apply(kEpsilon, d, src, stats[0], stats[1], gamma, sums[0],
                                                    sums[1]);
      });
}

TEST(ReferenceGradient, FrozenBatchNorm) {
  constexpr double kEpsilon = 1e-3;
  const Tensor src = uniform_tensor({2, 2, 3, 4}, 1), gamma = uniform_tensor({4}, 2),
               beta = uniform_tensor({4}, 3), mean = uniform_tensor({4}, 4),
               variance = uniform_tensor({4}, 5, 0.5, 2);
  expect_gradient(
      src,
      [&](const Tensor& x) { return reference::batch_norm_apply(kEpsilon, x, mean, variance, gamma, beta); },
      [&](const Tensor& d) { return reference::batch_norm_frozen_backward(kEpsilon, d, variance, gamma); });
}

TEST(ReferenceGradient, ElementWise) {
  const Tensor src = kinkless_tensor({2, 3, 2, 3}, 1), other = uniform_tensor(src.shape, 2);
  for (const ActivationKind kind : {ActivationKind::kRelu, ActivationKind::kSigmoid, ActivationKind::kTanh}) {
    const Tensor dst = reference::activation(kind, src);
    expect_gradient(
        src, [&](const Tensor& x) { return reference::activation(kind, x); },
        [&](const Tensor& d) { return reference::activation_backward(kind, d, dst); });
  }
  expect_gradient(
      src, [&](const Tensor& x) { return reference::multiply(x, other); },
      [&](const Tensor& d) { return reference::multiply(d, other); });
  expect_gradient(
      src,
      [&](const Tensor& x) {
        return reference::scale(Scale{-1.5f, 0.25f}, x);
      },
      [&](const Tensor& d) {
        return reference::scale(Scale{-1.5f, 0}, d);
      });
  const StepParams params{.seed = 7, .step = 3};
  const auto dropout = [&](const Tensor& x) { return reference::dropout(Dropout{0.3f, 2}, x, params); };
  expect_gradient(src, dropout, dropout);
}

TEST(ReferenceGradient, Channels) {
  const Tensor src = uniform_tensor({2, 5, 4, 3}, 1), other = uniform_tensor({2, 5, 4, 2}, 2);
  for (const ZeroChannels zeros : {ZeroChannels::kBothSides, ZeroChannels::kEnd}) {
    const ShortcutA op{2, 7, zeros};
    expect_gradient(
        src, [&](const Tensor& x) { return reference::shortcut_a(op, x); },
        [&](const Tensor& d) { return reference::shortcut_a_backward(op, d, src.shape); });
  }
  expect_gradient(
      src,
      [&](const Tensor& x) {
        return reference::slice(Slice{1, 2}, x);
      },
      [&](const Tensor& d) {
        return reference::slice_backward(Slice{1, 2}, d, src.shape);
      });
  expect_gradient(
      src,
      [&](const Tensor& x) {
        const Tensor* parts[] = {&other, &x};
        return reference::concat(parts);
      },
      [&](const Tensor& d) {
        return reference::slice(Slice{2, 3}, d);
      });
}

TEST(ReferenceGradient, Pools) {
  const Tensor src = distinct_tensor({2, 7, 6, 3}, 1);
  for (const auto& [window, stride, pad] :
       {std::array<int64_t, 3>{3, 2, 1}, {2, 2, 0}, {3, 1, 1}, {2, 3, 1}}) {
    const PoolShape shape{2, 7, 6, 3, window, stride, pad};
    const MaxPool max{window, stride, pad};
    const AvgPool average{window, stride, pad};
    const Tensor argmax = reference::max_pool(max, src)[1];
    expect_gradient(
        src, [&](const Tensor& x) { return reference::max_pool(max, x)[0]; },
        [&](const Tensor& d) { return reference::max_pool_backward(shape, d, argmax); });
    expect_gradient(
        src, [&](const Tensor& x) { return reference::avg_pool(average, x); },
        [&](const Tensor& d) { return reference::avg_pool_backward(shape, d); });
  }
  expect_gradient(src, reference::global_avg_pool,
                  [&](const Tensor& d) { return reference::global_avg_pool_backward(d, src.shape); });
}

TEST(ReferenceGradient, SoftmaxCrossEntropy) {
  const Tensor logits = uniform_tensor({4, 6}, 1, -3, 3), labels({4}, {5, -1, 0, 3});
  for (const float smoothing : {0.0f, 0.1f}) {
    const Tensor analytic = reference::softmax_cross_entropy_backward({smoothing}, logits, labels);
    const auto loss = [&](const Tensor& x) {
      return reference::softmax_cross_entropy(smoothing, x, labels)[0];
    };
    EXPECT_TRUE(matches(analytic, finite_difference(loss, logits, Tensor({1}, {1})), kFiniteDifference));
  }
}

TEST(ReferenceGradient, CheckFindsAWrongGradient) {
  const Tensor src = uniform_tensor({1, 2, 2, 2}, 1);
  const Tensor wrong = reference::scale(Scale{2.00001f, 0}, src);
  const Tensor right = finite_difference([](const Tensor& x) { return reference::multiply(x, x); }, src,
                                         Tensor(src.shape, std::vector<double>(8, 1.0)));
  EXPECT_TRUE(matches(reference::scale(Scale{2, 0}, src), right, kFiniteDifference));
  EXPECT_FALSE(matches(wrong, right, kFiniteDifference));
}

}  // namespace
}  // namespace residuum
