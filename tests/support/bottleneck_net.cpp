#include "tests/support/bottleneck_net.h"

#include "models/residual_block.h"

namespace residuum {

Graph bottleneck_net(DType activation, int64_t batch, int64_t image_size, int64_t classes) {
  GraphBuilder builder(Mode::kTrain, activation);
  const ValueId images =
      builder.images(batch, image_size, image_size, 3, {0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f});
  ValueId x = builder.conv("conv1", images, 16, 7, {.stride = 2, .pad = 3});
  x = builder.max_pool(builder.relu(builder.batch_norm("bn1", x)), 3, 2, 1);
  BlockStyle style;
  style.kind = BlockKind::kBottleneck;
  x = residual_block(builder, "layer1.0", style, {.width = 8}, x);
  x = residual_block(builder, "layer1.1", style, {.width = 8}, x);
  x = residual_block(builder, "layer2.0", style, {.width = 16, .stride = 2}, x);
  builder.classification_loss(builder.linear("fc", builder.global_avg_pool(x), classes, {.logits = true}),
                              0.1f);
  return builder.take();
}

}  // namespace residuum
