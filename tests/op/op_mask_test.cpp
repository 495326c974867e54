// ReLU with a mask of one bit an element against the references, and what a NaN does.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/op/op_shapes.h"
#include "tests/support/op_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

using reference::Tensor;

TEST(OpMask, Forward) {
  for (const Shape& shape : kActivationShapes) {
    for (const DType type : activation_types()) {
      OpCase test{to_string(shape), ReluMask{}, {}, {kExact}};
      expect_case(test.input(type, uniform_tensor(shape, 1)));
    }
  }
}

TEST(OpMask, Backward) {
  for (const Shape& shape : kActivationShapes) {
    for (const DType type : activation_types()) {
      OpCase test{to_string(shape), ReluMaskBackward{}, {}, {kExact}};
      const Shape mask{shape[0], shape[1], shape[2], (shape[3] + 7) / 8};
      test.input(type, uniform_tensor(shape, 1));
      expect_case(test.input(DType::kU8, integer_tensor(mask, 2, 256)));
    }
  }
}

TEST(OpMask, AgreesWithActivationBackwardOnEveryKindOfValue) {
  const Tensor values({1, 1, 1, 9}, {NAN, -INFINITY, -2, -1e-7, -0.0, 0, 1e-7, 2, INFINITY});
  for (const DType type : activation_types()) {
    Graph graph;
    const TensorDesc desc{type, values.shape};
    const ValueId src = graph.add_persistent("src", desc, ValueKind::kInput);
    const ValueId d_dst = graph.add_persistent("d_dst", desc, ValueKind::kInput);
    const std::vector<ValueId> relu = graph.add_node("relu", ReluMask{}, {src});
    const ValueId by_mask = graph.add_node("relu", ReluMaskBackward{}, {d_dst, relu[1]})[0];
    const ValueId dst = graph.add_node("relu", Activation{}, {src})[0];
    const ValueId by_value = graph.add_node("relu", ActivationBackward{}, {d_dst, dst})[0];
    graph.outputs = {{"dst", dst}, {"masked", relu[0]}, {"by_mask", by_mask}, {"by_value", by_value}};
    graph.outputs["mask"] = relu[1];
    GraphRun run(graph, test_backend(), Grouping::kSeparate);
    run.write(src, values);
    run.write(d_dst, uniform_tensor(values.shape, 1, 1, 2));
    run.run({});
    EXPECT_EQ(run.read(relu[1]).data, (std::vector<double>{0b11000001, 0b1})) << to_string(type);
    EXPECT_EQ(run.bytes(relu[0]), run.bytes(dst)) << to_string(type);
    EXPECT_EQ(run.bytes(by_mask), run.bytes(by_value)) << to_string(type);
  }
}

}  // namespace
}  // namespace residuum
