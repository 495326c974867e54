#include "engine/backend/cpu/kernel.h"

#include <algorithm>

#include "engine/core/overloaded.h"

namespace residuum::cpu {

// At least eight shards, so that eight cores have work and two share it evenly; then eight images each, so
// that a CIFAR-size shard of one layer (8 x 32 x 32 x 16 floats: 512 KB) fits a core's L2 cache; at most 64,
// because the partial sums grow with the shards.
int shard_count(int64_t n) {
  return static_cast<int>(n <= 8 ? n : std::clamp<int64_t>(n / 8, 8, 64));
}

ShardRange shard_range(int64_t n, int shards, int index) {
  const int64_t first = n * index / shards;
  return {index, first, n * (index + 1) / shards - first};
}

int64_t KernelSource::rows_per_image(const TensorDesc& desc) {
  int64_t rows = 1;
  for (int i = 1; i + 1 < desc.shape.rank(); ++i) rows *= desc.shape[i];
  return rows;
}

std::unique_ptr<Kernel> make_kernel(const KernelSource& source) {
  using Made = std::unique_ptr<Kernel>;
  const auto batch_norm = [&](const auto&) -> Made { return make_batch_norm(source); };
  const auto gram = [&](const auto&) -> Made { return make_gram(source); };
  return std::visit(overloaded{
                        [&](const Conv&) -> Made { return make_conv(source); },
                        [&](const ConvBackwardData&) -> Made { return make_conv_backward_data(source); },
                        [&](const ConvBackwardFilter&) -> Made { return make_conv_backward_filter(source); },
                        [&](const Linear&) -> Made { return make_linear(source); },
                        [&](const LinearBackwardData&) -> Made { return make_linear(source); },
                        [&](const LinearBackwardFilter&) -> Made { return make_linear(source); },
                        [&](const BatchNormStats& op) -> Made { return batch_norm(op); },
                        [&](const BatchNormApply& op) -> Made { return batch_norm(op); },
                        [&](const BatchNormBackwardReduce& op) -> Made { return batch_norm(op); },
                        [&](const BatchNormBackwardApply& op) -> Made { return batch_norm(op); },
                        [&](const BatchNormFrozenBackward& op) -> Made { return batch_norm(op); },
                        [&](const Gram& op) -> Made { return gram(op); },
                        [&](const GramStats& op) -> Made { return gram(op); },
                        [&](const GramBackwardReduce& op) -> Made { return gram(op); },
                        [&](const GramBackwardFilter& op) -> Made { return gram(op); },
                        [&](const GramBackwardWeight& op) -> Made { return gram(op); },
                        [&](const CropFlip&) -> Made { return make_crop_flip(source); },
                        [&](const ReluMask&) -> Made { return make_relu_mask(source); },
                        [&](const ReluMaskBackward&) -> Made { return make_relu_mask(source); },
                        [&](const ShortcutA&) -> Made { return make_channels(source); },
                        [&](const ShortcutABackward&) -> Made { return make_channels(source); },
                        [&](const Concat&) -> Made { return make_channels(source); },
                        [&](const Slice&) -> Made { return make_channels(source); },
                        [&](const SliceBackward&) -> Made { return make_channels(source); },
                        [&](const MaxPool&) -> Made { return make_pool(source); },
                        [&](const MaxPoolBackward&) -> Made { return make_pool(source); },
                        [&](const AvgPool&) -> Made { return make_pool(source); },
                        [&](const AvgPoolBackward&) -> Made { return make_pool(source); },
                        [&](const GlobalAvgPool&) -> Made { return make_pool(source); },
                        [&](const GlobalAvgPoolBackward&) -> Made { return make_pool(source); },
                        [&](const SoftmaxCrossEntropy&) -> Made { return make_softmax_loss(source); },
                        [&](const SoftmaxCrossEntropyBackward&) -> Made { return make_softmax_loss(source); },
                        [&](const auto&) -> Made {
                          return op_domain(source.node.op) == OpDomain::kWhole ? make_update(source)
                                                                               : make_elementwise(source);
                        },
                    },
                    source.node.op);
}

}  // namespace residuum::cpu
