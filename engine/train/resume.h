// The saved state of a run: what goes into it, and when a run may continue from it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>

#include "engine/data/dataset.h"
#include "engine/train/evaluator.h"
#include "engine/train/recipe.h"
#include "engine/train/step_average.h"

namespace residuum {

/// Where a run stands between two steps; with the values of State this is everything.
struct Progress {
  int64_t step = 0;        ///< optimizer steps done
  int64_t best_step = -1;  ///< -1: not evaluated yet
  Evaluation last, best;
  bool evaluation_due = false;   ///< the one after `step` was broken off
  StepAverage average;           ///< of the steps since the last logged one
  std::set<int64_t> unreadable;  ///< training samples met so far that could not be read
};

/// What of the data decides the numbers of a run, as lines "NAME = VALUE": how many samples and classes there
/// are, and a checksum of each split's labels.
std::string data_facts(const Dataset& train_data, const Dataset& test_data, int64_t classes);

/// `facts`: data_facts() of the run.
nlohmann::json to_json(const Progress& progress, const Recipe& recipe, const std::string& facts);
/// Throws Error(kCheckpoint) naming the entry that is missing or wrong.
Progress progress_from_json(const nlohmann::json& meta);

/// The recipe with every key at its default that does not decide the numbers of a run: threads, prefetch,
/// data.path and augment_on, logging, checkpoint keys, evaluation batch, buckets of gradients.
Recipe deciding_part(Recipe recipe);

/// A line "  KEY: NAME VALUE, OTHER_NAME VALUE" for every key that differs between two recipes as TOML; empty
/// for equal ones.
std::string differing_keys(const std::string& toml, std::string_view name, const std::string& other_toml,
                           std::string_view other_name);

/// Throws Error(kConfig) listing every key of the deciding part that differs between the saved recipe and the
/// one given now. The length of the run decides nothing unless the schedule is cosine or poly, nor do
/// train.nan_policy and data.bad_sample_limit. Throws Error(kData) when the data are others: images copied to
/// a node in part, say.
void check_resumable(const nlohmann::json& meta, const Recipe& now, const std::string& facts);

}  // namespace residuum
