// The launcher of conv_backward_filter: it checks the operands and picks the element type. How the sum is cut
// in pieces, and what that takes, follows from the problem alone (conv_tiles.h).
#include "kernels/conv_tiles.h"
#include "kernels/conv_types.h"
#include "kernels/device/checks.cuh"

namespace residuum::kernels {
namespace {

constexpr const char* kName = "conv_backward_filter";

void require_vectors(const char* what, const ConvSource& source, bool all) {
  require(all, kName, std::string("a vector of the batch norm of ") + what + " is null");
  require(source.dst == nullptr && source.mask == nullptr, kName,
          std::string(what) + " cannot be stored by this pass");
}

void require_operands(const ConvSource& d_dst, const ConvSource& src) {
  const BatchNormVectors &d = d_dst.vectors, &s = src.vectors;
  require(d_dst.form == Form::kStored || d_dst.form == Form::kGradient, kName,
          "d_dst has another form than kStored and kGradient");
  require(src.form == Form::kStored || src.form == Form::kApply, kName,
          "src has another form than kStored and kApply");
  require_addresses(kName, {d_dst.a, src.a});
  require_vectors("src", src,
                  src.form == Form::kStored || (s.mean != nullptr && s.variance != nullptr &&
                                                s.gamma != nullptr && s.beta != nullptr));
  require_vectors(
      "d_dst", d_dst,
      d_dst.form == Form::kStored || (d.mean != nullptr && d.variance != nullptr && d.gamma != nullptr &&
                                      d_dst.d_gamma != nullptr && d_dst.d_beta != nullptr));
  if (d_dst.form == Form::kGradient) require_addresses(kName, {d_dst.b});
}

}  // namespace

size_t conv_backward_filter_workspace(const ConvProblem& problem) {
  const Tile tile = tile_of(filter_tile(problem));
  const int64_t slots = filter_tiles(problem).tiles * sum_tree(filter_pieces(problem)).slots;
  return static_cast<size_t>(slots * tile.rows * tile.columns) * sizeof(float);
}

int conv_backward_filter_counters(const ConvProblem& problem) {
  return static_cast<int>(filter_tiles(problem).tiles * sum_tree(filter_pieces(problem)).groups);
}

WorkspaceTraffic conv_backward_filter_traffic(const ConvProblem& problem) {
  return filter_traffic(problem, filter_pieces(problem));
}

void conv_backward_filter(const ConvProblem& problem, const ConvSource& d_dst, const ConvSource& src,
                          float* d_weight, void* workspace, unsigned* counters, Stream stream) {
  check_conv(kName, problem);
  require(filter_tile_suits(problem, filter_tile(problem)), kName,
          "tile " + std::to_string(problem.tile) + " does not suit the problem");
  require_operands(d_dst, src);
  require_addresses(kName, {d_weight});
  if (filter_pieces(problem) > 1) {
    require_addresses(kName, {workspace});
    require(counters != nullptr, kName, "the counters are null");
  }
  conv_launchers(problem).backward_filter(problem, d_dst, src, d_weight, workspace, counters, stream);
}

}  // namespace residuum::kernels
