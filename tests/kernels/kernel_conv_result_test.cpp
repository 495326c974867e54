// What becomes of the results of a convolution: bias, batch norm, addend, ReLU, every gate, statistics and
// the sums of one or two batch norms, on integers that leave one right set of bits, and statistics that keep
// their digits.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/conv_fused_case.h"

namespace residuum {
namespace {

using kernels::ConvPass;
using kernels::ConvProblem;
using kernels::ConvResult;
using kernels::ConvSource;
using kernels::Element;
using kernels::Form;
using kernels::Gate;
using reference::Tensor;

constexpr size_t kOrders = 3;

/// A call of one pass on small integers, with the exact result before anything becomes of it.
struct Call {
  Call(KernelCase& test, const ConvProblem& p, ConvPass conv_pass, DType type)
      : problem(p),
        pass(conv_pass),
        in(pass == ConvPass::kForward ? src_shape(p.shape) : dst_shape(p.shape)),
        out(pass == ConvPass::kForward ? dst_shape(p.shape) : src_shape(p.shape)) {
    const ConvShape& s = p.shape;
    const Tensor src = small_integers(in, 1), factors = small_integers(weight_shape(s), 3);
    source.a = test.tensor(type, src);
    weight = test.tensor(type, factors);
    exact = pass == ConvPass::kForward
                ? reference::conv({s.k, s.r, s.s, s.stride, s.pad, s.groups}, src, factors)
                : reference::conv_backward_data(s, src, factors);
    result.type = p.type;
    result.dst = test.output(type, out);
  }
  void use_sums(KernelCase& test) {
    result.workspace =
        test.workspace(conv_workspace(problem, pass, Form::kStored, kernels::conv_sums(result)));
    result.counters = test.values(
        std::vector<unsigned>(static_cast<size_t>(conv_counters(problem, pass, Form::kStored)), 0));
  }
  void run() const {
    if (pass == ConvPass::kForward) {
      conv_forward(problem, source, weight, result, nullptr);
    } else {
      conv_backward_data(problem, source, weight, result, nullptr);
    }
  }
  int64_t channels() const { return out[3]; }

