// Option-A shortcut, concatenation and slices: values are moved, so every bit must agree.
#include <gtest/gtest.h>

#include <fmt/core.h>

#include "tests/op/op_shapes.h"
#include "tests/support/op_case.h"
#include "tests/support/random_tensor.h"

namespace residuum {
namespace {

TEST(OpChannels, ShortcutA) {
  for (const Shape& shape : kActivationShapes) {
    for (const ZeroChannels zeros : {ZeroChannels::kBothSides, ZeroChannels::kEnd}) {
      for (const int64_t stride : {1, 2, 3}) {
        for (const int64_t added : {int64_t{0}, shape[3], int64_t{5}}) {
          for (const DType type : activation_types()) {
            const ShortcutA op{stride, shape[3] + added, zeros};
            const std::string name =
                fmt::format("{} stride {} + {} zeros at {}", to_string(shape), stride, added,
                            zeros == ZeroChannels::kEnd ? "the end" : "both sides");
            const reference::Tensor src = uniform_tensor(shape, 1), dst = reference::shortcut_a(op, src);
            OpCase forward{name, op, {}, {kExact}};
            expect_case(forward.input(type, src));
            OpCase backward{name, ShortcutABackward{op, shape}, {}, {kExact}};
            expect_case(backward.input(type, uniform_tensor(dst.shape, 2)));
          }
        }
      }
    }
  }
}

TEST(OpChannels, Concat) {
  for (const std::vector<int64_t>& channels :
       {std::vector<int64_t>{5}, {1, 1}, {16, 16}, {3, 17, 64}, {12, 1, 7, 2, 12}}) {
    for (const Shape& place : kActivationShapes) {
      for (const DType type : activation_types()) {
        OpCase test{fmt::format("{} parts at {}", channels.size(), to_string(place)), Concat{}, {}, {kExact}};
        for (size_t i = 0; i < channels.size(); ++i)
          test.input(type, uniform_tensor({place[0], place[1], place[2], channels[i]}, i + 1));
        expect_case(test);
      }
    }
  }
}

TEST(OpChannels, Slice) {
  for (const Shape& shape : kActivationShapes) {
    const int64_t c = shape[3];
    for (const Slice& op : {Slice{0, c}, Slice{c / 2, c - c / 2}, Slice{c / 3, 1}, Slice{0, (c + 1) / 2}}) {
      for (const DType type : activation_types()) {
        const std::string name =
            fmt::format("{} channels from {} of {}", op.channels, op.first, to_string(shape));
        OpCase forward{name, op, {}, {kExact}};
        expect_case(forward.input(type, uniform_tensor(shape, 1)));
        OpCase backward{name, SliceBackward{op, shape}, {}, {kExact}};
        expect_case(backward.input(type, uniform_tensor({shape[0], shape[1], shape[2], op.channels}, 2)));
      }
    }
  }
}

}  // namespace
}  // namespace residuum
