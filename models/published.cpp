#include "models/published.h"

#include <map>

namespace residuum {

std::optional<PublishedError> published_error(const std::string& model) {
  constexpr const char *kCifar = "CIFAR-10", *kImageNet = "ImageNet";
  constexpr const char *kResidual = "He 2015, table 6", *kTenCrop = "He 2015, tables 2 and 3, 10 crops";
  constexpr const char *kIdentity = "He 2016, table 3", *kHighway = "Srivastava 2015",
                       *kDense = "Huang 2017, C10+", *kWide = "Zagoruyko 2016";
  static const std::map<std::string, PublishedError> kErrors = {
      {"cifar_resnet20", {8.75, kCifar, kResidual}},
      {"cifar_resnet32", {7.51, kCifar, kResidual}},
      {"cifar_resnet44", {7.17, kCifar, kResidual}},
      {"cifar_resnet56", {6.97, kCifar, kResidual}},
      {"cifar_resnet110", {6.43, kCifar, kResidual}},
      {"cifar_resnet1202", {7.93, kCifar, kResidual}},
      {"cifar_preresnet110", {6.37, kCifar, kIdentity}},
      {"cifar_preresnet164", {5.46, kCifar, kIdentity}},
      {"cifar_preresnet1001", {4.92, kCifar, kIdentity}},
      {"cifar_highway11", {10.82, kCifar, kHighway}},
      {"cifar_highway19", {7.54, kCifar, kHighway}},
      {"cifar_highway32", {8.80, kCifar, kHighway}},
      {"cifar_densenet40_12", {5.24, kCifar, kDense}},
      {"cifar_densenet_bc100_12", {4.51, kCifar, kDense}},
      {"cifar_densenet_bc190_40", {3.46, kCifar, kDense}},
      {"cifar_wrn28_10", {4.00, kCifar, kWide}},
      {"plain18", {27.94, kImageNet, kTenCrop}},
      {"plain34", {28.54, kImageNet, kTenCrop}},
      {"resnet18", {27.88, kImageNet, kTenCrop}},
      {"resnet34", {24.52, kImageNet, kTenCrop}},
      {"resnet50", {22.85, kImageNet, kTenCrop}},
      {"resnet101", {21.75, kImageNet, kTenCrop}},
      {"resnet152", {21.43, kImageNet, kTenCrop}},
  };
  const auto found = kErrors.find(model);
  return found == kErrors.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace residuum