  ConvProblem problem;
  ConvPass pass;
  Shape in, out;
  ConvSource source;
  const void* weight = nullptr;
  ConvResult result;
  Tensor exact;
};

Tensor gated(Tensor g, const Tensor& gate) {
  for (int64_t i = 0; i < g.elements(); ++i) g[i] = gate[i] <= 0 ? 0 : g[i];
  return g;
}

/// All of the workspace was written: its size is what is needed. (Memory starts as 0xFF bytes; no sum is such
/// a NaN.)
void expect_all_written(const KernelCase& test, const ConvResult& result) {
  const KernelCase::Bytes bytes = test.bytes(result.workspace);
  std::vector<uint32_t> words(bytes.size() / sizeof(uint32_t));
  std::memcpy(words.data(), bytes.data(), bytes.size());
  EXPECT_EQ(std::count(words.begin(), words.end(), 0xFFFFFFFFu), 0) << "of " << words.size() << " sums";
  EXPECT_TRUE(test.unchanged(result.counters)) << "the counters are not 0 again";
}

/// Chooses the gate of `result` and returns the gate's values.
Tensor set_gate(KernelCase& test, Gate gate, DType type, const Shape& shape, const IntegerNorm& norm,
                const Tensor& src, ConvResult& result) {
  Tensor values = small_integers(shape, 5);
  result.gate = gate;
  if (gate == Gate::kTensor) {
    values[values.elements() / 2] = NAN;  // open
    result.gate_tensor = test.tensor(type, values);
  } else if (gate == Gate::kMask) {
    const int64_t pitch = (shape[3] + 7) / 8;
    std::vector<uint8_t> mask(static_cast<size_t>(values.rows() * pitch), 0);
    for (int64_t i = 0; i < values.elements(); ++i) {
      if (values[i] <= 0) continue;
      const int64_t c = i % shape[3];
      mask[static_cast<size_t>(i / shape[3] * pitch + c / 8)] |= static_cast<uint8_t>(1 << c % 8);
    }
    result.gate_mask = test.values(mask);
  } else if (gate == Gate::kNormalised) {
    values = reference::batch_norm_apply(0, src, norm.mean, norm.variance, norm.gamma, norm.beta);
  } else {
    for (double& value : values.data) value = 1;
  }
  return values;
}

/// d_gamma and d_beta of each norm are those that batch_norm_backward_reduce makes of the stored result.
void expect_sums(const ConvProblem& problem, DType type, Gate gate, int norms) {
  KernelCase test;
  Call call(test, problem, ConvPass::kBackwardData, type);
  const int64_t c = call.channels();
  const Tensor addend = small_integers(call.out, 4);
  call.result.addend = test.tensor(type, addend);
  kernels::BatchNormBackwardReduceArgs reduce[2];
  const IntegerNorm norm(c, 40);
  Tensor gate_values;
  for (int n = 0; n < norms; ++n) {
    kernels::ConvNorm& to = call.result.norms[n];
    const Tensor src = small_integers(call.out, 50 + static_cast<uint64_t>(n));
    to.src = test.tensor(type, src);
    to.vectors = (n == 0 ? norm : IntegerNorm(c, 43)).on(test);
    if (n == 0) gate_values = set_gate(test, gate, type, call.out, norm, src, call.result);
    to.d_gamma = test.output<float>(float_bytes(c)), to.d_beta = test.output<float>(float_bytes(c));
    reduce[n].d_a = call.result.dst, reduce[n].src = to.src, reduce[n].vectors = to.vectors;
    reduce[n].d_gamma = test.output<float>(float_bytes(c));
    reduce[n].d_beta = test.output<float>(float_bytes(c));
  }
  call.use_sums(test);
  const kernels::Rows rows = rows_of(call.out, problem.type);
  void* const workspace = test.workspace(batch_norm_backward_reduce_workspace(rows));
  unsigned* const counter = test.counter();
  test.run(
      [&] {
        call.run();
        for (int n = 0; n < norms; ++n) {
          batch_norm_backward_reduce(rows, reduce[n], workspace, counter, nullptr);
        }
      },
      kOrders);
  expect_all_written(test, call.result);
  const Tensor expected = rounded_to(type, gated(reference::add(call.exact, addend), gate_values));
  EXPECT_TRUE(matches(test.read(call.result.dst, type, call.out), expected, kExact));
  for (int n = 0; n < norms; ++n) {
    const kernels::ConvNorm& found = call.result.norms[n];
    EXPECT_EQ(test.bytes(found.d_beta) == test.bytes(reduce[n].d_beta), true) << "d_beta of norm " << n;
    EXPECT_EQ(test.bytes(found.d_gamma) == test.bytes(reduce[n].d_gamma), true) << "d_gamma of norm " << n;
  }
}

TEST(KernelConvResult, SumsOfOneAndTwoNorms) {
  for (const int norms : {1, 2}) {
    for_each_fused(ConvPass::kBackwardData, Form::kStored, [&](const ConvProblem& problem, DType type) {
      expect_sums(problem, type, Gate::kNormalised, norms);
    });
  }
}

TEST(KernelConvResult, EveryGate) {
  for (const Gate gate : {Gate::kOpen, Gate::kTensor, Gate::kMask, Gate::kNormalised}) {
    for (const ConvShape& shape :
         {ConvShape{2, 7, 5, 24, 40, 3, 3, 2, 1, 1}, ConvShape{1, 6, 6, 40, 24, 1, 1, 2, 0, 1}}) {
      for (const DType type : conv_types()) {
        SCOPED_TRACE(fmt::format("gate {}", static_cast<int>(gate)));
        expect_sums({shape, element_of(type), kernels::F32Math::kTf32x3}, type, gate, 1);
      }
    }
  }
}

/// f(BN(conv) + addend) or f(BN(conv) + BN(addend)), its mask too: a forward pass whose batch statistics are
/// known before it. On integers that is what batch_norm_apply makes of the stored result.
void expect_applied(const ConvProblem& problem, DType type, bool addend_norm, bool relu) {
  KernelCase test;
  Call call(test, problem, ConvPass::kForward, type);
  const int64_t c = call.channels();
  const kernels::Rows rows = rows_of(call.out, problem.type);
  ConvResult& result = call.result;
  result.apply = IntegerNorm(c, 60).on(test);
  result.addend = test.tensor(type, small_integers(call.out, 4));
  if (addend_norm) result.addend_apply = IntegerNorm(c, 70).on(test);
  result.relu = relu;
  if (relu) result.mask = test.output<uint8_t>(static_cast<size_t>(mask_bytes(rows)));
  ConvResult stored;
  stored.type = problem.type;
  stored.dst = test.output(type, call.out);
  kernels::BatchNormApplyArgs join, shortcut;
  join.src = stored.dst, join.vectors = result.apply, join.addend = result.addend, join.relu = relu;
  join.dst = test.output(type, call.out);
  if (relu) join.mask = test.output<uint8_t>(static_cast<size_t>(mask_bytes(rows)));
  if (addend_norm) {
    shortcut.src = result.addend, shortcut.vectors = result.addend_apply;
    join.addend = shortcut.dst = test.output(type, call.out);
  }
  test.run(
      [&] {
        call.run();
        conv_forward(problem, call.source, call.weight, stored, nullptr);
        if (addend_norm) batch_norm_apply(rows, shortcut, nullptr);
        batch_norm_apply(rows, join, nullptr);
      },
      kOrders);
  EXPECT_TRUE(matches(test.read(result.dst, type, call.out), test.read(join.dst, type, call.out), kExact));
  if (relu) {
    EXPECT_EQ(test.bytes(result.mask) == test.bytes(join.mask), true) << "the mask";
  }
}

TEST(KernelConvResult, AppliesBatchNormsAndJoins) {
  for (const bool addend_norm : {false, true}) {
    for_each_fused(ConvPass::kForward, Form::kStored, [&](const ConvProblem& problem, DType type) {
      expect_applied(problem, type, addend_norm, true);
    });
  }
  for (const DType type : conv_types()) {
    expect_applied({{2, 9, 7, 3, 40, 7, 7, 2, 3, 1}, element_of(type), {}}, type, true, false);
    expect_applied({{2, 5, 4, 11, 13, 3, 3, 1, 1, 1}, element_of(type), {}}, type, true, true);
    expect_applied({{2, 17, 16, 3, 72, 7, 7, 2, 3, 1}, element_of(type), {}}, type, true, true);
  }
}

/// Channels that are no whole chunks take bias, addend and gates or ReLU; the result may be f32.
TEST(KernelConvResult, AnyChannels) {
  for (const ConvPass pass : {ConvPass::kForward, ConvPass::kBackwardData}) {
    for (const Gate gate : {Gate::kOpen, Gate::kTensor, Gate::kMask}) {
      if (pass == ConvPass::kForward && gate != Gate::kOpen) continue;
      for (const DType type : conv_types()) {
        for (const DType dst_type : {type, DType::kF32}) {
          const ConvProblem problem{{2, 5, 4, 11, 13, 3, 3, 1, 1, 1}, element_of(type), {}};
          KernelCase test;
          Call call(test, problem, pass, type);
          const Tensor addend = small_integers(call.out, 4), bias = small_integers({call.channels()}, 6);
          call.result.addend = test.tensor(type, addend);
          call.result.bias = test.floats(bias);
          call.result.type = element_of(dst_type);
          call.result.relu = pass == ConvPass::kForward;
          call.result.dst = test.output(dst_type, call.out);
          const Tensor values =
              set_gate(test, gate, type, call.out, IntegerNorm(call.channels(), 40), call.exact, call.result);
          test.run([&] { call.run(); }, kOrders);
          Tensor sum = reference::add(call.exact, addend);
          for (int64_t i = 0; i < sum.elements(); ++i) sum[i] += bias[i % call.channels()];
          if (call.result.relu) sum = gated(sum, sum);
          EXPECT_TRUE(matches(test.read(call.result.dst, dst_type, call.out),
                              rounded_to(dst_type, gated(sum, values)), kExact))
              << "gate " << static_cast<int>(gate) << ", pass " << static_cast<int>(pass);
        }
      }
    }
  }
}

/// Statistics of results with a bias, or (mean 0) of results that nothing else becomes of.
void expect_statistics(const ConvProblem& problem, DType type, double mean, size_t most_orders) {
  KernelCase test;
  Call call(test, problem, ConvPass::kForward, type);
  const int64_t c = call.channels();
  Tensor bias({c});
  for (double& value : bias.data) value = mean;
  if (mean != 0) call.result.bias = test.floats(bias);
  call.result.mean = test.output<float>(float_bytes(c));
  call.result.variance = test.output<float>(float_bytes(c));
  call.use_sums(test);
  test.run([&] { call.run(); }, most_orders);
  expect_all_written(test, call.result);
  const Tensor stored = test.read(call.result.dst, type, call.out);
  Tensor sum = call.exact;
  for (double& value : sum.data) value += mean;
  EXPECT_TRUE(matches(stored, rounded_to(type, sum), kExact));
  const reference::Tensors expected = reference::batch_norm_stats(stored);
  EXPECT_TRUE(matches(test.read(call.result.mean, DType::kF32, {c}), expected[0], kRoundedF32)) << "mean";
  EXPECT_TRUE(
      matches(test.read(call.result.variance, DType::kF32, {c}), expected[1], summed_f32(stored.rows())))
      << "variance around " << mean;
}

TEST(KernelConvResult, StatisticsKeepTheirDigits) {
  for (const double mean : {0.0, 1e5}) {
    for_each_fused(ConvPass::kForward, Form::kStored, [&](const ConvProblem& problem, DType type) {
      // A large mean leaves nothing else of 16-bit values.
      expect_statistics(problem, type, type == DType::kF32 ? mean : mean / 1e4, kOrders);
    });
  }
}

/// A stem of whole source lines: two tiles of rows and of columns, of which the last are few.
TEST(KernelConvResult, StatisticsOfLines) {
  const ConvShape shape{2, 17, 16, 3, 72, 7, 7, 2, 3, 1};
  for (const DType type : conv_types()) {
    for (const double mean : {0.0, 10.0}) {
      expect_statistics({shape, element_of(type), kernels::F32Math::kTf32x3}, type, mean, kOrders);
    }
  }
}

/// A stem, and channels that are no whole units.
TEST(KernelConvResult, SumsOfAnyChannels) {
  for (const ConvShape& shape :
       {ConvShape{2, 9, 7, 3, 40, 7, 7, 2, 3, 1}, ConvShape{2, 5, 4, 11, 13, 3, 3, 1, 1, 1}}) {
    for (const DType type : conv_types()) {
      const ConvProblem problem{shape, element_of(type), kernels::F32Math::kTf32x3};
      expect_statistics(problem, type, 0, kOrders);
      expect_sums(problem, type, Gate::kNormalised, 2);
      expect_sums(problem, type, Gate::kMask, 1);
    }
  }
}

/// Blocks with several tiles of rows, and many parts.
TEST(KernelConvResult, SumsOfRuns) {
  if (under_race_detector()) GTEST_SKIP() << "too much work";
  const ConvProblem problem{{67, 16, 16, 8, 256, 1, 1, 1, 0, 1}, Element::kBF16, {}};
  EXPECT_GT(kernels::conv_geometry(problem, ConvPass::kForward, Form::kStored).run, 1);
  expect_statistics(problem, DType::kBF16, 3, 1);
  const ConvProblem resident{{67, 32, 32, 8, 8, 3, 3, 1, 1, 1}, Element::kBF16, {}};
  for (const ConvPass pass : {ConvPass::kForward, ConvPass::kBackwardData}) {
    const kernels::ConvGeometry g = kernels::conv_geometry(resident, pass, Form::kStored);
    EXPECT_EQ(g.patch, kernels::Patch::kResident);
    EXPECT_GT(g.run, 1);
  }
  expect_statistics(resident, DType::kBF16, 3, 1);
  const ConvProblem lines{{48, 27, 27, 1, 200, 5, 5, 1, 2, 1}, Element::kBF16, {}};
  EXPECT_GT(kernels::conv_geometry(lines, ConvPass::kForward, Form::kStored).run, 1);
  for (const double mean : {0.0, 3.0}) expect_statistics(lines, DType::kBF16, mean, 1);
}

TEST(KernelConvResult, ImpossibleResultsAreRefused) {
  KernelCase test;
  float* const floats = test.output<float>(4096);
  unsigned* const counters = test.counter();
  ConvSource source;
  source.a = floats;
  const auto refused = [&](const ConvShape& shape, const ConvResult& result, ConvPass pass) {
    const ConvProblem problem{shape, Element::kBF16, {}};
    return refusal([&] {
      if (pass == ConvPass::kForward) {
        conv_forward(problem, source, floats, result, nullptr);
      } else {
        conv_backward_data(problem, source, floats, result, nullptr);
      }
    });
  };
  const ConvShape whole{1, 2, 2, 8, 8, 1, 1, 1, 0, 1};
  ConvResult result;
  result.dst = floats;
  EXPECT_EQ(refused(whole, result, ConvPass::kForward), 0);
  ConvResult other = result;
  other.type = Element::kF16;
  EXPECT_EQ(refused(whole, other, ConvPass::kForward), 1) << "a third type";
  other = result;
  other.gate = Gate::kNormalised;
  EXPECT_EQ(refused(whole, other, ConvPass::kBackwardData), 1) << "a gate without its norm";
  other.gate = Gate::kMask;
  other.gate_mask = test.output<uint8_t>(64);
  EXPECT_EQ(refused(whole, other, ConvPass::kBackwardData), 0);
  EXPECT_EQ(refused(whole, other, ConvPass::kForward), 1) << "a gate of the forward pass";
  other = result;
  other.relu = true;
  EXPECT_EQ(refused(whole, other, ConvPass::kBackwardData), 1) << "ReLU of a gradient";
  other.relu = false, other.mask = reinterpret_cast<uint8_t*>(floats);
  EXPECT_EQ(refused(whole, other, ConvPass::kForward), 1) << "a mask without ReLU";
  other = result;
  other.apply.mean = floats;
  EXPECT_EQ(refused(whole, other, ConvPass::kForward), 1) << "a batch norm without its other vectors";
  other = result;
  other.addend_apply = {floats, floats, floats, floats, 0};
  EXPECT_EQ(refused(whole, other, ConvPass::kForward), 1) << "a batch norm of no addend";
  other = result;
  other.mean = other.variance = floats;
  EXPECT_EQ(refused(whole, other, ConvPass::kForward), 1) << "no workspace";
  other.workspace = floats, other.counters = counters;
  EXPECT_EQ(refused(whole, other, ConvPass::kForward), 0);
  EXPECT_EQ(refused(whole, other, ConvPass::kBackwardData), 1) << "statistics of a gradient";
  other.apply = {floats, floats, floats, floats, 0};
  EXPECT_EQ(refused(whole, other, ConvPass::kForward), 1) << "statistics of what they are applied to";
}

}  // namespace
}  // namespace residuum
