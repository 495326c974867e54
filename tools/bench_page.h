// The HTML pages of benchmarks.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

namespace residuum {

/// Roofline, bars for each layer and all rows of a report of bench kernels. Throws Error(kConfig) when this
/// build has no chart library, and Error(kIo).
void write_kernels_page(const nlohmann::ordered_json& report, const std::filesystem::path& file);

/// All reports in a folder (*.json of the kinds of bench/results.h) with their tables, rooflines of
/// kernels and bars of peers. Throws as above, and Error(kData) when there is none.
void write_results_page(const std::filesystem::path& directory, const std::filesystem::path& file);

}  // namespace residuum
