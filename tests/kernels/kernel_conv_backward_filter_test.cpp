// The backward-filter launcher, directly. Small integers, whose products and sums are exact in every type,
// must give the reference's bits whatever the tile and the pieces; operands formed on the fly must give the
// bits of the separate launchers followed by the plain pass, which multiplies and adds the same numbers in
// the same order.
#include <gtest/gtest.h>

#include <set>

#include "kernels/conv_backward_filter/tiles.h"
#include "tests/kernels/conv_shapes.h"
#include "tests/kernels/kernel_case.h"

namespace residuum {
namespace {

using kernels::ConvProblem;
using kernels::ConvSource;
using kernels::Element;
using kernels::F32Math;
using kernels::FilterLayer;
using kernels::Form;
using kernels::TileName;
using reference::Tensor;

/// Long sums over few channels, cut in many pieces. In bf16: two levels of the tree; two levels, the last
/// piece alone in its group; one group that is not full, several tiles, channels that are no whole chunks.
const std::vector<ConvShape> kLongSums = {
    {96, 8, 16, 8, 8, 1, 1, 1, 0, 1},
    {114, 8, 16, 8, 16, 1, 1, 1, 0, 1},
    {5, 31, 29, 7, 5, 3, 3, 1, 1, 1},
};
/// Few channels, of which kernel lines are cut: lines of one run and of several, the last of them shorter;
/// whole chunks and words, halves of words; source lines that begin within a chunk; padding on all sides.
const std::vector<ConvShape> kLines = {
    {2, 12, 10, 3, 40, 7, 7, 2, 3, 1},
    {1, 9, 40, 3, 24, 5, 5, 1, 2, 1},
    {1, 16, 37, 2, 72, 7, 5, 3, 2, 1},
    {13, 40, 33, 4, 8, 5, 4, 1, 0, 1},
};
/// For blocks with all taps, of stride 1 and 2: one pixel, one line, one column, images that share a step,
/// lines longer than a warp's pixels; channels beyond a tile and beyond its last chunk; several pieces in
/// some tiles. With stride 2, images of even and odd extents.
const std::vector<ConvShape> kTaps = {
    {1, 1, 1, 8, 8, 3, 3, 1, 1, 1},    {1, 1, 37, 16, 24, 3, 3, 1, 1, 1}, {3, 13, 1, 24, 8, 3, 3, 1, 1, 1},
    {5, 3, 5, 40, 72, 3, 3, 1, 1, 1},  {1, 5, 61, 8, 16, 3, 3, 1, 1, 1},  {2, 7, 7, 16, 40, 3, 3, 1, 1, 1},
    {1, 31, 29, 16, 8, 3, 3, 1, 1, 1}, {1, 1, 1, 8, 8, 3, 3, 2, 1, 1},    {2, 2, 74, 16, 24, 3, 3, 2, 1, 1},
    {5, 7, 10, 40, 72, 3, 3, 2, 1, 1}, {2, 12, 1, 24, 8, 3, 3, 2, 1, 1},  {1, 64, 59, 8, 16, 3, 3, 2, 1, 1},
};
/// Several pieces in every tile that has all taps, two levels of the tree in one.
ConvShape long_taps(int64_t stride) {
  return {86, 16 * stride, 16 * stride, 8, 8, 3, 3, stride, 1, 1};
}
/// Few output channels, many columns.
const ConvShape kLargeKernel = {1, 7, 5, 16, 40, 5, 5, 1, 2, 1};
constexpr TileName kTilesOfTaps[] = {TileName::kFilterTaps, TileName::kFilterTapsBroad,
                                     TileName::kFilterTapsSlim, TileName::kFilterTapsStrided};
/// Three levels in f32, one of two members.
const ConvShape kLongestSum = {96, 16, 31, 4, 4, 1, 1, 1, 0, 1};

ConvSource source(const void* a, Form form = Form::kStored) {
  ConvSource made;
  made.a = a;
  made.form = form;
  return made;
}

std::string text(const ConvProblem& p) {
  const ConvShape& s = p.shape;
  return fmt::format("{}x{}x{}x{} -> {} kernel {}x{} stride {} groups {}, {} bytes an element, {} pieces",
                     s.n, s.h, s.w, s.c, s.k, s.r, s.s, s.stride, s.groups, kernels::size_of(p.type),
                     kernels::filter_pieces(p));
}

/// Where a launch leaves the gradients of one layer.
struct FilterResult {
  float *d_weight = nullptr, *d_bias = nullptr;
  void* workspace = nullptr;
  unsigned* counters = nullptr;
};

/// One problem's operands as stored, and its results.
class FilterCase {
 public:
  FilterCase(const ConvProblem& problem, DType type, const Tensor& d_dst, const Tensor& src)
      : problem_(problem), type_(type), d_dst_(memory.tensor(type, d_dst)), src_(memory.tensor(type, src)) {}

