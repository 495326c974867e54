// The page of a training run, or of several beside each other: curves, results, recipe and environment.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "tools/page/page.h"
#include "tools/run_record.h"

namespace residuum {

/// Precondition: at least one run.
Page run_page(const std::vector<RunRecord>& runs);

/// The results of the page's table, for programs: one object a run; null for what a run has not.
nlohmann::ordered_json run_results(const std::vector<RunRecord>& runs);

}  // namespace residuum
