// The model zoo: every model by name, as a whole forward graph from u8 images to logits and loss.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/graph/graph.h"
#include "models/model.h"

namespace residuum {

/// The forward graph of a model: inputs "images" u8 N,H,W,C and "labels" i32 N, normalisation, the net;
/// outputs "logits" f32 N,classes, "loss" and "counts". Throws Error(kConfig) naming the nearest models for
/// an unknown name, or model, option, value found and value allowed for an option out of range or one that
/// the model does not have.
Graph build_model(std::string_view name, const ModelOptions& options);

/// Image size, classes and normalisation that a model was published with. Throws as build_model for the name.
ModelDefaults model_defaults(std::string_view name);

/// The published models, for help texts; the CIFAR families have every other depth too (see model_patterns).
std::vector<std::string> model_names();

/// Families with free numbers: "cifar_resnetN, cifar_plainN, cifar_preresnetN (N = 6n+2 or 9n+2), ...".
std::string model_patterns();

}  // namespace residuum
