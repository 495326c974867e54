// The files built into every page: Apache ECharts, and this folder's charts.js, page.js and page.css.
#pragma once

#include <string_view>

namespace residuum {

/// echarts.min.js; empty when CMake did not find it (RESIDUUM_ECHARTS).
std::string_view chart_library();
std::string_view chart_script();
std::string_view page_script();
std::string_view page_style();

}  // namespace residuum
