// Which tile a convolution runs with: pure constexpr functions from problem to tile, with the reason of each
// number. Plain C++, so that tests look at the choice for every layer of every model without a GPU.
#pragma once

#include <algorithm>
#include <iterator>

#include "kernels/conv/lines_geometry.h"
#include "kernels/launch.h"
#include "kernels/shapes.h"

namespace residuum::kernels {

/// The work of one block: rows x columns of the result, `depth` terms of the sum at a time, `stages` of them
/// in flight; warps_m x warps_n warps share the rows and columns, and warps_k times as many the terms;
/// `blocks` of them fit a multiprocessor.
struct Tile {
  int rows = 0, columns = 0, depth = 0, warps_m = 0, warps_n = 0, stages = 0, blocks = 0, warps_k = 1;

  constexpr int threads() const { return 32 * warps_m * warps_n * warps_k; }
  constexpr int warp_rows() const { return rows / warps_m; }
  constexpr int warp_columns() const { return columns / warps_n; }
};

/// Who multiplies: each warp its part of a tile (mma), or four warps together sixteen rows each (wgmma,
/// sm_90a), which takes the right factor from shared memory itself.
enum class Product : uint8_t { kWarp, kWarpgroup };
/// The tile with its warps as a product wants them: below each other for warpgroups.
constexpr Tile arranged(Tile tile, Product product) {
  if (product == Product::kWarpgroup) {
    tile.warps_m *= tile.warps_n;
    tile.warps_n = 1;
  }
  return tile;
}
/// Right factors of warpgroups begin at a multiple of so many bytes of shared memory.
inline constexpr size_t kFactorAlignment = 1024;

/// Streaming multiprocessors the choices aim at: H100 and H200 have 132 (A100: 108). A constant, so that
/// results do not depend on the chip a plan is made for.
inline constexpr int kMultiprocessors = 132;
/// Shared memory a block may have: A100 offers 163 KB; half of H100's 228 KB lets two blocks overlap
/// (each with 1 KB of the system's and 128 bytes of static arrays).
inline constexpr size_t kSharedBytes = 112 * 1024 + 896;

/// Shared memory of a block that has a multiprocessor to itself, for lack of other blocks or of registers for
/// them: what an A100 offers (less static arrays).
inline constexpr size_t kLoneSharedBytes = 163 * 1024 - 128;

/// Shared memory of an sm_90 multiprocessor, and what the system keeps of it for each block.
inline constexpr size_t kMultiprocessorBytes = 228 * 1024, kBlockReserve = 1024;

/// The tiles there are, those of forward and backward-data first. (Names and not values are the kernels'
/// template arguments: nvcc 13.0 writes broken host stubs for arguments of class type.)
enum class TileName : uint8_t {
  kConvWide,
  kConvMedium,
  kConvWideTwo,
  kConvMediumTwo,
  kConvNarrow,
  kConvSlim,
  kConvPacked,
  kConvF32,
  kConvF32Packed,
  kConvLines,
  kFilterWide,
  kFilterSquare,
  kFilterBroad,
  kFilterSlim,
  kFilterPacked,
  kFilterPackedColumns,
  kFilterLines,
  kFilterTaps,
  kFilterTapsBroad,
  kFilterTapsSlim,
  kFilterTapsStrided,
  kFilterF32,
};

constexpr Tile tile_of(TileName name) {
  switch (name) {
    // Forward and backward-data: rows are pixels, columns are channels, depth is channels of one tap. 128
    // rows: 6,272 blocks for a 56x56 layer at batch 256, 98 for a 7x7 one. 64 channels of 16 bits are 128
    // bytes: one row of a conflict-free swizzle. Three stages hide the latency of memory behind two tiles of
    // arithmetic.
    case TileName::kConvWide:
      return {128, 128, 64, 2, 4, 3, 2};  // 64x32 a warp: 16 mma for 6 ldmatrix
    case TileName::kConvMedium:
      return {128, 64, 64, 4, 2, 3, 2};  // with eight warps: four leave an H100 waiting for itself
    // For forms of two tensors, which take twice the room for pixels, and many coefficients.
    case TileName::kConvWideTwo:
      return {128, 128, 32, 2, 4, 3, 2};  // 74 KB: 39 KB are left for coefficients, 2048 channels of 4
    case TileName::kConvMediumTwo:
      return {128, 64, 32, 4, 2, 4, 2};  // a stage more: two tensors of 256 channels come from memory
    // Eight warps: sums of all blocks are read by more threads, and warps hide each other's waits.
    case TileName::kConvNarrow:
      return {128, 32, 32, 8, 1, 4, 2};  // CIFAR's second stage: 32 channels
    case TileName::kConvSlim:
      return {256, 16, 16, 8, 1, 4, 2};  // CIFAR's first stage: 16 channels
    case TileName::kConvPacked:
      return {128, 64, 32, 4, 1, 2, 3};  // any channel count; forward, the taps of a kernel line are one
    case TileName::kConvF32:
      return {64, 64, 32, 2, 2, 3, 2};  // 32 channels of 32 bits: 128 bytes again
    case TileName::kConvF32Packed:
      return {64, 64, 32, 2, 2, 2, 2};
    case TileName::kConvLines:
      return {128, 64, 64, 4,
              2,   2,  2};  // the stem: depth is two lines of the kernel, stages are tiles' lines
    // Backward-filter: rows are output channels, columns kernel elements x input channels, depth is pixels.
    case TileName::kFilterWide:
      return {128, 128, 32, 2, 4, 4, 2};
    case TileName::kFilterSquare:
      return {64, 64, 32, 2, 2, 4, 4};  // 64 output channels: half of the wide tile would idle
    case TileName::kFilterBroad:
      return {64, 128, 32, 2,
              2,  4,   3};  // 64 output channels of larger kernels: what is read passes L2 less often
    case TileName::kFilterSlim:
      return {32, 128, 32, 1, 4, 4, 4};  // CIFAR: 16 or 32 output channels, 9 x as many columns
    case TileName::kFilterPacked:
      return {64, 64, 32, 2, 2, 2, 3};  // any channel count
    case TileName::kFilterPackedColumns:
      return {64, 64, 32, 2, 2, 3, 3};  // whole chunks of output channels, any of input channels: the stem
    case TileName::kFilterLines:
      return {64, 192, 32, 2, 4, 4, 2};  // the same, all columns in one block: d_dst is read once
    // All nine taps of 32 or 16 channels in one block (conv_backward_filter/taps.cuh): a source pixel is read
    // once for them. 144 sums a thread leave room for one block, so that copies must run far ahead; 32 pixels
    // a warp and step are one transposing ldmatrix for a tap's eight channels.
    case TileName::kFilterTaps:
      return {64, 288, 64, 1, 4, 5, 1, 2};  // 64x72 a warp: 72 mma for 17 ldmatrix, the fewest of the three
    case TileName::kFilterTapsBroad:
      return {32, 288, 128, 1, 2, 5, 1, 4};  // half as many partial sums for long sums of small results
    case TileName::kFilterTapsSlim:
      return {16, 144, 256, 1, 1, 5, 1, 8};  // CIFAR: results of a few tiles, which pieces fill the chip with
    case TileName::kFilterTapsStrided:
      return {64, 288, 64, 1, 4, 4, 1, 2};  // of stride 2: four source pixels for each output pixel
    case TileName::kFilterF32:
      return {64, 64, 16, 2, 2, 3, 2};  // also with any channel count
  }
  return {};
}

/// Whether channels come in whole 16-byte vectors, so that asynchronous copies can be used.
constexpr bool is_aligned(const ConvProblem& problem) {
  const int64_t vector = problem.type == Element::kF32 ? 4 : 8;
  const ConvShape& s = problem.shape;
  return (s.c / s.groups) % vector == 0 && (s.k / s.groups) % vector == 0;
}

/// Tensors that a form reads, and coefficients that it needs of each channel.
constexpr int form_tensors(Form form) {
  return form == Form::kJoin || form == Form::kGradient ? 2 : 1;
}
constexpr int form_vectors(Form form) {
  return form == Form::kStored ? 0 : form == Form::kJoin ? 4 : form == Form::kGradient ? 3 : 2;
}

/// Channels of a group that are summed, and that are written.
constexpr int64_t conv_depth(const ConvProblem& problem, ConvPass pass) {
  const ConvShape& s = problem.shape;
  return (pass == ConvPass::kForward ? s.c : s.k) / s.groups;
}
constexpr int64_t conv_columns(const ConvProblem& problem, ConvPass pass) {
  const ConvShape& s = problem.shape;
  return (pass == ConvPass::kForward ? s.k : s.c) / s.groups;
}

/// Of the channels that are summed, the last so many are formed.
constexpr int64_t conv_formed(const ConvProblem& problem, ConvPass pass, Form form) {
  return form == Form::kConcat ? conv_columns(problem, pass) : conv_depth(problem, pass);
}

/// Sums per channel that results may have.
constexpr int most_sums(bool backward_data) {
  return backward_data ? 3 : 2;
}
/// Loads run so many steps ahead of the product.
constexpr int steps_ahead(const Tile& tile) {
  return tile.stages - 1;
}
/// How source pixels reach shared memory: the tile's own pixels for each tap; one patch for all taps, with
/// the weights in a ring or (resident) with those of all taps beside it; or, for channels that are no whole
/// chunks, the tile's pixels element by element, with padding checked per element.
enum class Patch : uint8_t { kGather, kHalo, kElements, kResident };
constexpr bool serves_all_taps(Patch patch) {
  return patch == Patch::kHalo || patch == Patch::kResident;
}

/// Tiles that are known at once: the one that is multiplied, those that the loads may reach where each is one
/// step, and the one that is being made known.
constexpr int known_tiles(const Tile& tile) {
  return steps_ahead(tile) + 2;
}
/// Tables of a tile's rows that are in use at once. Loads of a patch for all taps need none.
constexpr int row_tables(const Tile& tile, Patch patch) {
  return serves_all_taps(patch) ? 2 : known_tiles(tile);
}
/// Two tensors side by side in a deep tile have no need of them: their kernel is 1x1.
constexpr bool has_row_tables(const Tile& tile, Form form) {
  return form != Form::kConcat || tile.depth < 64;
}

/// Whether shared memory may hold the weights of several taps and all channels: of 128 columns they would
/// fill it, and so do two patches.
constexpr bool may_keep_weights(const Tile& tile) {
  return tile.columns <= 64;
}
/// Whether a patch for all taps wants all weights beside it, and is not used otherwise: small tiles, whose
/// blocks would wait for each other more than they multiply.
constexpr bool wants_all_weights(const Tile& tile) {
  return tile.columns <= 32;
}
/// What a block keeps of its operands in shared memory: pixels of all patches, and tiles of weights.
struct OperandRoom {
  size_t pixels = 0, weights = 0;
  Patch patch = Patch::kGather;
};

/// Shared memory of a block's operands, whose place the sums per channel take in the end: of each warp as
/// floats, of the block in double, and scratch. Tiles that warpgroups multiply leave room to align them.
constexpr size_t conv_work_bytes(const Tile& tile, size_t element, Form form, const OperandRoom& room) {
  const size_t columns = static_cast<size_t>(tile.columns), threads = static_cast<size_t>(tile.threads());
  const size_t vectors = room.pixels * static_cast<size_t>(form_tensors(form)) + columns * room.weights;
  const size_t sums =
      static_cast<size_t>(most_sums(true)) * columns * (threads / 32 * sizeof(float) + sizeof(double)) +
      threads * sizeof(double);
  const size_t alignment = tile.columns >= 64 && element == 2 ? kFactorAlignment : 0;
  return std::max(vectors * static_cast<size_t>(tile.depth) * element + alignment, sums);
}
/// Coefficients of one vector take whole units of eight channels.
constexpr int64_t form_pitch(int64_t channels) {
  return (channels + 7) / 8 * 8;
}
/// Shared memory of a block: 8 bytes for each row of each table, 128 of zeros, 112 of scalars and 16 for each
/// tap, operands, coefficients.
constexpr size_t conv_block_bytes(const Tile& tile, size_t element, Form form, const OperandRoom& room,
                                  int64_t formed, int64_t taps) {
  const size_t tables =
      has_row_tables(tile, form) ? static_cast<size_t>(tile.rows * row_tables(tile, room.patch)) * 8 : 0;
  return tables + 128 + static_cast<size_t>((112 + taps * 16 + 127) / 128 * 128) +
         conv_work_bytes(tile, element, form, room) +
         static_cast<size_t>(form_vectors(form) * form_pitch(formed)) * sizeof(float);
}
/// A thread has one number for each sum per channel and every 32 columns, and these wait for the next
/// tile: so many in registers, the others in shared memory. Deep tiles have no room
/// for all of them there; in registers no tile has.
constexpr int register_sums(const Tile& tile, bool backward_data, Patch patch) {
  if (patch == Patch::kResident) return 3;
  if (tile.depth < 64) return 0;
  return !backward_data && patch == Patch::kHalo ? 0 : 3;
}
/// What a block needs besides when there is more to do with results than to store them: five vectors of
/// floats, and the numbers of each thread that are not in registers.
constexpr size_t conv_result_bytes(const Tile& tile, bool backward_data, Patch patch) {
  const int numbers = most_sums(backward_data) * ((tile.columns + 31) / 32);
  const int kept = std::max(0, numbers - register_sums(tile, backward_data, patch));
  return static_cast<size_t>(tile.columns * 5 + kept * tile.threads()) * sizeof(float);
}

/// Whether a tile leaves room for forms of two tensors: deep tiles for 16-bit types do not; and whether it is
/// for those alone.
constexpr bool takes_two_tensors(TileName name) {
  return name != TileName::kConvWide && name != TileName::kConvMedium;
}
constexpr bool wants_two_tensors(TileName name) {
  return name == TileName::kConvWideTwo || name == TileName::kConvMediumTwo;
}
/// Whether the kernel with that tile can have the form at all: backward passes read gradients, or two tensors
/// side by side, which take the room of one.
constexpr bool tile_forms(TileName name, bool backward_data, Form form) {
  switch (form) {
    case Form::kStored:
      return !wants_two_tensors(name);
    case Form::kApply:
      return !backward_data;
    case Form::kJoin:
      return !backward_data && takes_two_tensors(name);
    case Form::kGradient:
      return backward_data && takes_two_tensors(name);
    case Form::kConcat:
      return backward_data && !wants_two_tensors(name);
  }
  return false;
}

/// Whether two tensors side by side can be read: a 1x1 kernel, and both in whole chunks.
constexpr bool suits_concat(const ConvProblem& problem) {
  const ConvShape& s = problem.shape;
  return is_aligned(problem) && s.r == 1 && s.s == 1 && s.stride == 1 && s.pad == 0 && s.groups == 1 &&
         s.k > s.c;
}

/// Whether output channels come in whole chunks of 16-bit elements.
constexpr bool has_whole_rows(const ConvProblem& problem) {
  return problem.type != Element::kF32 && problem.shape.k / problem.shape.groups % 8 == 0;
}

/// Shared memory of a block of kConvLines (conv/lines.cuh): tables of the rows of three tiles, scalars, and
/// weights and lines, whose place the sums per channel take.
inline constexpr int kLineTables = 3, kLineScalarBytes = 128;
constexpr size_t conv_lines_bytes(const ConvLines& lines) {
  const Tile tile = tile_of(TileName::kConvLines);
  const size_t operands = static_cast<size_t>(lines.weight_bytes() + lines.ring_bytes) + kFactorAlignment;
  return static_cast<size_t>(kLineTables * tile.rows) * sizeof(int) + kLineScalarBytes +
         std::max(operands, conv_work_bytes(tile, 2, Form::kStored, OperandRoom{}));
}
/// Whether the forward pass can cut its pixels out of whole source lines: few channels, and lines of two
/// tiles that fit shared memory. Taps that lie apart would leave much of a line unread.
constexpr bool suits_conv_lines(const ConvProblem& problem) {
  const ConvShape& s = problem.shape;
  if (!has_whole_rows(problem) || is_aligned(problem) || s.groups != 1 || s.src_elements() % 8 != 0)
    return false;
  if (s.stride > std::min(s.r, s.s) || s.p() < 1 || s.q() < 1) return false;
  const Tile tile = tile_of(TileName::kConvLines);
  const ConvLines lines(s, tile.rows);
  return lines.groups <= kMostLineGroups && lines.all_lines < int64_t{1} << 31 &&
         conv_lines_bytes(lines) + conv_result_bytes(tile, false, Patch::kGather) <= kSharedBytes;
}

/// Whether a pass can run with a tile: made for its element type and channels, and its memory suffices.
constexpr bool conv_tile_suits(const ConvProblem& problem, ConvPass pass, Form form, TileName name) {
  if (name >= TileName::kFilterWide) return false;
  if (name == TileName::kConvLines) {
    return pass == ConvPass::kForward && form == Form::kStored && suits_conv_lines(problem);
  }
  const bool packed = name == TileName::kConvPacked || name == TileName::kConvF32Packed;
  const bool f32 = name == TileName::kConvF32 || name == TileName::kConvF32Packed;
  if (f32 != (problem.type == Element::kF32) || packed == is_aligned(problem)) return false;
  if (form != Form::kStored && packed) return false;
  if (!tile_forms(name, pass == ConvPass::kBackwardData, form)) return false;
  if (form == Form::kConcat && !suits_concat(problem)) return false;
  const Tile tile = tile_of(name);
  const size_t stages = static_cast<size_t>(tile.stages);
  const OperandRoom room{static_cast<size_t>(tile.rows) * stages, stages, Patch::kGather};
  return conv_block_bytes(tile, size_of(problem.type), form, room, conv_formed(problem, pass, form),
                          problem.shape.r * problem.shape.s) +
             conv_result_bytes(tile, pass == ConvPass::kBackwardData, Patch::kGather) <=
         kSharedBytes;
}

/// Whether warpgroups can multiply the tile: 16-bit types, 64 or 128 columns in whole chunks.
constexpr bool suits_warpgroups(TileName name) {
  return name <= TileName::kConvMediumTwo || name == TileName::kConvLines || name == TileName::kFilterWide ||
         name == TileName::kFilterSquare || name == TileName::kFilterBroad;
}

/// All tiles that a pass can run with.
struct TileList {
  TileName names[static_cast<int>(TileName::kFilterWide)] = {};
  int count = 0;
  constexpr const TileName* begin() const { return names; }
  constexpr const TileName* end() const { return names + count; }
};
constexpr TileList conv_tiles(const ConvProblem& problem, ConvPass pass, Form form) {
  TileList list;
  for (int i = 0; i < static_cast<int>(TileName::kFilterWide); ++i) {
    const TileName name = static_cast<TileName>(i);
    if (conv_tile_suits(problem, pass, form, name)) list.names[list.count++] = name;
  }
  return list;
}

/// Whether a tile leaves room for a patch that serves all taps (about: conv/geometry.h counts its pixels), in
/// two slots.
constexpr bool leaves_room_for_halo(const ConvProblem& problem, ConvPass pass, Form form, TileName name) {
  const ConvShape& s = problem.shape;
  const Tile tile = tile_of(name);
  const int64_t line = pass == ConvPass::kForward ? s.w : s.q();
  const OperandRoom room{static_cast<size_t>(2 * (tile.rows + (s.r - 1) * line + s.s)),
                         static_cast<size_t>(tile.stages), Patch::kHalo};
  return conv_block_bytes(tile, size_of(problem.type), form, room, conv_formed(problem, pass, form),
                          problem.shape.r * problem.shape.s) +
             conv_result_bytes(tile, pass == ConvPass::kBackwardData, Patch::kHalo) <=
         kSharedBytes;
}

/// The tile for a source that is read as it is, or formed where that takes no other.
constexpr TileName stored_tile(const ConvProblem& problem, ConvPass pass, Form form) {
  const bool aligned = is_aligned(problem);
  if (problem.type == Element::kF32) return aligned ? TileName::kConvF32 : TileName::kConvF32Packed;
  if (!aligned) {
    const bool lines = pass == ConvPass::kForward && suits_conv_lines(problem);
    return lines ? TileName::kConvLines : TileName::kConvPacked;
  }
  const int64_t columns = conv_columns(problem, pass), depth = conv_depth(problem, pass);
  // A tile deeper than the channels there are multiplies zeros.
  if (columns <= 16 && depth <= 16) return TileName::kConvSlim;
  if (columns <= 32) return TileName::kConvNarrow;
  if (columns <= 64) return TileName::kConvMedium;
  // A wide tile must still give every multiprocessor a block.
  const ConvShape& s = problem.shape;
  const int64_t pixels = pass == ConvPass::kForward ? s.n * s.p() * s.q() : s.n * s.h * s.w;
  const int64_t blocks = ((pixels + 127) / 128) * ((columns + 127) / 128) * s.groups;
  if (blocks < kMultiprocessors || columns % 128 != 0) return TileName::kConvMedium;
  // Reading each pixel once is worth more than wide tiles: long lines of 128 channels.
  const bool halo = s.stride == 1 && s.r * s.s >= 3;
  const bool only_medium = halo && !leaves_room_for_halo(problem, pass, form, TileName::kConvWide) &&
                           leaves_room_for_halo(problem, pass, form, TileName::kConvMedium);
  return only_medium ? TileName::kConvMedium : TileName::kConvWide;
}

/// The tile of the forward pass (columns are output channels) or of backward-data (columns are input
/// channels): problem.tile, or the usual one.
constexpr TileName conv_tile(const ConvProblem& problem, ConvPass pass, Form form) {
  if (problem.tile >= 0) return static_cast<TileName>(problem.tile);
  // When a second tensor or the coefficients of many channels need more room: half as deep, then narrower.
  constexpr TileName kSmaller[] = {TileName::kConvWide, TileName::kConvWideTwo, TileName::kConvMedium,
                                   TileName::kConvMediumTwo, TileName::kConvNarrow};
  TileName name = stored_tile(problem, pass, form);
  const TileName* smaller = std::find(std::begin(kSmaller), std::end(kSmaller), name);
  for (; smaller != std::end(kSmaller); ++smaller) {
    name = *smaller;
    if (conv_tile_suits(problem, pass, form, name)) break;
  }
  return name;
}

}  // namespace residuum::kernels
