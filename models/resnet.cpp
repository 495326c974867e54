// ImageNet ResNets with torchvision's names and weights (He 2015; wide: Zagoruyko 2016; ResNeXt: Xie 2016),
// and the plain nets of He 2015. Shortcut B and v1.5 by default, as in torchvision.
#include <algorithm>
#include <array>

#include "models/residual_net.h"

namespace residuum {
namespace {

struct Row {
  std::string_view name;
  BlockKind kind;
  std::array<int64_t, 4> blocks;
  int64_t groups = 1, width_per_group = 64;
  ShortcutKind shortcut = ShortcutKind::kProjection;
};

constexpr Row kRows[] = {
    {"resnet18", BlockKind::kBasic, {2, 2, 2, 2}},
    {"resnet34", BlockKind::kBasic, {3, 4, 6, 3}},
    {"resnet50", BlockKind::kBottleneck, {3, 4, 6, 3}},
    {"resnet101", BlockKind::kBottleneck, {3, 4, 23, 3}},
    {"resnet152", BlockKind::kBottleneck, {3, 8, 36, 3}},
    {"wide_resnet50_2", BlockKind::kBottleneck, {3, 4, 6, 3}, 1, 128},
    {"wide_resnet101_2", BlockKind::kBottleneck, {3, 4, 23, 3}, 1, 128},
    {"resnext50_32x4d", BlockKind::kBottleneck, {3, 4, 6, 3}, 32, 4},
    {"resnext101_32x8d", BlockKind::kBottleneck, {3, 4, 23, 3}, 32, 8},
    {"resnext101_64x4d", BlockKind::kBottleneck, {3, 4, 23, 3}, 64, 4},
    {"plain18", BlockKind::kBasic, {2, 2, 2, 2}, 1, 64, ShortcutKind::kPlain},
    {"plain34", BlockKind::kBasic, {3, 4, 6, 3}, 1, 64, ShortcutKind::kPlain},
};

ResidualNet describe(const Row& row) {
  ResidualNet net;
  net.name = row.name;
  net.stem = StemKind::kImageNet;
  net.stages = imagenet_stages(row.blocks);
  net.style.kind = row.kind;
  net.style.shortcut = row.shortcut;
  net.style.groups = row.groups;
  net.style.width_per_group = row.width_per_group;
  return net;
}

}  // namespace

std::optional<Model> find_resnet(std::string_view name) {
  const auto* row =
      std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& r) { return r.name == name; });
  if (row == std::end(kRows)) return std::nullopt;
  return residual_model(describe(*row), imagenet_defaults());
}

std::vector<std::string> resnet_names() {
  std::vector<std::string> names;
  for (const Row& row : kRows) names.emplace_back(row.name);
  return names;
}

}  // namespace residuum
