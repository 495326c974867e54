// What a step costs by counting: every input that has an address read once, every output that has one written
// once, and what the step says of its kernels besides (Step::beside). Bytes are distinct bytes of device
// memory for each kernel: what a cache serves counts once. Invariant: tests/cuda/cuda_cost_test.cpp holds
// this against the bytes that the emulator sees each launch touch.
#pragma once

#include "engine/graph/cost.h"
#include "engine/graph/graph.h"
#include "engine/graph/group.h"
#include "kernels/launch.h"

namespace residuum::cuda {

struct Step;

/// The cost of a step of `group` in bytes and kernel launches; operations are not counted.
Cost step_cost(const Graph& graph, const Group& group, const Step& step);

/// The sum of two costs.
Cost operator+(Cost a, const Cost& b);

// What stands in Step::beside: bytes besides inputs and outputs, or, negative, what kernels leave alone.

/// Bytes that kernels write and read again: a workspace, a copy in scratch.
Cost written_and_read(size_t bytes);
/// Bytes read besides the inputs (negative: parts of them that are not read).
Cost also_read(int64_t bytes);
/// Bytes written besides the outputs: values updated in place.
Cost also_written(int64_t bytes);
/// Kernel launches besides the first.
Cost more_launches(int64_t count);
/// A sum whose last block finishes it: the partial results in its workspace, and its counter.
Cost ordered_sum(size_t workspace);

/// Which part of src a convolution leaves alone, forward and backward-filter: pixels between windows of a
/// stride larger than the kernel, and behind the last window.
Cost unread_src(const ConvShape& shape, size_t element_bytes);
/// The same of a pool.
Cost unread_src(const PoolShape& shape, size_t element_bytes);
/// Which part of d_dst and of the weights backward-data leaves alone: windows that lie in the padding, and
/// kernel elements that meet no pixel of a source smaller than the stride.
Cost unread_d_dst_and_weight(const ConvShape& shape, size_t element_bytes);

}  // namespace residuum::cuda