  /// Memory of one more result, with its workspace and counters.
  FilterResult result(bool d_bias = false) {
    const auto bytes = static_cast<size_t>(problem_.shape.weight_elements()) * sizeof(float);
    const auto counters = static_cast<size_t>(kernels::conv_backward_filter_counters(problem_));
    FilterResult made;
    made.d_weight = memory.output<float>(bytes);
    if (d_bias) made.d_bias = memory.output<float>(static_cast<size_t>(problem_.shape.k) * sizeof(float));
    made.workspace = memory.workspace(kernels::conv_backward_filter_workspace(problem_, d_bias));
    made.counters = memory.values(std::vector<unsigned>(counters, 0));
    return made;
  }
  void launch(const ConvSource& d_dst, const ConvSource& src, const FilterResult& to) const {
    const FilterLayer layer{d_dst, src, to.d_weight, to.d_bias};
    kernels::conv_backward_filter(problem_, {&layer, 1}, to.workspace, to.counters, nullptr);
  }
  Tensor read(const FilterResult& result) const {
    const ConvShape& s = problem_.shape;
    return memory.read(result.d_weight, DType::kF32, {s.k, s.r, s.s, s.c / s.groups});
  }
  /// Floats of a workspace that were written: memory starts as NaNs that no sum makes.
  int64_t floats_written(const FilterResult& result) const {
    const KernelCase::Bytes bytes = memory.bytes(result.workspace);
    std::vector<uint32_t> words(bytes.size() / sizeof(uint32_t));
    if (!bytes.empty()) std::memcpy(words.data(), bytes.data(), words.size() * sizeof(uint32_t));
    return std::count_if(words.begin(), words.end(), [](uint32_t word) { return word != 0xFFFFFFFFu; });
  }
  ConvSource stored_d_dst() const { return source(d_dst_); }
  ConvSource stored_src() const { return source(src_); }

  KernelCase memory;

