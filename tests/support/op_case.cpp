#include "tests/support/op_case.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <exception>

namespace residuum {
namespace {

using reference::Tensor;
using reference::Tensors;

/// A graph of the case's node alone.
Graph graph_of(const OpCase& test) {
  Graph graph;
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < test.inputs.size(); ++i) {
    const OpInput& input = test.inputs[i];
    inputs.push_back(
        graph.add_persistent(fmt::format("input{}", i), {input.dtype, input.value.shape}, ValueKind::kInput));
  }
  for (const ValueId id : graph.add_node("node", test.op, inputs)) graph.outputs[graph.value(id).name] = id;
  return graph;
}

/// What the backend left in every value, after one run.
std::vector<std::vector<std::byte>> run_once(const OpCase& test, const Graph& graph, GraphRun& run) {
  for (size_t i = 0; i < test.inputs.size(); ++i) run.write(static_cast<ValueId>(i), test.inputs[i].value);
  run.run(test.params);
  std::vector<std::vector<std::byte>> bytes;
  for (size_t id = 0; id < graph.values.size(); ++id) bytes.push_back(run.bytes(static_cast<ValueId>(id)));
  return bytes;
}

void expect_reference(const OpCase& test, const Graph& graph,
                      const std::vector<std::vector<std::byte>>& found) {
  Tensors expected(graph.values.size());
  for (size_t i = 0; i < test.inputs.size(); ++i) expected[i] = test.inputs[i].value;
  run_reference(graph, expected, test.params);
  for (size_t id = 0; id < graph.values.size(); ++id) {
    const bool output = id >= test.inputs.size();
    const size_t index = output ? id - test.inputs.size() : test.tolerances.size() - 1;
    const bool changed = output || op_domain(test.op) == OpDomain::kWhole;
    const Tolerance& tolerance =
        changed ? test.tolerances[std::min(index, test.tolerances.size() - 1)] : kExact;
    const TensorDesc& desc = graph.values[id].desc;
    if (test.rounded) expected[id] = rounded_to(desc.dtype, expected[id]);
    EXPECT_TRUE(matches(decode(found[id], desc), expected[id], tolerance, test.scale))
        << graph.values[id].name;
  }
}

void expect_reference_and_bits(const OpCase& test) {
  const Graph graph = graph_of(test);
  std::vector<std::vector<std::byte>> first;
  const auto expect_variant = [&](const Variant& variant) {
    GraphRun run(graph, *variant.backend, Grouping::kSeparate);
    for (int turn = 0; turn < variant.runs; ++turn) {
      const auto bytes = run_once(test, graph, run);
      if (first.empty()) {
        first = bytes;
        expect_reference(test, graph, first);
      }
      EXPECT_EQ(bytes, first) << "other bits: " << variant.name << ", run " << turn;
    }
    EXPECT_EQ(run.overruns(), std::vector<std::string>{}) << variant.name;
  };
  for_each_variant(expect_variant, test.variants);
}

}  // namespace

OpCase& OpCase::input(DType dtype, const Tensor& value) {
  inputs.push_back({dtype, rounded_to(dtype, value)});
  return *this;
}

void expect_case(const OpCase& test) {
  SCOPED_TRACE(fmt::format("{} {} {}", op_name(test.op), test.name, to_string(test.inputs[0].dtype)));
  try {
    expect_reference_and_bits(test);
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
}

Tolerance rounded_tolerance(DType type) {
  if (type == DType::kF16) return kRoundedF16;
  return type == DType::kF32 ? kRoundedF32 : kRoundedBF16;
}

Tolerance summed_tolerance(DType type, int64_t terms) {
  if (type == DType::kF16) return summed_f16(terms);
  return type == DType::kF32 ? summed_f32(terms) : summed_bf16(terms);
}

Tolerance offset_tolerance(DType type) {
  const double step = type == DType::kF32 ? 0x1p-24 : type == DType::kBF16 ? 0x1p-9 : 0x1p-12;
  return {"folded-rounding",
          "the rounding of each element of folded, times its row's sum, with a margin of 8", 0, 8 * step};
}

Tolerance product_tolerance(DType type, DType dst, int64_t terms) {
  return type == DType::kF32 && on_cuda() ? summed_tf32x3(terms) : summed_tolerance(dst, terms);
}

}  // namespace residuum
