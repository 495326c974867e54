// The numbers of tests/golden/make_golden.py: the same weights, images and labels, generated bit for bit, and
// the digests with which results are compared. Weights are in torch's layout (convolutions O,I,H,W).
#pragma once

#include <fmt/core.h>
#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "engine/graph/graph.h"
#include "tests/reference/reference.h"

namespace residuum {

/// `count` 64-bit words for a name: fnv1a-64, then splitmix64.
std::vector<uint64_t> golden_words(const std::string& name, int64_t count);

/// The value of the parameter or buffer `name` in the engine's layout `shape`.
reference::Tensor golden_parameter(const std::string& name, const Shape& shape);
/// u8 images of a step, N,H,W,3.
reference::Tensor golden_images(int step, int64_t batch, int64_t size);
reference::Tensor golden_labels(int step, int64_t batch, int64_t classes);

/// The persistent values of a training step that begins: golden parameters and buffers, copies rounded, zeros
/// for the optimizer, the first batch.
reference::Tensors golden_start(const Graph& graph);

/// {L2 norm, sum, four samples} of a tensor in the engine's layout, sampled where make_golden.py does.
std::vector<double> golden_digest(const std::string& name, const reference::Tensor& tensor);
/// How far a digest is off: norm and sum relative to the norm, samples relative to the RMS of `count`
/// elements.
double digest_deviation(const std::vector<double>& found, const std::vector<double>& expected, int64_t count);
/// The largest difference relative to the RMS of the expected values; infinite for other lengths or a NaN.
double vector_deviation(const std::vector<double>& found, const std::vector<double>& expected);

/// A JSON file of tests/golden, such as "resnet18.json".
nlohmann::json golden_json(const std::string& name);

}  // namespace residuum
