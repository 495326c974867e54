// ImageNet ResNets with full pre-activation (He 2016).
#include "models/residual_net.h"

namespace residuum {

std::optional<Model> find_preactivation_resnet(std::string_view name) {
  if (name != "preresnet200") return std::nullopt;
  ResidualNet net;
  net.name = name;
  net.stages = imagenet_stages({3, 24, 36, 3});
  net.style.kind = BlockKind::kBottleneck;
  net.style.placement = Placement::kPreActivation;
  return residual_model(std::move(net), imagenet_defaults());
}

std::vector<std::string> preactivation_resnet_names() {
  return {"preresnet200"};
}

}  // namespace residuum
