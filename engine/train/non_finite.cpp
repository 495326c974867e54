#include "engine/train/non_finite.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/graph/autodiff.h"

namespace residuum {
namespace {

bool all_finite(const TensorDesc& desc, const std::vector<uint8_t>& bytes) {
  const size_t count = static_cast<size_t>(desc.elements());
  for (size_t i = 0; i < count; ++i) {
    if (desc.dtype == DType::kF32) {
      float value;
      std::memcpy(&value, bytes.data() + i * sizeof(float), sizeof(float));
      if (!std::isfinite(value)) return false;
    } else {
      uint16_t value;
      std::memcpy(&value, bytes.data() + i * sizeof(value), sizeof(value));
      const uint16_t exponent = desc.dtype == DType::kBF16 ? 0x7f80 : 0x7c00;
      if ((value & exponent) == exponent) return false;
    }
  }
  return true;
}

}  // namespace

NonFinite find_non_finite(const Graph& forward, Backend& backend, State& state, const StepParams& params,
                          const StepInputs& inputs, float loss_scale) {
  Graph graph = differentiate(forward, {}, loss_scale);
  for (size_t id = 0; id < graph.values.size(); ++id) {
    if (graph.values[id].producer != kNone) graph.outputs[std::to_string(id)] = static_cast<ValueId>(id);
  }
  Executor executor(std::move(graph), backend, state, {{.group = false, .reuse = false}, params.seed, {}});
  for (const auto& [name, bytes] : inputs) executor.write(name, bytes);
  executor.run_micro_step(params);
  for (const Node& node : executor.graph().nodes) {
    for (ValueId id : node.outputs) {
      const TensorDesc& desc = executor.graph().desc(id);
      if (!is_float(desc.dtype) || all_finite(desc, executor.read<uint8_t>(std::to_string(id)))) continue;
      return {executor.graph().value(id).name, std::string(op_name(node.op)),
              node.phase == Phase::kForward ? "forward" : "backward"};
    }
  }
  return {};
}

}  // namespace residuum
