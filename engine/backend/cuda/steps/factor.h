// A factor of products on tensor cores. These multiply factors of one type: what comes as f32 beside 16-bit
// activations (master weights, the gradient of f32 logits) is first rounded to their type in the step's
// scratch.
#pragma once

#include "engine/backend/cuda/steps/steps.h"
#include "engine/core/check.h"

namespace residuum::cuda {

/// A factor of the products: as it is, or a copy of another type in scratch.
class Factor {
 public:
  Factor(const StepSource& source, const TensorDesc& desc, kernels::Element wanted)
      : rows_(source.rows(desc)), wanted_(wanted) {
    check(rows_.type == wanted || rows_.type == kernels::Element::kF32, ErrorKind::kDevice,
          "node '{}' ({}): CUDA multiplies {} with its own type or f32, not with what it has here",
          source.node.name, op_name(source.node.op), to_string(desc.dtype));
  }
  size_t scratch_bytes() const {
    if (rows_.type == wanted_) return 0;
    const size_t bytes = static_cast<size_t>(rows_.elements()) * kernels::size_of(wanted_);
    return aligned(bytes);
  }
  /// The copy and its kernel.
  Cost cost() const {
    if (rows_.type == wanted_) return {};
    return written_and_read(static_cast<size_t>(rows_.elements()) * kernels::size_of(wanted_)) +
           more_launches(1);
  }
  /// The factor at `address`, in the wanted type.
  const void* ready(const std::byte* address, std::byte* scratch, kernels::Stream stream) const {
    if (rows_.type == wanted_) return address;
    kernels::cast(rows_, address, wanted_, scratch, stream);
    return scratch;
  }

 private:
  kernels::Rows rows_;
  kernels::Element wanted_;
};

}  // namespace residuum::cuda
