// Data for fused convolutions whose every intermediate value is a small integer, so that the results must be
// those of the separate launchers bit for bit, in every element type and whatever the order of adding.
#pragma once

#include <string>
#include <vector>

#include "kernels/conv/geometry.h"
#include "tests/kernels/conv_shapes.h"
#include "tests/kernels/kernel_case.h"

namespace residuum {

/// Convolutions of whole chunks of channels, for every form, result and tile.
inline const std::vector<ConvShape> kFusedShapes = {
    // n, h, w, c, k, r, s, stride, pad, groups
    {1, 1, 1, 64, 64, 1, 1, 1, 0, 1},    // one pixel
    {2, 5, 7, 24, 40, 3, 3, 1, 1, 1},    // halo; channels that fill no tile; padding
    {1, 6, 5, 8, 16, 7, 7, 1, 3, 1},     // too many weights for all to lie beside a patch
    {1, 2, 110, 40, 40, 3, 3, 1, 1, 1},  // two patches of two tensors and all weights: room for one patch
    {1, 13, 11, 72, 24, 1, 1, 1, 0, 1},  // gather, two tiles of rows, several steps of depth
    {2, 7, 5, 24, 40, 3, 3, 2, 1, 1},    // parity classes of four, two and one taps
    {1, 6, 6, 40, 24, 1, 1, 2, 0, 1},    // pixels that no tap reaches
    {2, 5, 5, 32, 48, 3, 3, 1, 1, 2},    // groups
    {1, 5, 3, 8, 8, 5, 5, 1, 3, 1},      // more output than source pixels: padding in a gathered patch
};

/// 1x1 kernels whose gradient is read from two tensors, of k - c and c channels.
inline const std::vector<ConvShape> kConcatShapes = {
    {1, 1, 1, 64, 320, 1, 1, 1, 0, 1},   // one pixel; one tensor ends where a step of depth does
    {1, 13, 11, 24, 72, 1, 1, 1, 0, 1},  // two tiles of rows; the border is inside of a step
    {2, 5, 7, 136, 144, 1, 1, 1, 0, 1},  // one chunk of the first tensor; several tiles of columns
    {1, 3, 3, 8, 40, 1, 1, 1, 0, 1},
};

inline std::string text(const kernels::ConvProblem& p) {
  const ConvShape& s = p.shape;
  return fmt::format("{}x{}x{}x{} -> {} kernel {}x{} stride {} groups {}, {} bytes an element, tile {}", s.n,
                     s.h, s.w, s.c, s.k, s.r, s.s, s.stride, s.groups, kernels::size_of(p.type), p.tile);
}

/// A batch norm with small integers for scale, shift and mean; beta is large beside the data, so that padding
/// which is normalised by mistake shows.
struct IntegerNorm {
  IntegerNorm(int64_t c, uint64_t seed)
      : mean(small_integers({c}, seed)),
        variance({c}),
        gamma(small_integers({c}, seed + 1)),
        beta(small_integers({c}, seed + 2)) {
    for (int64_t i = 0; i < c; ++i) {
      variance[i] = 0.25;
      gamma[i] /= 2;
      beta[i] = 8 * beta[i] + 4;
    }
  }
  kernels::BatchNormVectors on(KernelCase& test) const {
    return {test.floats(mean), test.floats(variance), test.floats(gamma), test.floats(beta), 0};
  }
  reference::Tensor mean, variance, gamma, beta;
};

/// Sums of a backward pass over `rows` rows: multiples of rows, so that their means are small integers.
inline const float* integer_sums(KernelCase& test, int64_t c, int64_t rows, uint64_t seed) {
  reference::Tensor sums = small_integers({c}, seed);
  for (double& value : sums.data) value *= static_cast<double>(rows) / 2;
  return test.floats(sums);
}

inline kernels::Rows rows_of(const Shape& shape, kernels::Element type) {
  return {shape[0] * shape[1] * shape[2], shape[3], type};
}
inline Shape src_shape(const ConvShape& s) {
  return {s.n, s.h, s.w, s.c};
}
inline Shape dst_shape(const ConvShape& s) {
  return {s.n, s.p(), s.q(), s.k};
}
inline Shape weight_shape(const ConvShape& s) {
  return {s.k, s.r, s.s, s.c / s.groups};
}

/// Bytes of a vector of floats.
inline size_t float_bytes(int64_t c) {
  return static_cast<size_t>(c) * sizeof(float);
}

/// Work of `problem` in one pass, tile and form, as the emulator carries it out: whole tiles.
inline int64_t emulated_macs(const kernels::ConvProblem& problem, kernels::ConvPass pass,
                             kernels::Form form) {
  const kernels::ConvGeometry g = kernels::conv_geometry(problem, pass, form);
  const kernels::Tile tile = kernels::tile_of(kernels::conv_tile(problem, pass, form));
  int64_t macs = 0;
  for (int parity = 0; parity < g.classes(); ++parity) {
    const int64_t below = (g.rows(parity) + tile.rows - 1) / tile.rows,
                  steps = g.taps(parity).taps() * ((g.depth + tile.depth - 1) / tile.depth);
    macs += below * g.column_tiles(tile.columns) * g.groups * steps * tile.rows * tile.columns * tile.depth;
  }
  return macs;
}

/// Calls body(problem, type) for each shape, element type and tile that suits pass and form; wide tiles in
/// bf16 alone, for a chip without warpgroups those alone that they would take, and under the race detector no
/// more than kMostMacs.
template <typename Body>
void for_each_fused(kernels::ConvPass pass, kernels::Form form, const Body& body) {
  for (const ConvShape& shape : form == kernels::Form::kConcat ? kConcatShapes : kFusedShapes) {
    for (const DType type : conv_types()) {
      kernels::ConvProblem problem{shape, element_of(type), kernels::F32Math::kTf32x3};
      for (const kernels::TileName tile : kernels::conv_tiles(problem, pass, form)) {
        if (emulates_warps_alone() && !kernels::suits_warpgroups(tile)) continue;
        problem.tile = static_cast<int>(tile);
        const bool large = emulated_macs(problem, pass, form) > kMostMacs;
        if (large && (type != DType::kBF16 || under_race_detector())) continue;
        SCOPED_TRACE(text(problem));
        body(problem, type);
      }
    }
  }
}

}  // namespace residuum
