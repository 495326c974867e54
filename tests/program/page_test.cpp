// The writer of pages without a browser: tables and CSV, what a figure's numbers are, and that no text
// becomes markup. tests/browser opens pages in Chromium.
#include "tools/page/page.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "engine/core/check.h"
#include "engine/core/file.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

TEST(Csv, FieldsAreQuotedWhereTheyMustBe) {
  const Table table{"Layers", {"a,b", "plain"}, {{"say \"hi\"", "two\nlines"}, {"1.5", ""}}};
  EXPECT_EQ(to_csv(table), "\"a,b\",plain\n\"say \"\"hi\"\"\",\"two\nlines\"\n1.5,\n");
}

TEST(Csv, NotesHaveAColumnOfTheirOwn) {
  const Table table{"t", {"x", "y"}, {{"1", Cell("2", "published 3")}, {"4", "5"}}};
  EXPECT_EQ(to_csv(table), "x,y,y note\n1,2,published 3\n4,5,\n");
}

TEST(Csv, NumbersStandBareBelowTheirUnit) {
  const Table table{"t",
                    {"layer", "error", "loss", "images", "printed %", "paths"},
                    {{"1 to 7", "8.10 %", "2.3 ± 0.1", "60,000", "12.5 %", "97.85 %"},
                     {"fc", "-", "1.5e+03", "1,234,567.5", "-", "54"},
                     {"3", "100.00 %", "", "-2", "", "1,2"}}};
  EXPECT_EQ(to_csv(table),
            "layer,error (%),loss,loss deviation,images,printed %,paths\n"
            "1 to 7,8.10,2.3,0.1,60000,12.5,97.85 %\n"
            "fc,,1.5e+03,,1234567.5,,54\n"
            "3,100.00,,,-2,,\"1,2\"\n");
}

TEST(Csv, AColumnWithoutANameIsRefused) {
  EXPECT_THROW(to_csv({"t", {"", "x"}, {{"1", "2"}}}), Error);
}

TEST(Csv, RowOfAnotherLengthIsRefused) {
  const Table table{"Layers", {"x", "y"}, {{"1"}}};
  try {
    to_csv(table);
    FAIL() << "a row with one cell of two passed";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInternal);
    EXPECT_STREQ(error.what(), "table 'Layers': a row has 1 cells, the table 2 columns");
  }
}

TEST(Texts, Numbers) {
  EXPECT_EQ(fixed_text(0.12345, 3), "0.123");
  EXPECT_EQ(fixed_text(std::nan(""), 3), "-");
  EXPECT_EQ(exact_text(0.1), "0.1");
  EXPECT_EQ(exact_text(-INFINITY), "");
  EXPECT_EQ(slug("Training loss (log), 2 runs!"), "training-loss-log-2-runs");
  EXPECT_EQ(slug("***"), "untitled");
}

std::vector<std::vector<std::string>> texts_of(const Table& table) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& row : table.rows) {
    rows.emplace_back();
    for (const Cell& cell : row) rows.back().push_back(cell.text);
  }
  return rows;
}

using Rows = std::vector<std::vector<std::string>>;

TEST(FigureData, LinesWithAndWithoutABand) {
  const LineChart chart{
      {"step"}, {"loss"}, {{"a", {1, 2}, {0.5, std::nan("")}, {0.25, 0}, {1, 2}}, {"b", {3}, {4}}}};
  const Table table = data_of(Figure{"Loss", chart});
  EXPECT_EQ(table.columns, (std::vector<std::string>{"series", "step", "loss", "low", "high"}));
  EXPECT_EQ(texts_of(table),
            (Rows{{"a", "1", "0.5", "0.25", "1"}, {"a", "2", "", "0", "2"}, {"b", "3", "4", "", ""}}));
}

TEST(FigureData, NumberedPointsBeginAtOneAndKeepTheirLabels) {
  Line line{"norm", {}, {}};
  add_numbered(line, "conv1", 0.5);
  add_numbered(line, "fc", 2);
  const Table table = data_of(Figure{"Norms", LineChart{{"layer"}, {"norm"}, {line, {"bare", {1}, {3}}}}});
  EXPECT_EQ(table.columns, (std::vector<std::string>{"series", "layer", "norm", "label"}));
  EXPECT_EQ(texts_of(table),
            (Rows{{"norm", "1", "0.5", "conv1"}, {"norm", "2", "2", "fc"}, {"bare", "1", "3", ""}}));
}

TEST(FigureData, HeatMapRowAfterRow) {
  const HeatMap map{"layer", "step", {"r0", "r1"}, {"c0", "c1", "c2"}, {1, 2, 3, 4, 5, 6}, "norm"};
  const Table table = data_of(Figure{"Norms", map});
  EXPECT_EQ(table.columns, (std::vector<std::string>{"layer / step: norm", "c0", "c1", "c2"}));
  EXPECT_EQ(texts_of(table), (Rows{{"r0", "1", "2", "3"}, {"r1", "4", "5", "6"}}));
}

