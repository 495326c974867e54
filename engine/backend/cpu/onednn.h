// A thin layer over oneDNN that hides the difference between version 2 (operation descriptors) and version 3.
// Every primitive runs in one thread with a scratchpad of ours; activations are N,H,W,C, packed weights
// oneDNN's choice.
#pragma once

#include <dnnl.hpp>
#include <string>
#include <vector>

#include "engine/core/tensor.h"
#include "kernels/shapes.h"

namespace residuum::cpu::onednn {

const dnnl::engine& engine();
/// "oneDNN 2.6.3".
std::string version();

enum class ConvDirection { kForward, kBackwardData, kBackwardFilter };

/// A convolution in one direction: src and dst (or their gradients) in N,H,W,C, weights (or their gradient)
/// packed.
struct ConvPrimitive {
  dnnl::primitive primitive;
  dnnl::memory::desc src, weights, dst, scratchpad;
};

/// Throws Error(kDevice) when this processor cannot run the element type.
ConvPrimitive make_conv(ConvDirection direction, const ConvShape& shape, DType type);

/// The engine's K,R,S,C/groups weight (f32 or bf16) seen as oneDNN's (groups,) O,I,H,W.
dnnl::memory::desc plain_weights(const ConvShape& shape, DType type);

/// How many output channels a packed weight (no groups) keeps together, when it is laid out output channel
/// block by output channel block and none is padding; else 0.
int64_t output_channel_block(const dnnl::memory::desc& weights);

/// A memory object without an address; set it with set_address.
dnnl::memory unbound(const dnnl::memory::desc& desc);
void set_address(dnnl::memory& memory, void* address);

/// A primitive and its arguments, executed without allocating.
class Call {
 public:
  Call() = default;
  Call(dnnl::primitive primitive, std::vector<std::pair<int, dnnl::memory>> arguments);
  /// Sets the address of argument number `i`, in the order given to the constructor.
  void set(size_t i, void* address) { set_address(memories_[i], address); }
  /// Throws Error(kDevice) with oneDNN's status.
  void execute() const;

 private:
  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
};

/// A copy between layouts and element types.
Call reorder(const dnnl::memory::desc& from, const dnnl::memory::desc& to);

}  // namespace residuum::cpu::onednn
