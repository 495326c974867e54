// The CIFAR nets of He 2015 and 2016 for every depth N: cifar_resnetN, cifar_plainN, cifar_preresnetN.
// Depth 6n+2 has n basic blocks in each of three stages, 9n+2 has n bottlenecks. A depth that is both (20,
// 38, 56, 74, ...) is basic, except 164, which was published with bottlenecks; option block overrides.
// Shortcuts: A for basic blocks (He 2015), B for bottlenecks (resnet-1k-layers). The last layer is called fc.
#include "engine/core/check.h"
#include "models/model_name.h"
#include "models/residual_net.h"

namespace residuum {
namespace {

constexpr int64_t kDeepest = 10'000;

struct Prefix {
  std::string_view text;
  Placement placement;
  bool shortcuts;
};
constexpr Prefix kPrefixes[] = {
    {"cifar_resnet", Placement::kOriginal, true},
    {"cifar_plain", Placement::kOriginal, false},
    {"cifar_preresnet", Placement::kPreActivation, true},
};

int64_t layers_per_block(BlockKind kind) {
  return kind == BlockKind::kBasic ? 2 : 3;
}

/// Whether the depth is 2 + 3 stages of one or more blocks of that kind.
bool fits(int64_t depth, BlockKind kind) {
  return depth > 2 && (depth - 2) % (3 * layers_per_block(kind)) == 0;
}

BlockKind default_block(int64_t depth) {
  return depth == 164 || !fits(depth, BlockKind::kBasic) ? BlockKind::kBottleneck : BlockKind::kBasic;
}

ResidualNet describe(const Prefix& prefix, const std::string& name, int64_t depth, BlockKind kind) {
  check(fits(depth, kind), ErrorKind::kConfig, "model {}: a net of {} blocks needs depth {}n+2, found {}",
        name, kind == BlockKind::kBasic ? "basic" : "bottleneck", 3 * layers_per_block(kind), depth);
  const int64_t blocks = (depth - 2) / (3 * layers_per_block(kind));
  ResidualNet net;
  net.name = name;
  net.stem = StemKind::kCifar;
  net.stages = {{blocks, 16, 1}, {blocks, 32, 2}, {blocks, 64, 2}};
  net.style.kind = kind;
  net.style.placement = prefix.placement;
  net.style.shortcut = !prefix.shortcuts           ? ShortcutKind::kPlain
                       : kind == BlockKind::kBasic ? ShortcutKind::kZeros
                                                   : ShortcutKind::kProjection;
  return net;
}

}  // namespace

std::optional<Model> find_cifar_resnet(std::string_view name) {
  for (const Prefix& prefix : kPrefixes) {
    const auto numbers = numbers_after(name, prefix.text, 1);
    if (!numbers) continue;
    const int64_t depth = numbers->front();
    check(
        depth <= kDeepest && (fits(depth, BlockKind::kBasic) || fits(depth, BlockKind::kBottleneck)),
        ErrorKind::kConfig,
        "model {}: depth is {}, allowed are 6n+2 (basic blocks: 20, 32, 44, 56, 110) and 9n+2 (bottlenecks: "
        "164, 1001) up to {}",
        name, depth, kDeepest);
    auto write = [prefix, depth, text = std::string(name)](GraphBuilder& builder, const ModelOptions& options,
                                                           ValueId images) {
      const ResidualNet net = describe(prefix, text, depth, options.block.value_or(default_block(depth)));
      return residual_net(builder, apply_options(net, options), images, options.classes);
    };
    return Model{std::string(name), cifar_defaults(), residual_options(), std::move(write)};
  }
  return std::nullopt;
}

std::vector<std::string> cifar_resnet_names() {
  return {"cifar_resnet20",     "cifar_resnet32",    "cifar_resnet44",     "cifar_resnet56",
          "cifar_resnet110",    "cifar_resnet164",   "cifar_resnet1202",   "cifar_plain20",
          "cifar_plain32",      "cifar_plain44",     "cifar_plain56",      "cifar_plain110",
          "cifar_preresnet20",  "cifar_preresnet56", "cifar_preresnet110", "cifar_preresnet164",
          "cifar_preresnet1001"};
}

}  // namespace residuum
