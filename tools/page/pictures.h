// The figures of a page as PNG: drawn by the page's own script, which Chromium runs without a window.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace residuum {

/// Chromium or Google Chrome: the file that RESIDUUM_CHROMIUM names, else the first found on PATH. Throws
/// Error(kConfig) that says how to get one when there is none.
std::filesystem::path find_chromium();

/// The bytes of a PNG for each figure of a page, in its order. Throws as find_chromium(), and Error(kIo) when
/// the browser fails or does not give `figures` of them.
std::vector<std::string> draw_pictures(const std::string& html, size_t figures);

}  // namespace residuum
