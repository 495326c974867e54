// Fitting the tensors of a weights file to the parameters of a model: all of them, or one error that counts
// the misfits and names the first of each kind.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/checkpoint/safetensors.h"

namespace residuum {

/// A tensor the model asks for, by its name and shape in files (torchvision's names, O,I,H,W weights).
struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;
};

struct MatchOptions {
  /// Drops "module." (PyTorch's DistributedDataParallel) from the file's names when all of them start with
  /// it.
  bool strip_module_prefix = true;
  /// Tolerates "*.num_batches_tracked" on one side only: old files lack it, some models ignore it.
  bool optional_num_batches_tracked = true;
};

/// Returns for each expected tensor the file's, in the order of `expected`; null for an absent optional one.
/// "*.num_batches_tracked" must have an integer dtype, any other tensor a floating one. Throws
/// Error(kCheckpoint), one line: how many tensors are missing, extra, mis-shaped and mis-typed, and the first
/// of each with found and expected. Pointers are into `file`.
std::vector<const StoredTensor*> match_state_dict(const std::vector<ExpectedTensor>& expected,
                                                  const SafetensorsFile& file,
                                                  const MatchOptions& options = {});

}  // namespace residuum