 private:
  ConvProblem problem_;
  DType type_;
  void *d_dst_, *src_;
};

void expect_exact(const ConvProblem& problem, DType type, size_t most_orders, bool d_bias = false) {
  SCOPED_TRACE(text(problem));
  const ConvShape& s = problem.shape;
  const Tensor d_dst = small_integers({s.n, s.p(), s.q(), s.k}, 2),
               src = small_integers({s.n, s.h, s.w, s.c}, 1);
  FilterCase test(problem, type, d_dst, src);
  const FilterResult result = test.result(d_bias);
  test.memory.run([&] { test.launch(test.stored_d_dst(), test.stored_src(), result); }, most_orders);
  EXPECT_TRUE(matches(test.read(result), reference::conv_backward_filter(s, d_dst, src), kExact));
  if (d_bias) {
    EXPECT_TRUE(matches(test.memory.read(result.d_bias, DType::kF32, {s.k}), reference::bias_backward(d_dst),
                        kExact));
  }
  EXPECT_TRUE(test.memory.unchanged(result.counters)) << "a counter is not 0";
  const kernels::WorkspaceTraffic traffic = kernels::conv_backward_filter_traffic(problem, d_bias);
  EXPECT_EQ(test.floats_written(result) * 4, traffic.written);
}

void expect_exact_for(DType type, F32Math math) {
  if (!is_worth_running(type, math)) GTEST_SKIP() << kSeenElsewhere;
  std::vector<ConvShape> shapes = kConvShapes;
  shapes.insert(shapes.end(), kLongSums.begin(), kLongSums.end());
  shapes.insert(shapes.end(), kLines.begin(), kLines.end());
  shapes.push_back(kLargeKernel);
  for (const ConvShape& shape : shapes) {
    const bool large = shape.macs() > kMostMacs;
    if (large && (type != DType::kBF16 || under_race_detector())) continue;
    const ConvProblem problem{shape, element_of(type), math};
    const bool is_long = kernels::filter_tiles(problem).steps > 64;
    expect_exact(problem, type, large || is_long ? 1 : 3);
  }
}

TEST(KernelFilter, ShapesCoverEveryTileAndTree) {
  std::set<TileName> tiles;
  std::set<int> levels;
  bool alone = false;
  // Small layers get one of them; BlocksWithAllTaps asks for each.
  tiles.insert(std::begin(kTilesOfTaps), std::end(kTilesOfTaps));
  for (const std::vector<ConvShape>& shapes : {kConvShapes, kLongSums, kLines, {kLongestSum, kLargeKernel}}) {
    for (const ConvShape& shape : shapes) {
      for (const Element type : {Element::kBF16, Element::kF32}) {
        const ConvProblem problem{shape, type, F32Math::kTf32x3};
        const int pieces = kernels::filter_pieces(problem);
        tiles.insert(kernels::filter_tile(problem));
        levels.insert(kernels::sum_tree(pieces).levels);
        alone = alone || (pieces > 1 && kernels::joined_members(pieces) < pieces);
      }
    }
  }
  EXPECT_EQ(tiles, (std::set<TileName>{
                       TileName::kFilterWide, TileName::kFilterSquare, TileName::kFilterBroad,
                       TileName::kFilterSlim, TileName::kFilterPacked, TileName::kFilterPackedColumns,
                       TileName::kFilterLines, TileName::kFilterTaps, TileName::kFilterTapsBroad,
                       TileName::kFilterTapsSlim, TileName::kFilterTapsStrided, TileName::kFilterF32}));
  EXPECT_EQ(levels, (std::set<int>{0, 1, 2, 3}));
  EXPECT_TRUE(alone) << "no piece is alone in its group";
}

TEST(KernelFilter, IntegersAreExactInBF16) {
  expect_exact_for(DType::kBF16, F32Math::kTf32x3);
}
TEST(KernelFilter, IntegersAreExactInF16) {
  expect_exact_for(DType::kF16, F32Math::kTf32x3);
}
TEST(KernelFilter, IntegersAreExactInTf32) {
  expect_exact_for(DType::kF32, F32Math::kTf32);
}
TEST(KernelFilter, IntegersAreExactInF32) {
  expect_exact_for(DType::kF32, F32Math::kTf32x3);
}

/// The sum of d_dst beside the weights' gradient: one and many pieces, groups, channels in no whole chunks.
TEST(KernelFilter, SumsTheGradientOfABiasToo) {
  for (const DType type : conv_types()) {
    for (const std::vector<ConvShape>& shapes : {kConvShapes, kLongSums, kLines}) {
      for (const ConvShape& shape : shapes) {
        if (shape.macs() > kMostMacs) continue;
        expect_exact({shape, element_of(type), F32Math::kTf32x3}, type, 1, true);
      }
    }
  }
  for (const TileName tile : {TileName::kFilterWide, TileName::kFilterSquare, TileName::kFilterBroad}) {
    const ConvShape shape{3, 11, 7, 16, 136, 3, 3, 1, 1, 1};
    expect_exact({shape, Element::kBF16, {}, static_cast<int>(tile)}, DType::kBF16, 1, true);
  }
}

TEST(KernelFilter, ThreeLevelsOfPartialSums) {
  if (under_race_detector()) GTEST_SKIP() << "two levels have the same accesses";
  expect_exact({kLongestSum, Element::kF32, F32Math::kTf32}, DType::kF32, 1);
}

/// Every tile on problems that it is not the usual one of.
TEST(KernelFilter, AnyTileThatSuits) {
  for (const ConvShape& shape :
       {ConvShape{2, 5, 7, 16, 24, 3, 3, 1, 1, 1}, ConvShape{3, 7, 5, 8, 136, 1, 1, 2, 0, 1},
        ConvShape{2, 12, 10, 3, 40, 7, 7, 2, 3, 1}, ConvShape{2, 6, 20, 3, 16, 3, 3, 1, 1, 1}}) {
    for (int tile = 0; tile <= static_cast<int>(TileName::kFilterF32); ++tile) {
      const ConvProblem problem{shape, Element::kBF16, {}, tile};
      if (!kernels::filter_tile_suits(problem, static_cast<TileName>(tile))) continue;
      expect_exact(problem, DType::kBF16, 1);
    }
  }
}

/// All taps in one block: wherever the borders of images lie in a step, whatever the piece.
TEST(KernelFilter, BlocksWithAllTaps) {
  for (const DType type : {DType::kBF16, DType::kF16}) {
    if (!is_worth_running(type, F32Math::kTf32x3)) continue;
    for (const ConvShape& shape : kTaps) {
      for (const TileName tile : kTilesOfTaps) {
        const ConvProblem problem{shape, element_of(type), {}, static_cast<int>(tile)};
        ASSERT_EQ(kernels::filter_tile_suits(problem, tile), shape.stride == kernels::taps_stride(tile));
        if (shape.stride != kernels::taps_stride(tile)) continue;
        expect_exact(problem, type, 1, type == DType::kBF16);
      }
    }
  }
}
TEST(KernelFilter, PiecesOfBlocksWithAllTaps) {
  std::set<int> levels;
  for (const TileName tile : kTilesOfTaps) {
    const ConvProblem problem{
        long_taps(kernels::taps_stride(tile)), Element::kBF16, {}, static_cast<int>(tile)};
    ASSERT_GT(kernels::filter_pieces(problem), 1);
    levels.insert(kernels::sum_tree(kernels::filter_pieces(problem)).levels);
    if (!under_race_detector()) expect_exact(problem, DType::kBF16, 1);
  }
  EXPECT_TRUE(levels.contains(2));
  const ConvShape others[] = {{1, 9, 128, 8, 8, 3, 3, 1, 1, 1}, {1, 9, 9, 8, 8, 5, 5, 1, 2, 1},
                              {1, 9, 9, 8, 8, 3, 3, 3, 1, 1},   {1, 9, 9, 8, 8, 3, 3, 1, 0, 1},
                              {1, 9, 9, 16, 16, 3, 3, 1, 1, 2}, {1, 9, 9, 12, 8, 3, 3, 1, 1, 1}};
  for (const ConvShape& shape : others) {
    EXPECT_FALSE(kernels::filter_tile_suits({shape, Element::kBF16, {}}, TileName::kFilterTaps));
    EXPECT_FALSE(kernels::filter_tile_suits({shape, Element::kBF16, {}}, TileName::kFilterTapsStrided));
  }
}

/// A batch norm over c channels, its sums included; the shift is far from 0, so that padding that passed
/// through it would be seen.
struct Norm {
  Norm(KernelCase& memory, int64_t c, uint64_t seed) {
    const auto vector = [&](uint64_t n, double low, double high) {
      return memory.floats(rounded_to(DType::kF32, uniform_tensor({c}, seed + n, low, high)));
    };
    vectors = {vector(0, -1, 1), vector(1, 0.5, 2), vector(2, -1.5, 1.5), vector(3, 5, 9), 1e-5f};
    d_gamma = vector(4, -9, 9);
    d_beta = vector(5, 20, 40);
  }
  kernels::BatchNormVectors vectors;
  float *d_gamma, *d_beta;
};

/// The pass with formed operands against the separate launchers; the sums of d_dst are those of what is
/// multiplied.
void expect_same_bits(const ConvProblem& problem, DType type, bool gradient, bool apply, bool relu,
                      size_t most_orders) {
  SCOPED_TRACE(text(problem) + fmt::format(", gradient {}, apply {}, relu {}", gradient, apply, relu));
  const ConvShape& s = problem.shape;
  const Shape dst_shape{s.n, s.p(), s.q(), s.k}, src_shape{s.n, s.h, s.w, s.c};
  FilterCase test(problem, type, uniform_tensor(dst_shape, 1), uniform_tensor(src_shape, 2));
  KernelCase& memory = test.memory;
  const Norm dst_norm(memory, s.k, 20), src_norm(memory, s.c, 40);
  ConvSource d_dst = test.stored_d_dst(), src = test.stored_src();
  const ConvSource plain_d_dst = source(gradient ? memory.output(type, dst_shape) : d_dst.a),
                   plain_src = source(apply ? memory.output(type, src_shape) : src.a);
  if (gradient) {
    d_dst.form = Form::kGradient;
    d_dst.b = memory.tensor(type, uniform_tensor(dst_shape, 3));
    d_dst.vectors = dst_norm.vectors;
    d_dst.d_gamma = dst_norm.d_gamma, d_dst.d_beta = dst_norm.d_beta;
  }
  if (apply) {
    src.form = Form::kApply;
    src.vectors = src_norm.vectors;
    src.relu = relu;
  }
  const FilterResult formed = test.result(true), separate = test.result(true);
  memory.run(
      [&] {
        test.launch(d_dst, src, formed);
        if (gradient) {
          const kernels::Rows rows{s.n * s.p() * s.q(), s.k, problem.type};
          kernels::batch_norm_backward_apply(rows, d_dst.a, d_dst.b, d_dst.vectors, d_dst.d_gamma,
                                             d_dst.d_beta, nullptr, const_cast<void*>(plain_d_dst.a),
                                             nullptr);
        }
        if (apply) {
          const kernels::Rows rows{s.n * s.h * s.w, s.c, problem.type};
          kernels::BatchNormApplyArgs args;
          args.src = src.a;
          args.vectors = src.vectors;
          args.relu = relu;
          args.dst = const_cast<void*>(plain_src.a);
          kernels::batch_norm_apply(rows, args, nullptr);
        }
        test.launch(plain_d_dst, plain_src, separate);
      },
      most_orders);
  EXPECT_EQ(memory.bytes(formed.d_weight) == memory.bytes(separate.d_weight), true) << "other bits";
  EXPECT_EQ(memory.bytes(formed.d_bias) == memory.bytes(separate.d_bias), true) << "other sums of d_dst";
  EXPECT_TRUE(memory.unchanged(formed.counters) && memory.unchanged(separate.counters));
}

void expect_forms_for(DType type) {
  const F32Math math = under_race_detector() ? F32Math::kTf32x3 : F32Math::kTf32;
  if (!is_worth_running(type, math)) GTEST_SKIP() << kSeenElsewhere;
  std::vector<ConvShape> shapes = kConvShapes;
  shapes.insert(shapes.end(), kLines.begin(), kLines.end());
  for (const ConvShape& shape : shapes) {
    if (shape.macs() > kMostMacs) continue;
    const ConvProblem problem{shape, element_of(type), math};
    const size_t orders = under_race_detector() ? 1 : 3;
    expect_same_bits(problem, type, true, true, true, orders);
    expect_same_bits(problem, type, true, false, false, 1);
    expect_same_bits(problem, type, false, true, false, 1);
  }
}

TEST(KernelFilter, FormedOperandsGiveTheBitsOfStoredOnesInBF16) {
  expect_forms_for(DType::kBF16);
  // Several pieces, the last of them shorter, whose sums round; every tile of chunks.
  expect_same_bits({{5, 31, 29, 8, 8, 3, 3, 1, 1, 1}, Element::kBF16, {}}, DType::kBF16, true, true, true, 3);
  for (const TileName tile : {TileName::kFilterWide, TileName::kFilterSquare, TileName::kFilterSlim}) {
    const ConvProblem problem{{2, 9, 7, 16, 136, 3, 3, 1, 1, 1}, Element::kBF16, {}, static_cast<int>(tile)};
    expect_same_bits(problem, DType::kBF16, true, true, true, 1);
  }
  for (const TileName tile : kTilesOfTaps) {
    for (const ConvShape& shape : {kTaps[3], kTaps[6], kTaps[9], kTaps[11]}) {
      if (shape.stride != kernels::taps_stride(tile)) continue;
      const ConvProblem problem{shape, Element::kBF16, {}, static_cast<int>(tile)};
      expect_same_bits(problem, DType::kBF16, true, true, true, 1);
      expect_same_bits(problem, DType::kBF16, false, true, false, 1);
    }
  }
}
TEST(KernelFilter, FormedOperandsGiveTheBitsOfStoredOnesInF16) {
  expect_forms_for(DType::kF16);
}
TEST(KernelFilter, FormedOperandsGiveTheBitsOfStoredOnesInF32) {
  expect_forms_for(DType::kF32);
}

/// Several layers in one launch, each with tensors and batch norms of its own. What these make of small
/// integers are small integers, so that the sums are exact.
void expect_layers(const ConvProblem& problem, bool formed, size_t most_orders) {
  SCOPED_TRACE(text(problem) + fmt::format(", {} layers, formed {}", problem.layers, formed));
  const ConvShape& s = problem.shape;
  KernelCase memory;
  const auto all = [&](int64_t channels, double value) {
    return memory.floats(uniform_tensor({channels}, 1, value, value));
  };
  const auto scaled = [&](int64_t channels, int times) {
    return kernels::BatchNormVectors{all(channels, 0), all(channels, 1), all(channels, times),
                                     all(channels, 0), 0.0f};
  };
  std::vector<FilterLayer> layers;
  std::vector<Tensor> expected;
  for (int i = 0; i < problem.layers; ++i) {
    const auto seed = static_cast<uint64_t>(2 * i);
    Tensor d_dst = small_integers({s.n, s.p(), s.q(), s.k}, seed + 1),
           src = small_integers({s.n, s.h, s.w, s.c}, seed);
    FilterLayer layer{source(memory.tensor(DType::kBF16, d_dst)), source(memory.tensor(DType::kBF16, src))};
    layer.d_weight = memory.output<float>(static_cast<size_t>(s.weight_elements()) * sizeof(float));
    if (formed) {
      const int of_d_dst = i % 2 + 1, of_src = (i + 1) % 2 + 1;
      layer.d_dst.form = Form::kGradient, layer.d_dst.b = layer.d_dst.a;
      layer.d_dst.vectors = scaled(s.k, of_d_dst);
      layer.d_dst.d_gamma = all(s.k, 0), layer.d_dst.d_beta = all(s.k, 0);
      layer.src.form = Form::kApply, layer.src.vectors = scaled(s.c, of_src), layer.src.relu = true;
      for (double& value : d_dst.data) value *= of_d_dst;
      for (double& value : src.data) value = std::max(0.0, value * of_src);
    }
    layers.push_back(layer);
    expected.push_back(reference::conv_backward_filter(s, d_dst, src));
  }
  void* const workspace = memory.workspace(kernels::conv_backward_filter_workspace(problem, false));
  unsigned* const counters = memory.values(
      std::vector<unsigned>(static_cast<size_t>(kernels::conv_backward_filter_counters(problem)), 0));
  memory.run([&] { kernels::conv_backward_filter(problem, layers, workspace, counters, nullptr); },
             most_orders);
  for (size_t i = 0; i < layers.size(); ++i) {
    const Tensor found = memory.read(layers[i].d_weight, DType::kF32, {s.k, s.r, s.s, s.c});
    EXPECT_TRUE(matches(found, expected[i], kExact)) << "layer " << i;
  }
  EXPECT_TRUE(memory.unchanged(counters)) << "a counter is not 0";
}

TEST(KernelFilter, LayersOfOneLaunchDoNotMix) {
  for (const TileName tile : kTilesOfTaps) {
    const auto problem_of = [&](const ConvShape& shape, int layers) {
      return ConvProblem{shape, Element::kBF16, {}, static_cast<int>(tile), false, layers};
    };
    for (const ConvShape& shape : {kTaps[3], kTaps[9]}) {
      if (shape.stride != kernels::taps_stride(tile)) continue;
      expect_layers(problem_of(shape, 3), false, 1);
      expect_layers(problem_of(shape, kernels::most_filter_layers(tile)), true, 1);
    }
    if (under_race_detector()) continue;
    const ConvProblem long_sums = problem_of(long_taps(kernels::taps_stride(tile)), 2);
    ASSERT_GT(kernels::filter_pieces(long_sums), 1);
    expect_layers(long_sums, true, 2);
  }
}

TEST(KernelFilter, LayersOfOneLaunchHaveOneForm) {
  KernelCase memory;
  const ConvSource stored = source(memory.floats(uniform_tensor({4096}, 1)));
  ConvSource applied = stored;
  applied.form = Form::kApply, applied.vectors = Norm(memory, 8, 20).vectors;
  float* const d_weight = memory.output<float>(4096);
  const ConvProblem problem{{1, 4, 4, 8, 8, 3, 3, 1, 1, 1}, Element::kBF16, {}, -1, false, 2};
  const auto code = [&](const FilterLayer& second) {
    const std::vector<FilterLayer> layers = {{stored, stored, d_weight}, second};
    return refusal([&] { kernels::conv_backward_filter(problem, layers, d_weight, nullptr, nullptr); });
  };
  EXPECT_EQ(code({stored, applied, d_weight}), 1);
  EXPECT_EQ(code({stored, stored, nullptr}), 1);
  EXPECT_EQ(code({stored, stored, d_weight, d_weight}), 1) << "a bias";
}

/// A Gram matrix and the sums beside it: one formed tensor is both operands.
TEST(KernelFilter, TheGramMatrixOfAFormedTensor) {
  for (const DType type : conv_types()) {
    for (const int64_t c : {int64_t{3}, int64_t{8}, int64_t{40}, int64_t{136}}) {
      if (c > 100 && (type != DType::kBF16 || under_race_detector())) continue;
      const Shape shape{2, 9, 7, c};
      const ConvProblem problem{{2, 9, 7, c, c, 1, 1, 1, 0, 1}, element_of(type), F32Math::kTf32x3};
      SCOPED_TRACE(text(problem));
      FilterCase test(problem, type, uniform_tensor({1, 1, 1, 1}, 1), uniform_tensor(shape, 2));
      KernelCase& memory = test.memory;
      ConvSource formed = test.stored_src();
      formed.form = Form::kApply;
      formed.vectors = Norm(memory, c, 20).vectors;
      formed.relu = true;
      const kernels::Rows rows{2 * 9 * 7, c, problem.type};
      kernels::BatchNormApplyArgs apply;
      apply.src = formed.a, apply.vectors = formed.vectors, apply.relu = true;
      apply.dst = memory.output(type, shape);
      const ConvSource stored = source(apply.dst);
      const FilterResult of_formed = test.result(true), of_stored = test.result(true);
      memory.run(
          [&] {
            test.launch(formed, formed, of_formed);
            kernels::batch_norm_apply(rows, apply, nullptr);
            test.launch(stored, stored, of_stored);
          },
          3);
      EXPECT_EQ(memory.bytes(of_formed.d_weight) == memory.bytes(of_stored.d_weight), true);
      EXPECT_EQ(memory.bytes(of_formed.d_bias) == memory.bytes(of_stored.d_bias), true);
    }
  }
}

/// Layers of ResNet-50 at batch 256 and of a CIFAR ResNet at batch 128.
TEST(KernelFilter, PiecesFillTheChipAndCostLessThanTheyGain) {
  const std::vector<ConvShape> layers = {
      {256, 56, 56, 64, 64, 1, 1, 1, 0, 1},   {256, 56, 56, 64, 64, 3, 3, 1, 1, 1},
      {256, 28, 28, 512, 256, 1, 1, 1, 0, 1}, {256, 14, 14, 256, 256, 3, 3, 1, 1, 1},
      {256, 7, 7, 512, 2048, 1, 1, 1, 0, 1},  {256, 7, 7, 512, 512, 3, 3, 1, 1, 1},
      {256, 224, 224, 3, 64, 7, 7, 2, 3, 1},  {128, 32, 32, 16, 16, 3, 3, 1, 1, 1},
      {128, 16, 16, 32, 32, 3, 3, 1, 1, 1},   {128, 8, 8, 64, 64, 3, 3, 1, 1, 1},
  };
  for (const ConvShape& s : layers) {
    const ConvProblem problem{s, Element::kBF16, {}};
    SCOPED_TRACE(text(problem));
    const kernels::FilterTiles all = kernels::filter_tiles(problem);
    const int pieces = kernels::filter_pieces(problem);
    const int blocks = kernels::tile_of(kernels::filter_tile(problem)).blocks;
    EXPECT_LE(pieces * all.tiles, blocks * kernels::kMultiprocessors)
        << "blocks that are not resident at once";
    EXPECT_GE(all.steps, (kernels::has_all_taps(kernels::filter_tile(problem)) ? 4 : 8) * pieces);
    const kernels::WorkspaceTraffic traffic = kernels::conv_backward_filter_traffic(problem, false);
    EXPECT_LE(traffic.written + traffic.read, 2 * (s.src_elements() + s.dst_elements()));
    if (s.n == 256 && s.h > 28) {
      EXPECT_GE(pieces * all.tiles, 0.9 * kernels::kMultiprocessors);
    }
    if (all.steps <= 1024) {
      EXPECT_LE(pieces, 64) << "a third level of the tree for a short sum";
    }
  }
}

TEST(KernelFilter, TrafficOfWholeTilesIsTheWorkspace) {
  const ConvProblem wide{{256, 14, 14, 256, 1024, 1, 1, 1, 0, 1}, Element::kBF16, {}};
  const kernels::SumTree tree = kernels::sum_tree(kernels::filter_pieces(wide));
  ASSERT_GT(tree.levels, 1);
  const kernels::WorkspaceTraffic traffic = kernels::conv_backward_filter_traffic(wide, false);
  EXPECT_EQ(traffic.written, static_cast<int64_t>(kernels::conv_backward_filter_workspace(wide, false)));
  EXPECT_EQ(traffic.written, tree.slots * wide.shape.weight_elements() * 4);
  EXPECT_EQ(traffic.read, tree.reads() * wide.shape.weight_elements() * 4);
}

/// Two levels of 9 + 2 members, with one of the nine alone; three of 65 + 9 + 2.
TEST(KernelFilter, TreesCountTheirMembers) {
  const auto tree = [](int pieces) {
    const kernels::SumTree t = kernels::sum_tree(pieces);
    return std::vector<int>{t.levels, t.slots, t.groups, t.reads()};
  };
  EXPECT_EQ(tree(1), (std::vector<int>{0, 0, 0, 0}));
  EXPECT_EQ(tree(2), (std::vector<int>{1, 2, 1, 1}));
  EXPECT_EQ(tree(8), (std::vector<int>{1, 8, 1, 7}));
  EXPECT_EQ(tree(9), (std::vector<int>{2, 8 + 2, 2, 8}));
  EXPECT_EQ(tree(65), (std::vector<int>{3, 64 + 8 + 2, 8 + 1 + 1, 64}));
}

TEST(KernelFilter, ImpossibleOperandsAreRefused) {
  constexpr int kInvalidValue = 1;
  KernelCase test;
  float* const memory = test.floats(uniform_tensor({4096}, 1));
  const ConvProblem problem{{1, 4, 4, 8, 8, 1, 1, 1, 0, 1}, Element::kBF16, {}};
  const ConvSource stored = source(memory);
  float* d_bias = nullptr;
  size_t given = 1;
  const auto code = [&](const ConvProblem& p, const ConvSource& d_dst, const ConvSource& src) {
    return refusal([&] {
      const std::vector<FilterLayer> layers(given, {d_dst, src, memory + 2048, d_bias});
      kernels::conv_backward_filter(p, layers, nullptr, nullptr, nullptr);
    });
  };
  EXPECT_EQ(code(problem, stored, stored), 0);
  check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  EXPECT_EQ(code(problem, source(memory, Form::kApply), stored), kInvalidValue) << "no vectors";
  EXPECT_EQ(code(problem, source(memory, Form::kJoin), stored), kInvalidValue);
  EXPECT_EQ(code(problem, stored, source(memory, Form::kGradient)), kInvalidValue);
  EXPECT_EQ(code(problem, stored, source(memory, Form::kApply)), kInvalidValue) << "no vectors";
  EXPECT_EQ(code(problem, source(memory, Form::kGradient), stored), kInvalidValue) << "no vectors";
  EXPECT_EQ(code(problem, source(nullptr), stored), kInvalidValue) << "null";
  ConvProblem other = problem;
  other.tile = static_cast<int>(TileName::kFilterF32);
  EXPECT_EQ(code(other, stored, stored), kInvalidValue) << "a tile of f32";
  ConvProblem long_sum = problem;
  long_sum.shape.n = 1024;
  ASSERT_GT(kernels::filter_pieces(long_sum), 1);
  EXPECT_EQ(code(long_sum, stored, stored), kInvalidValue) << "no workspace";
  d_bias = memory;
  EXPECT_EQ(code(problem, stored, stored), kInvalidValue) << "no workspace for the sums of d_dst";
  d_bias = nullptr;
  for (const size_t layers : {0, 2}) {
    given = layers;
    EXPECT_EQ(code(problem, stored, stored), kInvalidValue) << layers << " layers of a problem of 1";
  }
  other = problem;
  other.layers = 2;
  EXPECT_EQ(code(other, stored, stored), kInvalidValue) << "a tile that takes one layer";
}

}  // namespace
}  // namespace residuum
