// The launches of convolution forward and backward-data (conv/block.cuh, conv/lines.cuh): tile, patch and
// prologue become template arguments here.
#pragma once

#include "kernels/conv/block.cuh"
#include "kernels/conv/lines.cuh"

namespace residuum::kernels {

/// What conv_forward and conv_backward_data are called with.
template <typename T>
struct ConvCall {
  const ConvGeometry& geometry;
  const ConvSource& source;
  const T* weight;
  const ConvResult& result;
  Stream stream;
};

/// Shared memory that the results of a block take.
inline size_t result_bytes(const ConvGeometry& g, const Tile& tile, const ConvResult& result) {
  const bool only_stored = result.bias == nullptr && result.apply.mean == nullptr &&
                           result.addend_apply.mean == nullptr && result.gate != Gate::kNormalised &&
                           conv_sums(result) == 0;
  return only_stored ? 0 : conv_result_bytes(g, tile);
}

template <TileName kName, typename T, F32Math kMath, bool kBackwardData, Patch kPatch, Prologue kPrologue,
          Product kProduct>
void launch_conv_product(const ConvCall<T>& call) {
  constexpr Tile kTile = tile_of(kName);
  const ConvGeometry& g = call.geometry;
  int runs = 0;
  for (int parity = 0; parity < g.classes(); ++parity) runs = std::max(runs, g.parts(parity, kTile.rows));
  const size_t shared = conv_shared_bytes(g, kTile, sizeof(T)) + result_bytes(g, kTile, call.result);
  launch(kBackwardData ? "conv_backward_data" : "conv_forward",
         conv_kernel<kName, T, kMath, kBackwardData, kPatch, kPrologue, kProduct>,
         dim3(static_cast<unsigned>(g.column_tiles(kTile.columns)), static_cast<unsigned>(runs),
              static_cast<unsigned>(g.groups * g.classes())),
         dim3(kTile.threads()), shared, call.stream, g, call.source, call.weight, call.result);
}

template <TileName kName, typename T, F32Math kMath, bool kBackwardData, Patch kPatch, Prologue kPrologue>
void launch_conv_kernel(const ConvCall<T>& call) {
  with_product<T, kName>([&](auto product) {
    launch_conv_product<kName, T, kMath, kBackwardData, kPatch, kPrologue, product.value>(call);
  });
}

template <TileName kName, typename T, F32Math kMath, bool kBackwardData, Prologue kPrologue>
void launch_conv_patch(const ConvCall<T>& call) {
  constexpr Tile kTile = tile_of(kName);
  if constexpr (may_keep_weights(kTile)) {
    if (call.geometry.patch == Patch::kResident) {
      return launch_conv_kernel<kName, T, kMath, kBackwardData, Patch::kResident, kPrologue>(call);
    }
  }
  if constexpr (!wants_all_weights(kTile)) {
    if (call.geometry.patch == Patch::kHalo) {
      return launch_conv_kernel<kName, T, kMath, kBackwardData, Patch::kHalo, kPrologue>(call);
    }
  }
  launch_conv_kernel<kName, T, kMath, kBackwardData, Patch::kGather, kPrologue>(call);
}

/// With a tile for whole chunks of channels, and the prologues that conv_tile_suits() allows it.
template <TileName kName, typename T, F32Math kMath, bool kBackwardData>
void launch_conv_tile(const ConvCall<T>& call) {
  constexpr bool kNoForms = kBackwardData && !takes_two_tensors(kName);
  if constexpr (tile_forms(kName, kBackwardData, Form::kConcat)) {
    if (call.geometry.form == Form::kConcat) {
      return launch_conv_kernel<kName, T, kMath, kBackwardData, Patch::kGather, Prologue::kForm>(call);
    }
  }
  if constexpr (!kNoForms) {
    if (call.geometry.form != Form::kStored) {
      return launch_conv_patch<kName, T, kMath, kBackwardData, Prologue::kForm>(call);
    }
  }
  if constexpr (!wants_two_tensors(kName)) {
    launch_conv_patch<kName, T, kMath, kBackwardData, Prologue::kNone>(call);
  }
}

/// The forward pass with kConvLines.
template <typename T, F32Math kMath, int kGroups>
void launch_conv_lines(const ConvLines& lines, const ConvCall<T>& call) {
  constexpr TileName kName = TileName::kConvLines;
  constexpr Tile kTile = tile_of(kName);
  const ConvGeometry& g = call.geometry;
  const dim3 grid(static_cast<unsigned>(g.column_tiles(kTile.columns)),
                  static_cast<unsigned>(g.parts(0, kTile.rows)));
  const size_t shared = conv_lines_bytes(lines) + result_bytes(g, kTile, call.result);
  with_flag(lines.shifted, [&](auto shifted) {
    with_product<T, kName>([&](auto product) {
      launch("conv_forward", conv_lines_kernel<kName, T, kMath, kGroups, shifted.value, product.value>, grid,
             dim3(kTile.threads()), shared, call.stream, g, lines, call.source.a, call.weight, call.result);
    });
  });
}
template <typename T, F32Math kMath>
void launch_conv_lines(const ConvProblem& problem, const ConvCall<T>& call) {
  static_assert(kMostLineGroups == 3);
  const ConvLines lines(problem.shape, tile_of(TileName::kConvLines).rows);
  if (lines.groups == 1) return launch_conv_lines<T, kMath, 1>(lines, call);
  if (lines.groups == 2) return launch_conv_lines<T, kMath, 2>(lines, call);
  launch_conv_lines<T, kMath, 3>(lines, call);
}

/// conv_forward and conv_backward_data of one element type; conv_TYPE.cu instantiates it.
template <typename T, F32Math kMath, ConvPass kPass>
void launch_conv(const ConvProblem& problem, const ConvSource& src, const void* weight, const ConvResult& dst,
                 Stream stream) {
  constexpr bool kBackwardData = kPass == ConvPass::kBackwardData;
  const ConvGeometry g = conv_geometry(problem, kPass, src.form);
  const ConvCall<T> call{g, src, static_cast<const T*>(weight), dst, stream};
  const auto elements = [&]<TileName kName>() {
    launch_conv_kernel<kName, T, kMath, kBackwardData, Patch::kElements, Prologue::kNone>(call);
  };
  const auto chunks = [&]<TileName kName>() { launch_conv_tile<kName, T, kMath, kBackwardData>(call); };
  const TileName tile = conv_tile(problem, kPass, src.form);
  if constexpr (sizeof(T) == 4) {
    if (tile == TileName::kConvF32Packed) return elements.template operator()<TileName::kConvF32Packed>();
    return chunks.template operator()<TileName::kConvF32>();
  } else {
    if constexpr (!kBackwardData) {
      if (tile == TileName::kConvLines) return launch_conv_lines<T, kMath>(problem, call);
    }
    if (tile == TileName::kConvPacked) return elements.template operator()<TileName::kConvPacked>();
    if (tile == TileName::kConvWide) return chunks.template operator()<TileName::kConvWide>();
    if (tile == TileName::kConvMedium) return chunks.template operator()<TileName::kConvMedium>();
    if (tile == TileName::kConvWideTwo) return chunks.template operator()<TileName::kConvWideTwo>();
    if (tile == TileName::kConvMediumTwo) return chunks.template operator()<TileName::kConvMediumTwo>();
    if (tile == TileName::kConvNarrow) return chunks.template operator()<TileName::kConvNarrow>();
    return chunks.template operator()<TileName::kConvSlim>();
  }
}

}  // namespace residuum::kernels