TEST(FigureData, LengthsThatDoNotFitAreRefusedByName) {
  const auto refusal = [](Chart chart) -> std::string {
    try {
      data_of(Figure{"F", std::move(chart)});
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_EQ(refusal(LineChart{{}, {}, {{"a", {1, 2}, {1}}}}), "figure 'F': y of a has 1 values, not 2");
  EXPECT_EQ(refusal(LineChart{{}, {}, {{"a", {1}, {1}, {1}}}}),
            "figure 'F': the upper bound of a has 0 values, not 1");
  EXPECT_EQ(refusal(BarChart{"l", {"x"}, {}, {{"a", {1, 2}}}}), "figure 'F': a has 2 values, not 1");
  EXPECT_EQ(refusal(HeatMap{"r", "c", {"1"}, {"1", "2"}, {1}, "norm"}),
            "figure 'F': norm has 1 values, not 2");
  EXPECT_EQ(refusal(Histogram{{}, {}, {{"d", {0, 1}, {1, 1}}}}),
            "figure 'F': the edges of d has 2 values, not 3");
  EXPECT_EQ(refusal(ScatterChart{{}, {}, {{"p", {1}, {1}, {"a", "b"}}}}),
            "figure 'F': the labels of p has 2 values, not 1");
}

TEST(FigureData, ValuesWithoutAPlaceOnALogarithmicAxisAreCounted) {
  LineChart lines{{"x"}, {"y", true}, {{"a", {0, 1, 2}, {0, -1, std::nan("")}}}};
  EXPECT_EQ(values_without_place(lines), 2);
  lines.x.logarithmic = true;
  EXPECT_EQ(values_without_place(lines), 3);
  lines.y.logarithmic = lines.x.logarithmic = false;
  EXPECT_EQ(values_without_place(lines), 0);
}

TEST(Distribution, EveryFiniteValueOfTheRangeIsCountedOnce) {
  const std::vector<double> values = {0, 0.5, 1, 1.999, 2, 4, std::nan(""), INFINITY};
  const Distribution whole = distribution_of("d", values, 4);
  EXPECT_EQ(whole.edges, (std::vector<double>{0, 1, 2, 3, 4}));
  EXPECT_EQ(whole.counts, (std::vector<double>{2, 2, 1, 1}));  // the last edge belongs to the last bin
  const Distribution part = distribution_of("d", values, 2, 0.0, 2.0);
  EXPECT_EQ(part.counts, (std::vector<double>{2, 3}));
  const Distribution same = distribution_of("d", {3, 3}, 1);
  EXPECT_LT(same.edges.front(), 3);
  EXPECT_GT(same.edges.back(), 3);
  EXPECT_EQ(same.counts, std::vector<double>{2});
}

TEST(Roofline, SlopesEndAtTheRoofAndRoofsBeginAtTheSteepestSlope) {
  const ScatterChart chart = roofline_chart(
      {{{"copy", 2e12}, {"L2", 8e12}}, {{"bf16", 400e12}, {"fp32", 40e12}}, {{"ours", {100}, {150e12}}}});
  EXPECT_EQ(chart.y.name, "TFLOP/s");
  ASSERT_EQ(chart.lines.size(), 4u);
  for (size_t i = 0; i < 2; ++i) {
    const double bandwidth = i == 0 ? 2 : 8;  // TFLOP/s for each FLOP per byte
    EXPECT_DOUBLE_EQ(chart.lines[i].y.front() / chart.lines[i].x.front(), bandwidth);
    EXPECT_DOUBLE_EQ(chart.lines[i].y.back(), 400);
    EXPECT_DOUBLE_EQ(chart.lines[i].x.back(), 400 / bandwidth);
  }
  EXPECT_DOUBLE_EQ(chart.lines[3].x.front(), 40.0 / 8);
  EXPECT_DOUBLE_EQ(chart.lines[3].y.front(), 40);
  EXPECT_DOUBLE_EQ(chart.points[0].y[0], 150);
}

Page small_page() {
  Page page("A <b>title</b>");
  page.text("One & two\n\n`x < y`");
  page.facts({{"command", "</script><script>alert(1)</script>"}});
  page.table({"T", {"<i>"}, {{Cell("<u>", "</td>")}}});
  page.figure({"</script>", LineChart{{"<x>"}, {"y"}, {{"<script>", {1}, {2}}}}, "`<pre>`"});
  return page;
}

TEST(Page, TextNeverBecomesMarkup) {
  if (!can_write_pages()) GTEST_SKIP() << "this build has no chart library";
  const std::string html = small_page().html();
  const std::string own = html.substr(0, html.find("</main>"));
  for (const char* markup : {"<b>", "<i>", "<u>", "<x>", "<script>", "</script><", "<pre>"}) {
    EXPECT_EQ(own.find(markup), std::string::npos) << markup;
  }
  for (const char* text : {"A &lt;b&gt;title&lt;/b&gt;", "<p>One &amp; two</p>", "<code>x &lt; y</code>",
                           "<small>&lt;/td&gt;</small>", "\"name\":\"\\u003cscript>\""}) {
    EXPECT_NE(own.find(text), std::string::npos) << text;
  }
}

TEST(Page, WithoutAChartLibraryItIsRefused) {
  if (can_write_pages()) GTEST_SKIP() << "this build has a chart library";
  try {
    small_page().html();
    FAIL() << "a page without its figures was written";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_NE(std::string(error.what()).find("RESIDUUM_ECHARTS"), std::string::npos);
  }
}

TEST(Page, CsvFilesOfTablesAndFiguresInTheirOrder) {
  const fs::path folder = fs::path(testing::TempDir()) / "page_csv";
  fs::remove_all(folder);
  small_page().write_csv(folder);
  EXPECT_EQ(read_text_file(folder / "01-t.csv"), "<i>,<i> note\n<u>,</td>\n");
  EXPECT_EQ(read_text_file(folder / "02-script.csv"), "series,<x>,y\n<script>,1,2\n");
  fs::remove_all(folder);
}

}  // namespace
}  // namespace residuum
