// The HTML page of bench kernels.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

namespace residuum {

/// Roofline, bars for each layer and all rows of a report of bench kernels. Throws Error(kConfig) when this
/// build has no chart library, and Error(kIo).
void write_kernels_page(const nlohmann::ordered_json& report, const std::filesystem::path& file);

}  // namespace residuum
