// A model's state as the tensors of a file: torch's names and layouts for weights, the engine's own for
// training states.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "engine/checkpoint/safetensors.h"
#include "engine/exec/state.h"

namespace residuum {

/// Tensors together with the memory their data points into.
struct TensorFileContent {
  std::vector<StoredTensor> tensors;
  std::deque<std::vector<std::byte>> storage;
};

/// Parameters and running statistics with torch's names, shapes (O,I,H,W) and order, each batch norm's
/// "num_batches_tracked" (0-d I64) set to `batches_tracked`. `prefix` names the copy to export: "" or "ema.";
/// of values without such a copy the plain ones.
TensorFileContent export_weights(const State& state, const std::string& prefix, int64_t batches_tracked);

/// Names of classes, in label order, as metadata of a weights file: kClassesKey -> a list in JSON.
inline constexpr const char* kClassesKey = "classes";
std::string class_names_text(const std::vector<std::string>& names);
/// Those of a file; none when it has none, or what it has is no such list.
std::vector<std::string> class_names(const SafetensorsFile& file);

/// A tensor by its name, or by that with the prefix of PyTorch's DistributedDataParallel; null if absent.
const StoredTensor* find_weight(const SafetensorsFile& file, const std::string& name);

/// The inverse for `prefix` "": every parameter and buffer of `state` from a torch-style file (an optional
/// "module." prefix is accepted). Throws Error(kCheckpoint) as match_state_dict for tensors that are
/// missing, extra or do not fit; loads nothing then.
void import_weights(State& state, const SafetensorsFile& file);

/// The same for a start of training. The tensors named in `head`, a last layer, may have another first extent
/// in the file, for other classes: then all of them stay as they are, and the result is false.
bool import_initial_weights(State& state, const SafetensorsFile& file, const std::vector<std::string>& head);

/// Every value of `state` as it lies in memory, but the copies of parameters, which follow from those, and
/// sums over micro-steps, which mean nothing between two steps.
TensorFileContent export_state(const State& state);
/// The inverse; throws Error(kCheckpoint) as import_weights.
void import_state(State& state, const SafetensorsFile& file);

}  // namespace residuum
