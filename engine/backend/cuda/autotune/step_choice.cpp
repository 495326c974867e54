#include "engine/backend/cuda/autotune/step_choice.h"

#include <algorithm>

#include "engine/backend/cuda/fusion/fusion.h"
#include "engine/core/check.h"
#include "engine/core/log.h"

namespace residuum::cuda {
namespace {

/// The library, or null with a message when it was not asked for by name.
template <typename Library>
std::unique_ptr<Library> open_library(bool asked, const std::function<std::unique_ptr<Library>()>& open) {
  try {
    return open();
  } catch (const Error& error) {
    if (asked) throw;
    log_info("autotuner: without a library: {}", error.what());
    return nullptr;
  }
}

/// Under what the measured times hold.
AutotuneCache::Header cache_header(const Device& device, const Libraries& libraries) {
  return {{"device", device.describe()},
          {"kernels", std::to_string(kKernelRevision)},
          {"cublas", libraries.cublas ? libraries.cublas->version() : "none"},
          {"cudnn", libraries.cudnn ? libraries.cudnn->version() : "none"}};
}

bool has_linear(const Graph& graph, const Group& group) {
  return std::any_of(group.nodes.begin(), group.nodes.end(), [&](NodeId id) {
    const Op& op = graph.node(id).op;
    return std::holds_alternative<Linear>(op) || std::holds_alternative<LinearBackwardData>(op) ||
           std::holds_alternative<LinearBackwardFilter>(op);
  });
}

}  // namespace

StepChoice::StepChoice(Device* device, const BackendOptions& options) {
  options_.f32_math = options.tf32 ? kernels::F32Math::kTf32 : kernels::F32Math::kTf32x3;
  for (const FusionKind& kind :
       fusion_kinds()) {  // other names are no business of the autotuner's signatures
    if (options.fusions_off.contains(kind.name)) options_.fusions_off.insert(kind.name);
  }
  if (options.cublas && !options.autotune) options_.fusions_off.insert("linear_bias");  // cuBLAS adds none
  if (device == nullptr) return;
  if (options.cublas || options.autotune) {
    cublas_ = open_library<Cublas>(options.cublas, [&] { return open_cublas(*device); });
  }
  if (options.cudnn || options.autotune) cudnn_ = open_library<Cudnn>(options.cudnn, open_cudnn);
  if (options.autotune) {
    const Libraries libraries{cudnn_.get(), cublas_.get()};
    autotuner_ = std::make_unique<Autotuner>(
        *device, AutotuneCache(options.autotune_cache, cache_header(*device, libraries)),
        make_event_stopwatch(*device));
  } else {
    options_.cublas = cublas_.get();
  }
}

Candidate StepChoice::steps_of(const Graph& graph, const Group& group) {
  const bool may_choose = autotuner_ != nullptr || cudnn_ != nullptr;
  if (!may_choose) {
    const bool cublas = options_.cublas != nullptr && has_linear(graph, group);
    return {cublas ? "cublas" : "own", make_steps(graph, group, options_), {}};
  }
  const Libraries libraries{cudnn_.get(), autotuner_ ? cublas_.get() : nullptr};
  std::vector<Candidate> candidates = candidates_of(graph, group, options_, libraries);
  if (autotuner_) {
    return std::move(candidates[autotuner_->choose(graph, group, candidates, options_)]);
  }
  for (Candidate& candidate : candidates) {
    if (candidate.name == "cudnn") return std::move(candidate);
  }
  return std::move(candidates.front());
}

std::string StepChoice::describe() const {
  std::string text;
  if (cublas_) text += ", " + cublas_->version();
  if (cudnn_) text += ", " + cudnn_->version();
  if (autotuner_) text += ", " + autotuner_->summary();
  return text;
}

void StepChoice::stop_measuring() {
  if (autotuner_) autotuner_->stop_measuring();
}

}  // namespace residuum::cuda
