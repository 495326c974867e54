#include "engine/backend/cuda/steps/step_cost.h"

#include <algorithm>
#include <set>

#include "engine/backend/cuda/launch/cuda_launch.h"

namespace residuum::cuda {
namespace {

int64_t addressed_bytes(const Graph& graph, const Group& group, const std::vector<ValueId>& ids) {
  int64_t bytes = 0;
  for (const ValueId id : std::set<ValueId>(ids.begin(), ids.end())) {
    const bool internal = std::find(group.internal.begin(), group.internal.end(), id) != group.internal.end();
    if (!internal) bytes += static_cast<int64_t>(graph.desc(id).bytes());
  }
  return bytes;
}

/// Sliding windows along one extent.
struct Windows {
  int64_t in, window, stride, pad;

  int64_t outputs() const { return window_output(in, window, stride, pad); }
  /// Positions in [0, in) that some window covers.
  int64_t covered() const {
    int64_t count = 0, free = 0;  // every position below `free` is counted or behind a gap
    for (int64_t i = 0; i < outputs(); ++i) {
      const int64_t first = std::max(i * stride - pad, free), end = std::min(i * stride - pad + window, in);
      if (end > first) count += end - first;
      free = std::max(free, end);
    }
    return count;
  }
  /// Windows that cover a position.
  int64_t in_use() const {
    int64_t count = 0;
    for (int64_t i = 0; i < outputs(); ++i) {
      const int64_t first = i * stride - pad;
      if (first < in && first + window > 0) ++count;
    }
    return count;
  }
  /// Window elements that backward-data reads: those of the positions' residues modulo the stride.
  int64_t elements_in_use() const {
    const int64_t residues = std::min(in, stride);
    int64_t count = 0;
    for (int64_t r = 0; r < window; ++r) {
      const int64_t residue = ((r - pad) % stride + stride) % stride;
      if (residue < residues) ++count;
    }
    return count;
  }
};

struct Image {
  Windows rows, columns;

  explicit Image(const ConvShape& s) : rows{s.h, s.r, s.stride, s.pad}, columns{s.w, s.s, s.stride, s.pad} {}
  explicit Image(const PoolShape& s)
      : rows{s.h, s.window, s.stride, s.pad}, columns{s.w, s.window, s.stride, s.pad} {}
  int64_t uncovered() const { return rows.in * columns.in - rows.covered() * columns.covered(); }
};

}  // namespace

Cost step_cost(const Graph& graph, const Group& group, const Step& step) {
  const Cost whole{addressed_bytes(graph, group, step.inputs), addressed_bytes(graph, group, step.outputs), 0,
                   1};
  return whole + step.beside;
}

Cost operator+(Cost a, const Cost& b) {
  return a += b;
}

Cost written_and_read(size_t bytes) {
  const auto count = static_cast<int64_t>(bytes);
  return {count, count, 0, 0};
}
Cost also_read(int64_t bytes) {
  return {bytes, 0, 0, 0};
}
Cost also_written(int64_t bytes) {
  return {0, bytes, 0, 0};
}
Cost more_launches(int64_t count) {
  return {0, 0, 0, count};
}
Cost ordered_sum(size_t workspace) {
  return written_and_read(workspace + sizeof(unsigned));
}

Cost unread_src(const ConvShape& shape, size_t element_bytes) {
  return also_read(-Image(shape).uncovered() * shape.n * shape.c * static_cast<int64_t>(element_bytes));
}
Cost unread_src(const PoolShape& shape, size_t element_bytes) {
  return also_read(-Image(shape).uncovered() * shape.n * shape.c * static_cast<int64_t>(element_bytes));
}
Cost unread_d_dst_and_weight(const ConvShape& shape, size_t element_bytes) {
  const Image image(shape);
  const int64_t d_dst =
      shape.n * shape.k * (shape.p() * shape.q() - image.rows.in_use() * image.columns.in_use());
  const int64_t taps = shape.r * shape.s - image.rows.elements_in_use() * image.columns.elements_in_use();
  const int64_t weight = shape.k * (shape.c / shape.groups) * taps;
  return also_read(-(d_dst + weight) * static_cast<int64_t>(element_bytes));
}

}  // namespace residuum::cuda
