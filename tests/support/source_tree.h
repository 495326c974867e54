// Where the files are that tests read from the source tree.
#pragma once

#include <filesystem>

namespace residuum {

/// The top of the sources that the tests were built from.
std::filesystem::path source_tree();

}  // namespace residuum
