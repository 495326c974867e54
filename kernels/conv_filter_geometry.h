// A convolution as the kernels of backward-filter see it: extents in 32 bits (check_conv makes sure that they
// fit), and how the sum over output pixels is cut. Plain C++.
#pragma once

#include "kernels/conv_tiles.h"
#include "kernels/device/divider.h"
#include "kernels/sum_tree.h"

namespace residuum::kernels {

/// Floats of the workspace that hold partial sums of tiles; those of a bias lie behind them.
constexpr int64_t filter_partial_floats(const ConvProblem& problem) {
  const Tile tile = tile_of(filter_tile(problem));
  return filter_tiles(problem).tiles * sum_tree(filter_pieces(problem)).slots * tile.rows * tile.columns;
}

struct FilterGeometry {
  int src_h = 0, src_w = 0, src_c = 0, dst_c = 0;
  int kernel_w = 0, stride = 1, pad = 0;
  int rows = 0, columns = 0, depth_c = 0;  ///< of one group: output channels; r*s*c; input channels
  int pixels = 0, pieces = 1, steps_per_piece = 0;
  SumTree tree;              ///< of the pieces of one tile
  bool same_pixels = false;  ///< 1x1, stride 1: output pixel m reads source pixel m
  Divider image, line;       ///< by p*q, by q

  FilterGeometry(const ConvProblem& problem, const Tile& tile) {
    const ConvShape& s = problem.shape;
    const auto whole = [](int64_t value) { return static_cast<int>(value); };
    src_h = whole(s.h), src_w = whole(s.w), src_c = whole(s.c), dst_c = whole(s.k);
    kernel_w = whole(s.s), stride = whole(s.stride), pad = whole(s.pad);
    rows = whole(s.k / s.groups), depth_c = whole(s.c / s.groups);
    columns = whole(s.r * s.s) * depth_c;
    pixels = whole(s.n * s.p() * s.q());
    pieces = filter_pieces(problem);
    tree = sum_tree(pieces);
    const int steps = (pixels + tile.depth - 1) / tile.depth;
    steps_per_piece = (steps + pieces - 1) / pieces;
    same_pixels = s.r == 1 && s.s == 1 && s.stride == 1 && s.pad == 0;
    image = Divider(s.p() * s.q());
    line = Divider(s.q());
  }
};

}  // namespace residuum::kernels
