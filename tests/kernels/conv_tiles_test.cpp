// The choice of tiles and patches for convolution kernels, and the geometry they work from, checked on the
// host for every layer of the zoo. No GPU and no emulator is needed: kernels/conv/tiles.h and conv/geometry.h
// are plain C++.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <tuple>

#include "kernels/conv/geometry.h"
#include "kernels/conv_backward_filter/tiles.h"
#include "models/zoo.h"

namespace residuum::kernels {
namespace {

/// The convolutions of a model at its usual batch.
std::vector<ConvShape> convolutions(const std::string& model, int64_t batch) {
  ModelOptions options;
  options.batch = batch;
  const Graph graph = build_model(model, options);
  std::vector<ConvShape> shapes;
  for (const Node& node : graph.nodes) {
    const Conv* const conv = std::get_if<Conv>(&node.op);
    if (conv == nullptr) continue;
    const Nhwc src = Nhwc::of(graph.desc(node.inputs[0]).shape);
    shapes.push_back({src.n, src.h, src.w, src.c, conv->out_channels, conv->kernel_h, conv->kernel_w,
                      conv->stride, conv->pad, conv->groups});
  }
  return shapes;
}

std::vector<ConvShape> all_convolutions() {
  std::vector<ConvShape> all;
  for (const char* model : {"resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2",
                            "resnext50_32x4d", "plain18", "plain34", "preresnet200"}) {
    for (const int64_t batch : {1, 16, 256}) {
      for (const ConvShape& shape : convolutions(model, batch)) all.push_back(shape);
    }
  }
  for (const char* model : {"cifar_resnet20", "cifar_plain56", "cifar_preresnet110"}) {
    for (const int64_t batch : {1, 128}) {
      for (const ConvShape& shape : convolutions(model, batch)) all.push_back(shape);
    }
  }
  return all;
}

constexpr ConvPass kPasses[] = {ConvPass::kForward, ConvPass::kBackwardData};
/// What every convolution in whole chunks can read.
constexpr std::pair<ConvPass, Form> kReads[] = {{ConvPass::kForward, Form::kStored},
                                                {ConvPass::kForward, Form::kApply},
                                                {ConvPass::kForward, Form::kJoin},
                                                {ConvPass::kBackwardData, Form::kStored},
                                                {ConvPass::kBackwardData, Form::kGradient}};

const std::vector<ConvShape> kOdd = {
    {1, 1, 1, 1, 1, 1, 1, 1, 0, 1},    {2, 7, 5, 8, 16, 3, 3, 1, 1, 1},   {3, 13, 11, 16, 24, 3, 3, 2, 1, 1},
    {2, 9, 9, 16, 16, 5, 5, 1, 2, 1},  {2, 17, 13, 3, 64, 7, 7, 2, 3, 1}, {2, 10, 10, 16, 32, 3, 3, 3, 1, 2},
    {2, 11, 8, 8, 8, 2, 4, 3, 2, 1},   {2, 5, 5, 8, 8, 5, 5, 1, 3, 1},    {1, 3, 3, 8, 8, 7, 7, 1, 3, 1},
    {2, 7, 11, 16, 16, 1, 3, 1, 1, 1}, {5, 1, 1, 64, 64, 1, 1, 1, 0, 1},  {4, 8, 8, 64, 128, 1, 1, 2, 0, 1},
};

std::string text(const ConvShape& s) {
  return fmt::format("{}x{}x{}x{} -> {} kernel {}x{} stride {} pad {} groups {}", s.n, s.h, s.w, s.c, s.k,
                     s.r, s.s, s.stride, s.pad, s.groups);
}

/// A block leaves room for others, unless the launch has a multiprocessor for each, and has what its
/// geometry says.
void expect_fits(const ConvGeometry& g, const Tile& tile, Element type) {
  int64_t blocks = 0;
  for (int parity = 0; parity < g.classes(); ++parity) blocks += g.parts(parity, tile.rows);
  blocks *= int64_t{g.column_tiles(tile.columns)} * g.groups;
  const size_t bytes = conv_shared_bytes(g, tile, size_of(type)) + conv_result_bytes(g, tile);
  EXPECT_LE(bytes, blocks <= kMultiprocessors ? kLoneSharedBytes : kSharedBytes);
  if (blocks > kMultiprocessors && tile.blocks <= 2) {
    EXPECT_LE(bytes * static_cast<size_t>(tile.blocks), size_t{227} * 1024);
  }
}

TEST(ConvTiles, EveryLayerFitsTheChip) {
  for (const ConvShape& shape : all_convolutions()) {
    for (const Element type : {Element::kBF16, Element::kF32}) {
      const ConvProblem problem{shape, type, F32Math::kTf32x3};
      for (const ConvPass pass : kPasses) {
        const Tile tile = tile_of(conv_tile(problem, pass, Form::kStored));
        SCOPED_TRACE(text(shape));
        expect_fits(conv_geometry(problem, pass, Form::kStored), tile, type);
        EXPECT_EQ(tile.warp_rows() % 16, 0);
        EXPECT_EQ(tile.warp_columns() % 16, 0);
      }
      const TileName name = filter_tile(problem);
      const Tile tile = tile_of(name);
      EXPECT_EQ(tile.warp_rows() % 16, 0);
      EXPECT_EQ(tile.warp_columns() % (has_all_taps(name) ? 8 * kFilterTapsCount : 16), 0);
      EXPECT_GE(filter_pieces(problem), 1);
    }
  }
}

/// Registers of an sm_80 or sm_90 multiprocessor: 64 Ki, at most 255 a thread.
TEST(ConvTiles, ResidentBlocksLeaveRegisters) {
  for (int name = 0; name <= static_cast<int>(TileName::kFilterF32); ++name) {
    const Tile tile = tile_of(static_cast<TileName>(name));
    const int sums = tile.rows * tile.columns / tile.threads() * tile.warps_k;
    EXPECT_GE(65536 / (tile.blocks * tile.threads()), sums + 48) << tile.rows << "x" << tile.columns;
    EXPECT_LE(tile.blocks * tile.threads(), 2048);
  }
}

/// The weights' gradient of 3x3 layers: all taps in one block, of a size that leaves time for the partial
/// sums; as many blocks as multiprocessors, nearly, for large layers.
TEST(ConvTiles, ThreeByThreeWeightGradientsHaveAllTapsInABlock) {
  struct Layer {
    int64_t size, channels, batch;
    TileName tile;
  };
  for (const Layer& layer :
       {Layer{56, 64, 256, TileName::kFilterTapsBroad}, Layer{28, 128, 256, TileName::kFilterTapsBroad},
        Layer{14, 256, 256, TileName::kFilterTaps}, Layer{7, 512, 256, TileName::kFilterTaps},
        Layer{32, 16, 128, TileName::kFilterTapsSlim}, Layer{16, 32, 128, TileName::kFilterTapsSlim},
        Layer{8, 64, 128, TileName::kFilterTapsSlim}}) {
    const ConvProblem problem{
        {layer.batch, layer.size, layer.size, layer.channels, layer.channels, 3, 3, 1, 1, 1},
        Element::kBF16,
        {}};
    SCOPED_TRACE(text(problem.shape));
    EXPECT_EQ(filter_tile(problem), layer.tile);
    const int64_t blocks = filter_tiles(problem).tiles * filter_pieces(problem);
    EXPECT_LE(blocks, kMultiprocessors);
    EXPECT_GE(blocks, layer.batch == 256 ? 0.9 * kMultiprocessors : 0.4 * kMultiprocessors);
    EXPECT_LE(sum_tree(filter_pieces(problem)).levels, 2);
  }
  EXPECT_EQ(filter_tile({{256, 56, 56, 64, 64, 1, 1, 1, 0, 1}, Element::kBF16, {}}), TileName::kFilterSquare);
  EXPECT_EQ(filter_tile({{256, 56, 56, 128, 128, 3, 3, 2, 1, 1}, Element::kBF16, {}}),
            TileName::kFilterTapsStrided);
  EXPECT_EQ(filter_tile({{128, 32, 32, 16, 32, 3, 3, 2, 1, 1}, Element::kBF16, {}}), TileName::kFilterSlim);
  EXPECT_EQ(filter_tile({{256, 56, 56, 128, 128, 3, 3, 1, 1, 1}, Element::kF32, {}}), TileName::kFilterF32);
}

/// Small layers, whose blocks would hardly begin before they have to join, are computed together; large ones,
/// which fill the chip and whose operands would have to be kept, are not.
TEST(ConvTiles, WeightGradientsOfSmallLayersShareALaunch) {
  const auto layers = [](int64_t batch, int64_t size, int64_t channels, int64_t kernel) {
    return filter_layers(
        {{batch, size, size, channels, channels, kernel, kernel, 1, kernel / 2, 1}, Element::kBF16, {}});
  };
  for (const auto& [size, channels] : {std::pair{32, 16}, {16, 32}, {8, 64}}) {
    EXPECT_EQ(layers(128, size, channels, 3), 8) << size;
    EXPECT_EQ(layers(128, size, channels, 1), 1) << size;
  }
  for (const auto& [size, channels] : {std::pair{56, 64}, {28, 128}, {14, 256}, {7, 512}})
    EXPECT_EQ(layers(256, size, channels, 3), 1) << size;
  EXPECT_EQ(filter_layers({{128, 32, 32, 16, 16, 3, 3, 1, 1, 1}, Element::kF32, {}}), 1);
}

TEST(ConvTiles, LargeLayersGetLargeTiles) {
  const auto tile = [](const ConvShape& shape) {
    return conv_tile({shape, Element::kBF16, {}}, ConvPass::kForward, Form::kStored);
  };
  EXPECT_EQ(tile({256, 56, 56, 64, 256, 1, 1, 1, 0, 1}), TileName::kConvWide);
  EXPECT_EQ(tile({256, 56, 56, 64, 64, 3, 3, 1, 1, 1}), TileName::kConvMedium);
  EXPECT_EQ(tile({256, 7, 7, 512, 2048, 1, 1, 1, 0, 1}), TileName::kConvWide);
  EXPECT_EQ(tile({1, 7, 7, 512, 512, 3, 3, 1, 1, 1}), TileName::kConvMedium);
  EXPECT_EQ(tile({128, 32, 32, 16, 16, 3, 3, 1, 1, 1}), TileName::kConvSlim);
  EXPECT_EQ(tile({128, 16, 16, 32, 32, 3, 3, 1, 1, 1}), TileName::kConvNarrow);
  EXPECT_EQ(tile({256, 224, 224, 3, 64, 7, 7, 2, 3, 1}), TileName::kConvLines);
}

/// Every form of every layer has a tile, and runs of row tiles that cover all rows and leave few parts.
/// The usual tile suits and fits, and its blocks cover every row in not too many parts.
void expect_suits(const ConvProblem& problem, ConvPass pass, Form form) {
  SCOPED_TRACE(fmt::format("{}, form {}", text(problem.shape), static_cast<int>(form)));
  const TileName name = conv_tile(problem, pass, form);
  EXPECT_TRUE(conv_tile_suits(problem, pass, form, name));
  const TileList list = conv_tiles(problem, pass, form);
  EXPECT_EQ(std::count(list.begin(), list.end(), name), 1);
  const Tile tile = tile_of(name);
  const ConvGeometry g = conv_geometry(problem, pass, form);
  expect_fits(g, tile, problem.type);
  for (int parity = 0; parity < g.classes(); ++parity) {
    EXPECT_GE(int64_t{g.parts(parity, tile.rows)} * g.run * tile.rows, g.rows(parity));
  }
  EXPECT_LE(conv_parts(g, tile), 4 * kMultiprocessors + g.classes());
}

/// The gradient and the input of a wide 1x1 convolution side by side: the wide tile as long as the batch norm
/// of the input leaves room, and then a smaller one for forms of one tensor.
TEST(ConvTiles, TwoTensorsSideBySideAreReadInDeepTiles) {
  const auto tile = [](int64_t c, int64_t k, int64_t size) {
    const ConvProblem problem{{256, size, size, c, k + c, 1, 1, 1, 0, 1}, Element::kBF16, {}};
    expect_suits(problem, ConvPass::kBackwardData, Form::kConcat);
    return conv_tile(problem, ConvPass::kBackwardData, Form::kConcat);
  };
  EXPECT_EQ(tile(64, 256, 56), TileName::kConvMedium);
  EXPECT_EQ(tile(128, 512, 28), TileName::kConvWide);
  EXPECT_EQ(tile(512, 2048, 7), TileName::kConvWide);
  EXPECT_EQ(tile(1024, 2048, 7), TileName::kConvMedium);
  EXPECT_EQ(tile(2048, 8192, 7), TileName::kConvMedium);
}

TEST(ConvTiles, EveryLayerHasATileForEveryForm) {
  for (const ConvShape& shape : all_convolutions()) {
    for (const Element type : {Element::kBF16, Element::kF32}) {
      const ConvProblem problem{shape, type, F32Math::kTf32x3};
      for (const auto& [pass, form] : kReads) {
        if (form == Form::kStored || is_aligned(problem)) expect_suits(problem, pass, form);
      }
    }
  }
}

TEST(ConvTiles, ThreeByThreeReadsEachPixelOnce) {
  for (const int64_t size : {7, 8, 14, 16, 28, 32, 56}) {
    for (const int64_t channels : {16, 64, 128, 512}) {
      const ConvProblem problem{{32, size, size, channels, channels, 3, 3, 1, 1, 1}, Element::kBF16, {}};
      for (const auto& [pass, form] : kReads) {
        const Patch expected = channels <= 64 ? Patch::kResident : Patch::kHalo;
        EXPECT_EQ(conv_geometry(problem, pass, form).patch, expected) << size << " " << channels;
      }
    }
  }
  // One tap: nothing to share.
  EXPECT_EQ(conv_geometry({{32, 56, 56, 64, 256, 1, 1, 1, 0, 1}, Element::kBF16, {}}, ConvPass::kForward,
                          Form::kStored)
                .patch,
            Patch::kGather);
}

/// (output pixel, input pixel, r, s) of a convolution, by its definition.
using Contribution = std::tuple<int64_t, int64_t, int64_t, int64_t>;

std::multiset<Contribution> contributions(const ConvShape& s) {
  std::multiset<Contribution> all;
  for (int64_t p = 0; p < s.p(); ++p) {
    for (int64_t q = 0; q < s.q(); ++q) {
      for (int64_t r = 0; r < s.r; ++r) {
        for (int64_t t = 0; t < s.s; ++t) {
          const int64_t h = p * s.stride + r - s.pad, w = q * s.stride + t - s.pad;
          if (h >= 0 && h < s.h && w >= 0 && w < s.w) all.insert({p * s.q() + q, h * s.w + w, r, t});
        }
      }
    }
  }
  return all;
}

/// The same from the taps of a geometry; backward-data exchanges the roles of the pixels.
std::multiset<Contribution> contributions(const ConvGeometry& g) {
  std::multiset<Contribution> all;
  std::set<int64_t> written;
  for (int parity = 0; parity < g.classes(); ++parity) {
    const TapGrid t = g.taps(parity);
    for (int y = 0; y < t.grid_h; ++y) {
      for (int x = 0; x < t.grid_w; ++x) {
        const int64_t dst = int64_t{y * t.dst_stride + t.offset_h} * g.dst_w + x * t.dst_stride + t.offset_w;
        EXPECT_TRUE(written.insert(dst).second) << "pixel " << dst << " written twice";
        for (int tap = 0; tap < t.taps(); ++tap) {
          const int i = tap / t.taps_w, j = tap % t.taps_w;
          const int h = y * t.src_stride + t.first_h + i * t.step,
                    w = x * t.src_stride + t.first_w + j * t.step;
          if (h < 0 || h >= g.src_h || w < 0 || w >= g.src_w) continue;
          const int64_t src = int64_t{h} * g.src_w + w, r = t.first_r + i * t.r_step,
                        s = t.first_s + j * t.r_step;
          all.insert(g.backward_data ? Contribution{src, dst, r, s} : Contribution{dst, src, r, s});
        }
      }
    }
  }
  EXPECT_EQ(static_cast<int64_t>(written.size()), int64_t{g.dst_h} * g.dst_w) << "pixels never written";
  return all;
}

TEST(ConvGeometry, TapsAreTheConvolution) {
  for (const ConvShape& shape : kOdd) {
    SCOPED_TRACE(text(shape));
    const ConvProblem problem{shape, Element::kBF16, {}};
    const std::multiset<Contribution> expected = contributions(shape);
    EXPECT_EQ(contributions(conv_geometry(problem, ConvPass::kBackwardData, Form::kStored)), expected);
    const ConvGeometry forward = conv_geometry(problem, ConvPass::kForward, Form::kStored);
    if (!forward.packed) {
      EXPECT_EQ(contributions(forward), expected);
    }
  }
}

TEST(ConvGeometry, PatchesHoldEveryTap) {
  for (const ConvShape& shape : kOdd) {
    SCOPED_TRACE(text(shape));
    for (const ConvPass pass : kPasses) {
      const ConvGeometry g = conv_geometry({shape, Element::kBF16, {}}, pass, Form::kStored);
      if (!serves_all_taps(g.patch)) continue;
      for (int parity = 0; parity < g.classes(); ++parity) {
        const TapGrid t = g.taps(parity);
        if (t.taps() == 0) continue;
        const int rows = 16, patch = patch_rows(g, t, rows), pixels = t.grid_h * t.grid_w;
        const auto base = [&](int m) {
          return (m / pixels * g.src_h + m % pixels / t.grid_w * t.src_stride) * g.src_w +
                 m % t.grid_w * t.src_stride;
        };
        for (int m = 0; m < g.n * pixels; ++m) {
          const int lowest = base(m / rows * rows) + t.lowest_h() * g.src_w + t.lowest_w();
          for (int tap = 0; tap < t.taps(); ++tap) {
            const int dh = t.first_h + tap / t.taps_w * t.step, dw = t.first_w + tap % t.taps_w * t.step;
            const int h = m % pixels / t.grid_w * t.src_stride + dh, w = m % t.grid_w * t.src_stride + dw;
            if (h < 0 || h >= g.src_h || w < 0 || w >= g.src_w) continue;  // a row of zeros serves
            const int row = base(m) + dh * g.src_w + dw - lowest;
            ASSERT_GE(row, 0);
            ASSERT_LT(row, patch);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace residuum::kernels
