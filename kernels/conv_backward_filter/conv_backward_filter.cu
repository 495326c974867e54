// The launcher of conv_backward_filter: it checks the operands and picks the element type. How the sum is cut
// in pieces, and what that takes, follows from the problem alone (conv/tiles.h).
#include "kernels/conv/types.h"
#include "kernels/conv_backward_filter/geometry.h"
#include "kernels/device/checks.cuh"

namespace residuum::kernels {
namespace {

constexpr const char* kName = "conv_backward_filter";

/// An operand, all of whose vectors are there.
void require_operand(const char* what, const ConvSource& source) {
  const BatchNormVectors& v = source.vectors;
  const bool gradient = source.form == Form::kGradient;
  const bool all = v.mean != nullptr && v.variance != nullptr && v.gamma != nullptr &&
                   (gradient ? source.d_gamma != nullptr && source.d_beta != nullptr : v.beta != nullptr);
  require(source.form == Form::kStored || all, kName,
          std::string("a vector of the batch norm of ") + what + " is null");
  require(source.dst == nullptr && source.mask == nullptr, kName,
          std::string(what) + " cannot be stored by this pass");
  require_addresses(kName, {source.a});
  if (gradient) require_addresses(kName, {source.b});
}

void require_operands(const ConvSource& d_dst, const ConvSource& src) {
  require(d_dst.form == Form::kStored || d_dst.form == Form::kGradient || d_dst.form == Form::kApply, kName,
          "d_dst has another form than kStored, kGradient and kApply");
  require(src.form == Form::kStored || src.form == Form::kApply, kName,
          "src has another form than kStored and kApply");
  require_operand("d_dst", d_dst);
  require_operand("src", src);
}

bool same_form(const ConvSource& one, const ConvSource& other) {
  return one.form == other.form && one.relu == other.relu;
}
void require_layers(const ConvProblem& problem, std::span<const FilterLayer> layers) {
  require(
      problem.layers >= 1 && layers.size() == static_cast<size_t>(problem.layers), kName,
      "found " + std::to_string(layers.size()) + " layers of a problem of " + std::to_string(problem.layers));
  for (const FilterLayer& layer : layers) {
    require_operands(layer.d_dst, layer.src);
    require_addresses(kName, {layer.d_weight});
    require(layers.size() == 1 || layer.d_bias == nullptr, kName, "of several layers one has a d_bias");
    require(same_form(layer.d_dst, layers.front().d_dst) && same_form(layer.src, layers.front().src), kName,
            "operands of the layers have different forms");
  }
}

/// Bytes of the partial sums of a bias.
size_t bias_bytes(const ConvProblem& problem) {
  return static_cast<size_t>(filter_pieces(problem) * problem.shape.k) * sizeof(float);
}

}  // namespace

size_t conv_backward_filter_workspace(const ConvProblem& problem, bool d_bias) {
  return static_cast<size_t>(filter_partial_floats(problem)) * sizeof(float) +
         (d_bias ? bias_bytes(problem) : 0);
}

int conv_backward_filter_counters(const ConvProblem& problem) {
  return static_cast<int>(filter_tiles(problem).tiles * sum_tree(filter_pieces(problem)).groups);
}

WorkspaceTraffic conv_backward_filter_traffic(const ConvProblem& problem, bool d_bias) {
  WorkspaceTraffic traffic = filter_traffic(problem, filter_pieces(problem));
  const int64_t of_bias = d_bias ? static_cast<int64_t>(bias_bytes(problem)) : 0;
  traffic.written += of_bias, traffic.read += of_bias;
  return traffic;
}

void conv_backward_filter(const ConvProblem& problem, std::span<const FilterLayer> layers, void* workspace,
                          unsigned* counters, Stream stream) {
  check_conv(kName, problem);
  require_layers(problem, layers);
  require(filter_tile_suits(problem, filter_tile(problem)), kName,
          "tile " + std::to_string(problem.tile) + " does not suit the problem");
  const bool pieces = filter_pieces(problem) > 1;
  if (pieces || layers.front().d_bias != nullptr) require_addresses(kName, {workspace});
  require(!pieces || counters != nullptr, kName, "the counters are null");
  conv_launchers(problem).backward_filter(problem, layers, workspace, counters, stream);
}

}  // namespace residuum::kernels
