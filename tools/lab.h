// The verbs of the laboratory, residuum lab VERB, and what they share: which model, which data, where results
// go.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/lab/subject.h"
#include "tools/command.h"
#include "tools/device.h"
#include "tools/model_source.h"
#include "tools/page/page.h"

namespace residuum {

Verb lab_lesion_verb(const Command& lab);
Verb lab_shuffle_verb(const Command& lab);
Verb lab_paths_verb(const Command& lab);
Verb lab_degradation_verb(const Command& lab);
Verb lab_shortcuts_verb(const Command& lab);
Verb lab_placements_verb(const Command& lab);
Verb lab_gradients_verb(const Command& lab);
Verb lab_response_verb(const Command& lab);
Verb lab_iteration_verb(const Command& lab);
Verb lab_lambda_verb(const Command& lab);
Verb lab_singularities_verb(const Command& lab);
Verb lab_pairing_verb(const Command& lab);

struct LabArguments {
  ModelSourceArguments source;
  DeviceOptions device;
  std::string split;  ///< test or train; empty: the verb's own
  std::string out;
  int64_t limit = 0;  ///< images used; 0: all
  uint64_t seed = 1;  ///< of random choices
  bool json = false, png = false;
};

/// Model, weights, data, device and output options.
void add_lab_options(const Command& command, LabArguments& arguments);

/// --png, which needs `out`.
void add_png_option(const Command& command, Option out, bool& png);

/// How a command line's analysis looks at images: --batch and --batches.
void add_batch_options(const Command& command, int64_t& batch, int64_t& batches);

enum class DataNeed : uint8_t {
  kImages,
  kTraining,      ///< images that are trained on: without --split those of the training split
  kWeightsAlone,  ///< the subject has one black image of the right shape, and no data set is opened
};

/// A model ready for analysis. Everything lives as long as this.
class LabSession {
 public:
  /// Opens data and device, makes the state and reads the weights, when there are any. Throws what those
  /// throw.
  LabSession(const LabArguments& arguments, WeightsNeed need, DataNeed data_need = DataNeed::kImages);

  const Subject& subject() const { return *subject_; }
  bool has_weights() const { return !source_.weights.empty(); }
  /// {"analysis", "model", "weights", "data", "split", "samples", "device"}: the head of every result;
  /// without the part on data where none was needed.
  nlohmann::ordered_json head(const std::string& analysis) const;
  /// A page that begins with the same; finish_analysis adds the command line.
  Page page(const std::string& title) const;
  std::string recipe_text() const { return to_toml(source_.recipe); }

 private:
  ModelSource source_;
  DataNeed data_need_;
  std::string split_, device_;
  std::unique_ptr<Dataset> data_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<State> state_;
  std::unique_ptr<Subject> subject_;
};

/// A line of progress on the standard error stream.
void lab_progress(const std::string& text);

/// A table as aligned text; notes stand in brackets.
std::string to_text(const Table& table);

/// What an analysis found, in each form.
struct Analysis {
  std::string name;  ///< of the verb
  nlohmann::ordered_json json;
  std::string text;
  Page page;
};

/// Where --out was given, writes OUT/NAME.json, OUT/NAME-csv/*.csv, when this build can, OUT/NAME.html, and
/// with
/// --png OUT/NAME-png/*.png; prints the JSON with --json, else the text.
void finish_analysis(const LabArguments& arguments, Analysis analysis);

}  // namespace residuum
