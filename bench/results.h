// Results on disk: what the JSON of any benchmark here measured, the comparison of two such files, and their
// tables for README. Invariant: a slower result counts as a regression only beyond the spread that was
// measured in both.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace residuum::bench {

/// A member of a report or of one of its rows: a number; and as text, a string as it is and all else as JSON.
double number_of(const nlohmann::ordered_json& json, const char* key);
std::string text_of(const nlohmann::ordered_json& json, const char* key);

/// One figure with its spread.
struct Measurement {
  std::string key;  ///< what was measured: the same in two files for the same thing
  double value = 0, low = 0, high = 0;
  bool more_is_better = false;  ///< images/s; else a time
  std::string failure;          ///< not empty: no figure, and why
};

/// The kinds of reports: kernels, step, data, peers, allreduce.
std::span<const std::string_view> report_kinds();
bool is_report_kind(std::string_view kind);
/// What a JSON value says of its kind; "none" where that is nothing.
std::string kind_of(const nlohmann::ordered_json& report);

/// Reads a report of any of these kinds. Throws Error(kData) naming the file for anything else.
std::vector<Measurement> measurements_of(const nlohmann::ordered_json& report, const std::string& file);

/// Which of ours a row of kind peers measured: "plain", or what bench/compare --ours had of options. Files
/// from before there were variants are plain.
std::string our_variant(const nlohmann::ordered_json& row);

/// A JSON file; throws Error(kIo) or, for what is no JSON, Error(kData).
nlohmann::ordered_json read_report(const std::filesystem::path& file);

struct Change {
  std::string key;
  double speed = 1;  ///< new over old: below 1 is slower
  double noise = 0;  ///< half the spread of both, relative
  bool regression = false;
  std::string failure;  ///< of the new one; then there is no speed
};

struct ResultComparison {
  std::vector<Change> changes;  ///< the slowest first
  std::vector<std::string> only_old, only_new;

  bool has_regression() const;
};

/// A regression: the new spread lies wholly on the slow side of the old one, and the medians are more than
/// `tolerance` apart; or what was measured fails now.
ResultComparison compare_results(const std::vector<Measurement>& before,
                                 const std::vector<Measurement>& after, double tolerance);
std::string to_text(const ResultComparison& comparison);

/// The Markdown table of a report, and below it where and when it was measured.
std::string markdown_of(const nlohmann::ordered_json& report, const std::string& file);

/// `text` with the table of DIRECTORY/FILE between each pair of lines "<!-- bench report: FILE -->" and
/// "<!-- end -->". Throws Error(kData) for a beginning without an end.
std::string with_tables(const std::string& text, const std::filesystem::path& directory);

}  // namespace residuum::bench
