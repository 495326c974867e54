// residuum lab: takes networks apart. One file per verb, lab_VERB.cpp; here is what they share.
#include "tools/lab.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "engine/checkpoint/safetensors.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/data/memory_dataset.h"
#include "engine/train/training_setup.h"
#include "engine/train/units.h"
#include "engine/train/weights.h"
#include "models/recipe_model.h"
#include "tools/data_source.h"
#include "tools/environment.h"
#include "tools/exit_codes.h"
#include "tools/output.h"
#include "tools/weights_shape.h"

namespace residuum {
namespace {

/// The first `limit` images of a split; 0: all.
std::unique_ptr<Dataset> open_data(const std::string& split, int64_t limit, Recipe& recipe) {
  std::unique_ptr<Dataset> data = open_split(recipe, split == "train" ? Split::kTrain : Split::kTest);
  if (limit == 0 || limit >= data->size()) return data;
  return subset(std::shared_ptr<const Dataset>(std::move(data)), 0, limit);
}

/// One black image, of the shape and classes that the weights were trained for, else of the model's own.
std::unique_ptr<Dataset> black_image(const ModelSource& source) {
  const GraphRequest own = published_request(source.recipe, Mode::kEval, 1);
  WeightsShape shape{own.image.channels, own.classes, own.image.height};
  if (!source.weights.empty()) shape = weights_shape(source.recipe, SafetensorsFile::read(source.weights));
  const ImageShape image{shape.size, shape.size, static_cast<int>(shape.channels)};
  return std::make_unique<MemoryDataset>(MemoryDataset::Contents{
      image,
      std::vector<uint8_t>(static_cast<size_t>(image.height * image.width * image.channels)),
      {0},
      numbered_classes(static_cast<int>(shape.classes)),
      {}});
}

}  // namespace

void add_lab_options(const Command& command, LabArguments& arguments) {
  add_model_source(command, arguments.source);
  arguments.source.keys.add_to(command, {kModelFlag,
                                         kDataFlag,
                                         {"--eval-batch", "train.eval_batch", "train.eval_batch"},
                                         kPrecisionFlag,
                                         kThreadsFlag});
  command
      .add_option("--split", arguments.split,
                  "test or train; default: train where the verb trains, else test")
      .one_of({"test", "train"});
  command.add_option("--limit", arguments.limit, "Use the first N images only; 0: all")
      .not_negative()
      .show_default();
  command.add_option("--seed", arguments.seed, "Of random choices").show_default();
  add_device_options(command, arguments.device);
  Option out = command.add_option("--out", arguments.out, "Where the results go: JSON, CSV and a page")
                   .type_name("DIR");
  add_png_option(command, out, arguments.png);
  command.add_flag("--json", arguments.json, "For programs");
}

void add_png_option(const Command& command, Option out, bool& png) {
  command.add_flag("--png", png, "Also write each figure as PNG; needs Chromium").needs(out);
}

void add_batch_options(const Command& command, int64_t& batch, int64_t& batches) {
  command.add_option("--batch", batch, "Images in a batch").positive().show_default();
  command.add_option("--batches", batches, "Batches looked at").positive().show_default();
}

LabSession::LabSession(const LabArguments& arguments, WeightsNeed need, DataNeed data_need)
    : source_(find_model_source(arguments.source, need)), data_need_(data_need), split_(arguments.split) {
  if (split_.empty()) split_ = data_need == DataNeed::kTraining ? "train" : "test";
  if (arguments.png) check_can_draw();
  Recipe& recipe = source_.recipe;
  data_ = data_need == DataNeed::kWeightsAlone ? black_image(source_)
                                               : open_data(split_, arguments.limit, recipe);
  check_combinations(recipe);
  backend_ = open_device(arguments.device, recipe.train);
  device_ = backend_->describe();
  state_ = std::make_unique<State>(*backend_);
  subject_ = std::make_unique<Subject>(
      Subject{recipe.model.name, model_builder(recipe), recipe, *data_, *backend_, *state_});
  const SampleBatches one = sample_batches(*subject_, 1, 1, arguments.seed);
  state_->add(forward_graph(*subject_, Mode::kTrain, one), static_cast<uint64_t>(recipe.train.seed));
  if (!source_.weights.empty()) import_weights(*state_, SafetensorsFile::read(source_.weights));
  if (!arguments.out.empty()) make_directories(arguments.out);  // before the work, which may take hours
}

nlohmann::ordered_json LabSession::head(const std::string& analysis) const {
  nlohmann::ordered_json json = {
      {"analysis", analysis}, {"model", source_.recipe.model.name}, {"weights", source_.weights.string()}};
  if (source_.weights.empty()) json["weights"] = nullptr;
  if (data_need_ != DataNeed::kWeightsAlone) {
    json["data"] = source_.recipe.data.path;
    json["split"] = split_;
    json["samples"] = data_->size();
  }
  json["device"] = device_;
  return json;
}

Page LabSession::page(const std::string& title) const {
  const Recipe& recipe = source_.recipe;
  std::vector<std::pair<std::string, std::string>> facts = {
      {"model", recipe.model.name}, {"weights", has_weights() ? source_.weights.string() : "as initialised"}};
  if (data_need_ != DataNeed::kWeightsAlone) {
    facts.emplace_back("data", fmt::format("{} split of {}, {} images", split_, recipe.data.path,
                                           count_text(data_->size())));
  }
  facts.emplace_back("device", device_);
  std::ranges::copy(program_facts(), std::back_inserter(facts));
  Page page(title, recipe.model.name);
  page.facts(std::move(facts));
  return page;
}

void lab_progress(const std::string& text) {
  std::fprintf(stderr, "%s\n", text.c_str());
}

std::string to_text(const Table& table) {
  const auto text_of = [](const Cell& cell) {
    return cell.note.empty() ? cell.text : fmt::format("{} ({})", cell.text, cell.note);
  };
  std::vector<size_t> widths;
  for (size_t c = 0; c < table.columns.size(); ++c) {
    widths.push_back(table.columns[c].size());
    for (const std::vector<Cell>& row : table.rows) widths[c] = std::max(widths[c], text_of(row[c]).size());
  }
  std::string text;
  const auto append = [&](size_t column, const std::string& cell) {
    text += column == 0 ? fmt::format("{:<{}}", cell, widths[column])
                        : fmt::format("  {:>{}}", cell, widths[column]);
  };
  for (size_t c = 0; c < widths.size(); ++c) append(c, table.columns[c]);
  text += '\n';
  for (const std::vector<Cell>& row : table.rows) {
    for (size_t c = 0; c < widths.size(); ++c) append(c, text_of(row[c]));
    text += '\n';
  }
  return text;
}

void finish_analysis(const LabArguments& arguments, Analysis analysis) {
  if (!arguments.out.empty()) {
    const std::filesystem::path out = arguments.out;
    make_directories(out);
    write_file_atomically(out / (analysis.name + ".json"), json_text(analysis.json, 2) + "\n");
    analysis.page.write_csv(out / (analysis.name + "-csv"));
    if (can_write_pages()) {
      analysis.page.listing("Command line", fmt::format("{}\n", fmt::join(process_command_line(), " ")));
      analysis.page.write(out / (analysis.name + ".html"));
      if (arguments.png) analysis.page.write_png(out / (analysis.name + "-png"));
    } else {
      lab_progress("this build has no chart library: no page was written");
    }
  }
  if (arguments.json) {
    print_json(analysis.json);
  } else {
    print_result(analysis.text);
  }
}

Verb lab_verb(const Command& program) {
  const Command command = program.add_command("lab", "Takes networks apart: lesions, paths, gradients");
  command.require_command();
  command.footer(
      "Examples:\n"
      "  residuum lab lesion --run runs/a --out lab/a\n"
      "  residuum lab paths --model cifar_resnet110 --count-only\n"
      "  residuum lab lesion --help");
  const std::vector<Verb> verbs = {
      lab_lesion_verb(command),      lab_shuffle_verb(command),       lab_paths_verb(command),
      lab_gradients_verb(command),   lab_response_verb(command),      lab_iteration_verb(command),
      lab_lambda_verb(command),      lab_singularities_verb(command), lab_pairing_verb(command),
      lab_degradation_verb(command), lab_shortcuts_verb(command),     lab_placements_verb(command)};
  return {command, [verbs] { return run_given(verbs); }};
}

}  // namespace residuum
