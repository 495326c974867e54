// Wide residual nets for CIFAR (Zagoruyko 2016): cifar_wrnN_K has depth N = 6n+4, n full pre-activation basic
// blocks in each of three stages, K times as wide as those of He 2016; 1x1 convolutions where shapes change.
#include "engine/core/check.h"
#include "models/model_name.h"
#include "models/residual_net.h"

namespace residuum {

std::optional<Model> find_wide_resnet(std::string_view name) {
  const auto numbers = numbers_after(name, "cifar_wrn", 2);
  if (!numbers) return std::nullopt;
  const int64_t depth = numbers->at(0), factor = numbers->at(1);
  check(depth >= 10 && depth <= 10'000 && depth % 6 == 4, ErrorKind::kConfig,
        "model {}: depth is {}, allowed are 6n+4 from 10 to 10000", name, depth);
  check(factor <= 64, ErrorKind::kConfig, "model {}: width factor is {}, allowed is 1 to 64", name, factor);
  const int64_t blocks = (depth - 4) / 6;
  ResidualNet net;
  net.name = name;
  net.stem = StemKind::kCifar;
  net.stem_width = 16;
  net.stages = {{blocks, 16 * factor, 1}, {blocks, 32 * factor, 2}, {blocks, 64 * factor, 2}};
  net.style.placement = Placement::kPreActivation;
  return residual_model(std::move(net), cifar_defaults());
}

std::vector<std::string> wide_resnet_names() {
  return {"cifar_wrn16_4", "cifar_wrn28_10", "cifar_wrn40_4"};
}

}  // namespace residuum
