// The convolution launchers: they check what they are called with and pick the element type.
#include <algorithm>

#include "kernels/conv/geometry.h"
#include "kernels/conv/types.h"
#include "kernels/device/checks.cuh"
#include "kernels/device/platform.cuh"

namespace residuum::kernels {

const ConvLaunchers& conv_launchers(const ConvProblem& problem) {
  switch (problem.type) {
    case Element::kBF16:
      return kConvBF16;
    case Element::kF16:
      return kConvF16;
    case Element::kF32:
      break;
  }
  return problem.math == F32Math::kTf32 ? kConvTf32 : kConvTf32x3;
}

/// Pixels are counted in 32 bits and positions in 16; a row of elements is addressed with an int.
void check_conv(const char* name, const ConvProblem& problem) {
  constexpr int64_t kMost = int64_t{1} << 31, kMostExtent = (1 << 14) + 1, kMostGrid = 65536;
  const ConvShape& s = problem.shape;
  require_positive(name, "batch", s.n);
  require_positive(name, "stride", s.stride);
  require_positive(name, "groups", s.groups);
  require_positive(name, "output height", s.p());
  require_positive(name, "output width", s.q());
  require(s.c % s.groups == 0 && s.k % s.groups == 0, name,
          std::to_string(s.groups) + " groups do not divide " + std::to_string(s.c) + " and " +
              std::to_string(s.k) + " channels");
  require_below(name, "height", s.h, kMostExtent);
  require_below(name, "width", s.w, kMostExtent);
  require_below(name, "number of source pixels", s.n * s.h * s.w, kMost);
  require_below(name, "number of output pixels", s.n * s.p() * s.q(), kMost);
  require_below(name, "elements of a source line", s.w * s.c, kMost);
  require_below(name, "number of weights", s.weight_elements(), kMost);
  require_below(name, "groups x stride x stride", s.groups * s.stride * s.stride, kMostGrid);
}

namespace {

/// What a convolution must be able to read, each form in the pass that has it.
struct Reads {
  ConvPass pass;
  Form form;
};
constexpr Reads kReads[] = {{ConvPass::kForward, Form::kStored},
                            {ConvPass::kForward, Form::kApply},
                            {ConvPass::kForward, Form::kJoin},
                            {ConvPass::kBackwardData, Form::kStored},
                            {ConvPass::kBackwardData, Form::kGradient}};
/// Whether the usual tile for it suits.
bool can_read(ConvProblem problem, const Reads& reads) {
  problem.tile = -1;
  return conv_tile_suits(problem, reads.pass, reads.form, conv_tile(problem, reads.pass, reads.form));
}

ConvGeometry geometry_of(const ConvProblem& problem, ConvPass pass, Form form) {
  check_conv("conv_workspace", problem);
  return conv_geometry(problem, pass, form);
}

/// A gradient needs no beta.
bool is_complete(const BatchNormVectors& vectors, bool beta = true) {
  return vectors.mean != nullptr && vectors.variance != nullptr && vectors.gamma != nullptr &&
         (vectors.beta != nullptr || !beta);
}

void check_source(const char* name, const ConvProblem& problem, ConvPass pass, const ConvSource& source) {
  require_addresses(name, {source.a});
  const Form form = source.form;
  if (form != Form::kStored) {
    const bool can = form == Form::kConcat ? conv_can_concat(problem) : conv_can_form(problem);
    require(can, name, "channels are no whole chunks, or too many, so nothing can be formed");
    const bool plain = form == Form::kConcat && source.vectors.mean == nullptr;
    require(plain || is_complete(source.vectors, form != Form::kGradient), name,
            "a vector of the batch norm is null");
  }
  if (form_tensors(form) == 2 || form == Form::kConcat) require_addresses(name, {source.b});
  if (form == Form::kGradient) {
    require(pass == ConvPass::kBackwardData, name, "the forward pass reads no gradient");
    require(source.d_gamma != nullptr && source.d_beta != nullptr, name, "d_gamma or d_beta is null");
  } else {
    const bool backward = form == Form::kStored || form == Form::kConcat;
    require(backward || pass == ConvPass::kForward, name, "backward-data reads gradients only");
    require(form != Form::kConcat || pass == ConvPass::kBackwardData, name,
            "the forward pass reads no two tensors side by side");
  }
  require(source.b_vectors.mean == nullptr || is_complete(source.b_vectors), name,
          "a vector of the shortcut's batch norm is null");
  if (source.dst == nullptr) {
    require(source.mask == nullptr, name, "a mask without the tensor it belongs to");
    return;
  }
  require_addresses(name, {source.dst});
  require(form != Form::kStored && form != Form::kConcat && conv_can_store(problem, source.mask != nullptr),
          name, "the formed tensor, or its mask, cannot be stored");
  require(source.mask == nullptr || source.relu, name, "a mask without ReLU");
}

void check_sums(const char* name, ConvPass pass, const ConvResult& result) {
  require((result.mean == nullptr) == (result.variance == nullptr), name, "mean without variance");
  for (const ConvNorm& norm : result.norms) {
    if (norm.src == nullptr) continue;
    require_addresses(name, {norm.src});
    require(norm.vectors.mean != nullptr && norm.vectors.variance != nullptr && norm.d_gamma != nullptr &&
                norm.d_beta != nullptr,
            name, "a vector of a norm is null");
  }
  require(result.norms[1].src == nullptr || result.norms[0].src != nullptr, name,
          "a second norm without a first");
  if (conv_sums(result) == 0) return;
  require((result.mean != nullptr) == (pass == ConvPass::kForward), name,
          "statistics are of the forward pass, norms of backward-data");
  require_addresses(name, {result.workspace});
  require(result.counters != nullptr, name, "the counters are null");
}

/// Batch norm and ReLU of the result.
void check_applied(const char* name, const ConvProblem& problem, ConvPass pass, const ConvResult& result) {
  const bool applies = result.apply.mean != nullptr || result.addend_apply.mean != nullptr;
  require(pass == ConvPass::kForward || !(applies || result.relu), name,
          "batch norm and ReLU are of results of the forward pass");
  for (const BatchNormVectors* vectors : {&result.apply, &result.addend_apply}) {
    require(vectors->mean == nullptr || is_complete(*vectors), name,
            "a vector of a batch norm of the result or addend is null");
  }
  require(!applies || result.mean == nullptr, name, "a batch norm is applied together with statistics");
  require(result.addend_apply.mean == nullptr || result.addend != nullptr, name,
          "a batch norm of an addend that is not there");
  require(result.mask == nullptr || result.relu, name, "a mask without ReLU");
  require(result.mask == nullptr || problem.shape.groups == 1 || conv_columns(problem, pass) % 8 == 0, name,
          "groups share bytes of the mask");
}

void check_result(const char* name, const ConvProblem& problem, ConvPass pass, const ConvResult& result) {
  require_addresses(name, {result.dst});
  require(result.type == problem.type || result.type == Element::kF32, name,
          "the result has neither the problem's type nor f32");
  require(result.gate == Gate::kOpen || pass == ConvPass::kBackwardData, name,
          "gates are of results of backward-data");
  require(result.gate != Gate::kTensor || result.gate_tensor != nullptr, name, "the gate's tensor is null");
  require(result.gate != Gate::kMask || result.gate_mask != nullptr, name, "the gate's mask is null");
  require(result.gate != Gate::kMask || problem.shape.groups == 1 || conv_columns(problem, pass) % 8 == 0,
          name, "groups share bytes of the gate's mask");
  require(result.gate != Gate::kNormalised ||
              (result.norms[0].src != nullptr && is_complete(result.norms[0].vectors)),
          name, "the gate's batch norm is not complete");
  check_applied(name, problem, pass, result);
  check_sums(name, pass, result);
}

void check_call(const char* name, const ConvProblem& problem, ConvPass pass, const ConvSource& source,
                const void* weight, const ConvResult& result) {
  check_conv(name, problem);
  check_source(name, problem, pass, source);
  require_addresses(name, {weight});
  check_result(name, problem, pass, result);
  require(conv_tile_suits(problem, pass, source.form, conv_tile(problem, pass, source.form)), name,
          "tile " + std::to_string(problem.tile) + " does not suit the problem");
}

}  // namespace

bool conv_can_form(const ConvProblem& problem) {
  return is_aligned(problem) && std::all_of(std::begin(kReads), std::end(kReads),
                                            [&](const Reads& reads) { return can_read(problem, reads); });
}

bool conv_can_concat(const ConvProblem& problem) {
  return can_read(problem, {ConvPass::kBackwardData, Form::kConcat});
}

bool conv_can_store(const ConvProblem& problem, bool mask) {
  const ConvShape& s = problem.shape;
  return conv_can_form(problem) && s.stride == 1 && s.p() == s.h && s.q() == s.w &&
         !(mask && problem.type == Element::kF32);
}

size_t conv_workspace(const ConvProblem& problem, ConvPass pass, Form form, int sums) {
  const ConvGeometry g = geometry_of(problem, pass, form);
  const int parts = conv_parts(g, tile_of(conv_tile(problem, pass, form)));
  return static_cast<size_t>(parts) * static_cast<size_t>(sums) * static_cast<size_t>(g.dst_c) *
         sizeof(float);
}

int conv_counters(const ConvProblem& problem, ConvPass pass, Form form) {
  const ConvGeometry g = geometry_of(problem, pass, form);
  return g.groups * g.column_tiles(tile_of(conv_tile(problem, pass, form)).columns);
}

void conv_forward(const ConvProblem& problem, const ConvSource& src, const void* weight,
                  const ConvResult& dst, Stream stream) {
  check_call("conv_forward", problem, ConvPass::kForward, src, weight, dst);
  conv_launchers(problem).forward(problem, src, weight, dst, stream);
}

void conv_backward_data(const ConvProblem& problem, const ConvSource& d_dst, const void* weight,
                        const ConvResult& d_src, Stream stream) {
  check_call("conv_backward_data", problem, ConvPass::kBackwardData, d_dst, weight, d_src);
  conv_launchers(problem).backward_data(problem, d_dst, weight, d_src, stream);
}

}  // namespace residuum::kernels
