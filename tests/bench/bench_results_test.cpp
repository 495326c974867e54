// Result files of benchmarks: what counts as a regression, and README's tables.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/results.h"
#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "tests/support/data_fixtures.h"
#include "tests/support/source_tree.h"

namespace residuum::bench {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

Json kernels_report(double ours, double spread) {
  const Json time = {{"median", ours}, {"p20", ours - spread}, {"p80", ours + spread}, {"samples", 20}};
  return {{"kind", "kernels"},
          {"environment",
           {{"device", "a device"}, {"commit", "0123456789abcdef"}, {"date", "2026-01-02T03:04:05Z"}}},
          {"rows",
           {{{"problem", "conv layer n=1 h=4 w=4 c=8 k=8"},
             {"layer", "layer"},
             {"operation", "conv"},
             {"implementation", "ours"},
             {"precision", "bf16"},
             {"status", "measured"},
             {"reason", nullptr},
             {"replay_us", time}}}}};
}

ResultComparison compared(const Json& before, const Json& after) {
  return compare_results(measurements_of(before, "old"), measurements_of(after, "new"), 0.02);
}

TEST(Results, OnlyWhatIsBeyondTheNoiseIsARegression) {
  const Json before = kernels_report(1.0, 0.05);
  EXPECT_FALSE(compared(before, before).has_regression());
  EXPECT_FALSE(compared(before, kernels_report(1.08, 0.05)).has_regression());  // the spreads overlap
  EXPECT_FALSE(compared(before, kernels_report(0.5, 0.01)).has_regression());   // faster
  EXPECT_TRUE(compared(before, kernels_report(1.2, 0.05)).has_regression());
  EXPECT_FALSE(compared(kernels_report(1, 1e-4), kernels_report(1.01, 1e-4)).has_regression());  // tolerated
  const ResultComparison slower = compared(before, kernels_report(1.25, 0.05));
  ASSERT_EQ(slower.changes.size(), 1u);
  EXPECT_DOUBLE_EQ(slower.changes[0].speed, 0.8);
  EXPECT_THAT(to_text(slower), HasSubstr("REGRESSION"));
}

TEST(Results, AResultThatFailsNowIsARegression) {
  Json after = kernels_report(1.0, 0.05);
  after["rows"][0]["status"] = "wrong";
  after["rows"][0]["reason"] = "output 0 element 3 is off";
  const ResultComparison comparison = compared(kernels_report(1.0, 0.05), after);
  EXPECT_TRUE(comparison.has_regression());
  EXPECT_THAT(to_text(comparison), HasSubstr("output 0 element 3 is off"));
  EXPECT_FALSE(compared(after, kernels_report(1.0, 0.05)).has_regression());
}

TEST(Results, WhatStandsInOneFileOnlyIsNamed) {
  Json after = kernels_report(1.0, 0.05);
  after["rows"][0]["operation"] = "conv_backward_data";
  const ResultComparison comparison = compared(kernels_report(1.0, 0.05), after);
  EXPECT_TRUE(comparison.changes.empty());
  EXPECT_EQ(comparison.only_old.size(), 1u);
  EXPECT_THAT(comparison.only_new[0], HasSubstr("conv_backward_data"));
}

Json peers_report(double ours) {
  const auto side = [](double median) {
    return Json{{"implementation", "someone"},
                {"images_per_second", median},
                {"memory_bytes", 3 << 20},
                {"runs", {{{"images_per_second", median * 0.9}}, {{"images_per_second", median * 1.1}}}}};
  };
  Json peer = side(50);
  peer["name"] = "eager";
  peer["ratio"] = {{"median", 2.0}, {"lowest", 1.9}, {"highest", 2.1}};
  return {{"kind", "peers"},
          {"environment", {{"device", "a device"}, {"commit", "0123456789abcdef"}, {"date", "2026-01-02"}}},
          {"missing", Json::array()},
          {"rows",
           {{{"model", "resnet50"},
             {"batch", 16},
             {"precision", "bf16"},
             {"ours", side(ours)},
             {"peers", {peer}}}}}};
}

TEST(Results, MoreImagesASecondAreBetter) {
  EXPECT_FALSE(compared(peers_report(100), peers_report(200)).has_regression());
  const ResultComparison comparison = compared(peers_report(100), peers_report(50));
  EXPECT_TRUE(comparison.has_regression());
  EXPECT_THAT(comparison.changes[0].key, HasSubstr("ours"));
  EXPECT_DOUBLE_EQ(comparison.changes[0].speed, 0.5);
  EXPECT_DOUBLE_EQ(comparison.changes[1].speed, 1);
}

TEST(Results, VariantsOfOursAreApart) {
  Json report = peers_report(100);
  report["rows"].push_back(report["rows"][0]);
  report["rows"][1]["variant"] = "gram+autotune";
  report["rows"][0]["variant"] = "plain";
  report["rows"][1]["ours"] = peers_report(150)["rows"][0]["ours"];
  const ResultComparison with_itself = compared(report, report);
  EXPECT_EQ(with_itself.changes.size(), 3u) << "plain, gram+autotune and the peer of both";
  const ResultComparison with_older = compared(peers_report(50), report);  // a file without variants
  ASSERT_EQ(with_older.changes.size(), 2u);
  EXPECT_DOUBLE_EQ(with_older.changes[1].speed, 2) << with_older.changes[1].key;
  ASSERT_EQ(with_older.only_new.size(), 1u);
  EXPECT_THAT(with_older.only_new[0], HasSubstr("ours gram+autotune"));
  EXPECT_THAT(markdown_of(report, "r.json"),
              HasSubstr("| bf16 | plain | 100.0 | eager | 50.0 | 2.00 (1.90 to 2.10) | 3 / 3 |\n"
                        "| resnet50 | 16 | bf16 | gram+autotune | 150.0 | eager | 50.0 |"));
}

TEST(Results, SumsOverRanksCompareAndHaveATable) {
  const auto report = [](double us) {
    const Json time = {{"median", us}, {"p20", us * 0.95}, {"p80", us * 1.05}, {"samples", 5}};
    return Json{
        {"kind", "allreduce"},
        {"environment", {{"device", "a device"}, {"commit", "0123456789abcdef"}, {"date", "2026-01-02"}}},
        {"ranks", 4},
        {"sizes",
         {{{"bytes", 4096},
           {"time_us", time},
           {"algorithm_bytes_per_second", 4.096e9},
           {"bus_bytes_per_second", 6.144e9}}}}};
  };
  const ResultComparison slower = compared(report(10), report(20));
  EXPECT_TRUE(slower.has_regression());
  EXPECT_EQ(slower.changes.at(0).key, "4096 bytes over 4 ranks");
  EXPECT_FALSE(compared(report(20), report(10)).has_regression());
  EXPECT_THAT(markdown_of(report(10), "r.json"),
              HasSubstr("| 4 | 4096 | 10.0 (9.5 to 10.5) | 4.096 | 6.144 |\n"));
}

TEST(Results, OtherFilesAreRefused) {
  for (const Json& other : {Json{{"kind", "poem"}}, Json::object(), Json{{"kind", "kernels"}}}) {
    EXPECT_THROW(measurements_of(other, "other.json"), Error) << other;
  }
}

TEST(Report, TablesStandBetweenTheirMarkers) {
  const fixtures::TemporaryFolder folder;
  write_file_atomically(folder.path() / "p.json", json_text(peers_report(100)));
  const std::string before = "text\n<!-- bench report: p.json -->\nold\n<!-- end -->\nmore\n";
  const std::string after = with_tables(before, folder.path());
  EXPECT_EQ(after,
            "text\n<!-- bench report: p.json -->\n"
            "| model | batch | type | Residuum | images/s | PyTorch | images/s | ratio (lowest to highest) | "
            "MiB |\n"
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
            "| resnet50 | 16 | bf16 | plain | 100.0 | eager | 50.0 | 2.00 (1.90 to 2.10) | 3 / 3 |\n"
            "\na device, someone, commit 0123456789ab, 2026-01-02.\n<!-- end -->\nmore\n");
  EXPECT_EQ(with_tables(after, folder.path()), after);
  EXPECT_EQ(with_tables("no marker", folder.path()), "no marker");
  EXPECT_THROW(with_tables("<!-- bench report: p.json -->\n", folder.path()), Error);
  EXPECT_THROW(with_tables("<!-- bench report: absent.json -->\n<!-- end -->", folder.path()), Error);
}

TEST(Report, ReadmeShowsTheResultsOnDisk) {
  const std::filesystem::path root = source_tree();
  const std::string readme = read_text_file(root / "README.md");
  EXPECT_THAT(readme, HasSubstr("<!-- bench report: "));
  EXPECT_TRUE(with_tables(readme, root / "bench/results") == readme) << "residuum bench report bench/results";
}

}  // namespace
}  // namespace residuum::bench
