// The verbs of the laboratory, residuum lab VERB, and what they share: which model, which data, where results
// go.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/lab/subject.h"
#include "tools/device.h"
#include "tools/model_source.h"
#include "tools/verbs.h"

namespace residuum {

Verb lab_lesion_verb(CLI::App& lab);
Verb lab_shuffle_verb(CLI::App& lab);
Verb lab_paths_verb(CLI::App& lab);
Verb lab_degradation_verb(CLI::App& lab);
Verb lab_shortcuts_verb(CLI::App& lab);
Verb lab_placements_verb(CLI::App& lab);

struct LabArguments {
  ModelSourceArguments source;
  DeviceOptions device;
  std::string split = "test", out;
  int64_t limit = 0;  ///< images used; 0: all
  uint64_t seed = 1;  ///< of random choices
  bool json = false;
};

/// Model, weights, data, device and output options.
void add_lab_options(CLI::App& command, LabArguments& arguments);

/// A model ready for analysis. Everything lives as long as this.
class LabSession {
 public:
  /// Opens data and device, makes the state and reads the weights, when there are any. Throws what those
  /// throw.
  LabSession(const LabArguments& arguments, WeightsNeed need);

  const Subject& subject() const { return *subject_; }
  const Recipe& recipe() const { return source_.recipe; }
  const std::string& device() const { return device_; }
  /// {"analysis", "model", "weights", "data", "split", "samples", "device"}: the head of every result.
  nlohmann::ordered_json head(const std::string& analysis) const;

 private:
  ModelSource source_;
  std::string split_, device_;
  std::unique_ptr<Dataset> data_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<State> state_;
  std::unique_ptr<Subject> subject_;
};

/// A line of progress on the standard error stream.
void lab_progress(const std::string& text);

/// Writes OUT/ANALYSIS.json where --out was given, and prints the JSON with --json, else `text`.
void finish_analysis(const LabArguments& arguments, const std::string& analysis,
                     const nlohmann::ordered_json& json, const std::string& text);

}  // namespace residuum
