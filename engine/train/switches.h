// What a step can do without, by names that plan and recipes share: passes over the graph, kinds of fusions
// of a backend, and choices of plan and backend. Those that right results need are refused (Pass::needed);
// fusions and most other passes decide how results are rounded.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/check.h"
#include "engine/exec/plan.h"
#include "engine/graph/passes.h"

namespace residuum {

/// Changes `plan` as the names among `off` say that are choices of a plan: "group", "memory_reuse",
/// "second_stream". Other names say nothing here.
PlanOptions plan_options(const std::vector<std::string>& off, PlanOptions plan = {});

/// The same for a backend: kinds of fusions, "dependent_launch".
BackendOptions backend_options(const std::vector<std::string>& off, BackendOptions backend = {});

/// Throws Error(kind) naming all there are for a name that is no pass, kind of fusions or choice.
void check_switches(const std::vector<std::string>& off, ErrorKind kind);

/// Throws Error(kind) when `off`, the value of `option`, has one of the passes that this training step cannot
/// do without.
void check_needed_passes(const std::vector<Pass>& passes, const std::vector<std::string>& off,
                         std::string_view option, ErrorKind kind);

/// run_passes without the passes among `off`.
Graph run_passes_without(const std::vector<std::string>& off, Graph graph, const std::vector<Pass>& passes);

/// Those of `off` that change how results are rounded.
std::vector<std::string> deciding_switches(std::vector<std::string> off);

/// A line for each name, for help texts.
std::string describe_switches();

}  // namespace residuum
