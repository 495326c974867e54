// residuum summary: the layers of a model with shapes, parameters, multiply-accumulates and activation bytes.
#include "models/summary.h"

#include <memory>

#include "models/zoo.h"
#include "tools/exit_codes.h"
#include "tools/model_arguments.h"
#include "tools/output.h"
#include "tools/verbs.h"

namespace residuum {
namespace {

struct SummaryOptions {
  ModelArguments model;
  bool json = false;
};

int show_summary(const SummaryOptions& options) {
  const Graph graph = build_model(options.model.name, model_options(options.model));
  const Summary summary = summarize(graph, options.model.name);
  print_result(options.json ? to_json(summary) + "\n" : to_text(summary));
  return kExitOk;
}

}  // namespace

Verb summary_verb(const Command& program) {
  const Command command = program.add_command("summary", "Layers, parameters and cost of a model");
  const auto options = std::make_shared<SummaryOptions>();
  add_model_arguments(command, options->model);
  command.add_flag("--json", options->json, "For programs");
  command.footer(
      "Examples:\n"
      "  residuum summary resnet50\n"
      "  residuum summary cifar_resnet110 --shortcut B --json\n\n" +
      describe_models());
  return {command, [options] { return show_summary(*options); }};
}

}  // namespace residuum
