// The distinct bytes of device memory (what cudaMalloc gave) that each kernel launch read and wrote. Only a
// program with the race detector sees accesses; elsewhere all counts are 0.
#pragma once

#include <cstddef>
#include <vector>

namespace residuum::emulator {

struct Traffic {
  size_t bytes_read = 0, bytes_written = 0;  ///< an atomic counts as both
};
/// One for each of launch_records(), kept and cleared with them.
const std::vector<Traffic>& traffic_records();

/// The 8x8 matrices that ldmatrix has loaded, with options().record_launches and since clear_launch_records,
/// and how often shared memory was accessed for them: once for each, and once more for every row that wants
/// banks of another one. In every program.
struct MatrixLoads {
  size_t matrices = 0, accesses = 0;
};
MatrixLoads& matrix_loads();

}  // namespace residuum::emulator
