// What a model is to the zoo: a name, the defaults it was published with, and a function that writes its net.
// Invariant: a net honours every option it is given or throws Error(kConfig) naming model, option and what is
// allowed; none is ignored.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/builder.h"
#include "engine/train/model_choice.h"
#include "models/residual_block.h"

namespace residuum {

/// What can be asked of a model; zero, empty or nothing means the model's own value.
struct ModelOptions {
  Mode mode = Mode::kTrain;
  DType activation = DType::kF32;
  int64_t batch = 1;
  int64_t image_size = 0;  ///< height and width
  int64_t channels = 0;    ///< of the images: 3 by default
  int64_t classes = 0;
  std::vector<float> mean, std;    ///< per image channel; own: those of the data set, or .5 and .5 unless RGB
  float label_smoothing = 0;       ///< in [0, 1)
  bool zero_init_gamma = false;    ///< the last gamma of every branch starts at 0; original placement only
  bool v1 = false;                 ///< a bottleneck's stride on its first 1x1 (the paper) instead of its 3x3
  std::optional<BlockKind> block;  ///< CIFAR nets whose depth is both 6n+2 and 9n+2
  std::optional<ShortcutKind> shortcut;           ///< residual nets: any but kPlain
  ZeroChannels zeros = ZeroChannels::kBothSides;  ///< kEnd: with shortcut A only
  std::optional<Placement> placement;
  ShortcutGate gate = ShortcutGate::kOff;
  std::optional<double> gate_bias;  ///< at the start, of `gate` or of a highway net's transform gates
  double shortcut_scale = 1, branch_scale = 1;
  double shortcut_dropout = 0;    ///< in [0, 1)
  double survival = 1;            ///< see JoinStyle
  int64_t sampled_blocks = 0;     ///< see JoinStyle
  std::optional<double> dropout;  ///< in [0, 1): of the model's own dropouts
  LayerFunction function = LayerFunction::kRelu;
  bool batch_norm = true;
  CarryGate carry = CarryGate::kCoupled;
  double compression = 0;  ///< theta of a densely connected net's transitions, in (0, 1]
  double init_scale = 1;   ///< factor on the random initial weights
};

/// Data a model was published for.
struct ModelDefaults {
  int64_t image_size = 0, classes = 0;
  std::vector<float> mean, std;  ///< RGB, of images in [0, 1]
};

/// ILSVRC 2012 at 224x224: mean and std as in torchvision's references.
ModelDefaults imagenet_defaults();
/// CIFAR-10 at 32x32: mean and std of its training images.
ModelDefaults cifar_defaults();

/// Of 28x28 grey images; mean and std of MNIST's training images.
ModelDefaults mnist_defaults();

struct Model {
  std::string name;
  ModelDefaults defaults;
  /// Names of the options below `label_smoothing` in ModelOptions that it has: of any other it is asked in
  /// vain.
  std::vector<std::string_view> options;
  /// Writes the net from normalised images N,H,W,C to logits; the options' zero values are already resolved.
  std::function<ValueId(GraphBuilder&, const ModelOptions&, ValueId images)> net;
};

/// The model of that name if it belongs to the family: resnet*, wide_*, resnext*, plain*; see each file.
/// Families with free numbers throw Error(kConfig) for those they do not have.
std::optional<Model> find_resnet(std::string_view name);
std::optional<Model> find_preactivation_resnet(std::string_view name);
std::optional<Model> find_cifar_resnet(std::string_view name);
std::optional<Model> find_wide_resnet(std::string_view name);
std::optional<Model> find_densenet(std::string_view name);
std::optional<Model> find_highway(std::string_view name);

/// Names of a family's published members.
std::vector<std::string> resnet_names();
std::vector<std::string> preactivation_resnet_names();
std::vector<std::string> cifar_resnet_names();
std::vector<std::string> wide_resnet_names();
std::vector<std::string> densenet_names();
std::vector<std::string> highway_names();

}  // namespace residuum
