#include "tests/support/source_tree.h"

namespace residuum {

// The path is compiled into this file alone: objects of the others are the same for every checkout, so that a
// compiler cache serves them all.
std::filesystem::path source_tree() {
  return RESIDUUM_SOURCE_DIR;
}

}  // namespace residuum
