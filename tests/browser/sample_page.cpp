// Writes a page with every kind of part and figure, and its CSV files, for browser_test.py:
//   sample_page FILE.html CSV-DIRECTORY
// Its numbers follow from formulas, so the test knows what must be drawn.
#include <fmt/core.h>

#include <cmath>
#include <cstdio>

#include "engine/core/check.h"
#include "tools/page/page.h"

namespace residuum {
namespace {

Line decaying_line(const std::string& name, double rate) {
  Line line{name, {}, {}};
  for (int i = 1; i <= 200; ++i) {
    const double value = 2.5 * std::exp(-rate * i) + 0.02;
    line.x.push_back(i);
    line.y.push_back(value);
    line.low.push_back(value * 0.8);
    line.high.push_back(value * 1.25);
  }
  return line;
}

Figure curves() {
  LineChart chart{{"step"}, {"loss", true}, {decaying_line("residual", 0.03), decaying_line("plain", 0.015)}};
  chart.lines[1].y[99] = 0;  // no place on a logarithmic axis: a gap
  chart.y.marks.push_back({2.3026, "chance"});
  return {"Training loss", chart, "Mean of 3 seeds, lowest to highest."};
}

Figure bars() {
  BarChart chart{"layer", {"conv1", "layer1", "layer2", "layer3"}, {"ms"}, {}};
  chart.bars = {{"ours", {1.2, 2.4, 2.0, 1.1}, {1.1, 2.2, 1.9, 1.0}, {1.3, 2.6, 2.2, 1.3}},
                {"cuDNN", {1.5, 2.6, 1.8, 1.4}, {1.4, 2.5, 1.7, 1.2}, {1.7, 2.9, 2.0, 1.5}}};
  return {"Time per layer", chart, "Median, p20 and p80."};
}

Figure lying_bars() {
  BarChart chart{"layer", {},  {"ms", false, {}, {}, {{0.9, "target"}}}, {{"forward", {}}, {"backward", {}}},
                 true,    true};
  for (int i = 0; i < 20; ++i) {
    chart.categories.push_back(fmt::format("layer{}.{}.conv{}", 1 + i / 5, i % 5, 1 + i % 3));
    chart.bars[0].values.push_back(0.2 + 0.03 * (i % 7));
    chart.bars[1].values.push_back(0.4 + 0.05 * (i % 5));
  }
  return {"Forward and backward", chart};
}

Figure roofline() {
  Points ours{"ours", {}, {}, {}}, peer{"cuDNN", {}, {}, {}};
  for (int i = 0; i < 12; ++i) {
    const double intensity = 4 * std::pow(1.6, i), roof = std::min(3.3e12 * intensity, 690e12);
    ours.x.push_back(intensity);
    ours.y.push_back(roof * 0.8);
    ours.labels.push_back(fmt::format("conv{} <3x3> & co", i));
    peer.x.push_back(intensity);
    peer.y.push_back(roof * 0.6);
    peer.labels.push_back(fmt::format("conv{}", i));
  }
  return {"Under the roof",
          roofline_chart({{{"copy 3.3 TB/s", 3.3e12}, {"L2 7 TB/s", 7e12}},
                          {{"bf16 product 690 TFLOP/s", 690e12}, {"fp32 60 TFLOP/s", 60e12}},
                          {ours, peer}})};
}

HeatMap map_of(int rows, int columns) {
  HeatMap map{"layer", "step", {}, {}, {}, "norm"};
  for (int r = 0; r < rows; ++r) map.rows.push_back(fmt::format("layer {}", r));
  for (int c = 0; c < columns; ++c) map.columns.push_back(fmt::format("{}", 100 * c));
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) map.values.push_back(std::pow(0.7, r) * (1 + 0.2 * std::sin(c * 0.3)));
  }
  return map;
}

Figure gradients() {
  HeatMap map = map_of(18, 40);
  map.logarithmic = true;
  map.values[5] = std::nan("");
  return {"Gradient norms", map};
}

Figure differences() {
  HeatMap map = map_of(60, 90);  // so many cells that it is drawn as a bitmap
  for (double& value : map.values) value = std::log(value) + 8;
  map.diverging = true;
  return {"Differences", map};
}

Figure weights() {
  std::vector<double> narrow, wide;
  for (int i = 0; i < 2000; ++i) {
    const double quantile = std::tan(3.0 * ((i + 0.5) / 2000 - 0.5)) / 10;
    narrow.push_back(quantile);
    wide.push_back(2 * quantile);
  }
  return {"Weights", Histogram{{"weight"},
                               {"count", true},
                               {distribution_of("narrow", narrow, 60, -2, 2),
                                distribution_of("wide", wide, 60, -2, 2)}}};
}

Page sample() {
  Page page("Sample of <every> part & figure", "A page that only a test reads");
  page.section("Words");
  page.text("First paragraph with `code` & <b>no markup</b>.\n\nSecond paragraph.");
  page.facts(
      {{"device", "AMD EPYC, 2 threads"}, {"command", "residuum train </script><script>throw 1</script>"}});
  page.listing("Recipe", "[model]\nname = \"resnet50\"\n# </pre><script>throw 2</script>\n");
  page.section("Table");
  page.table({"Kernels",
              {"layer", "ms", "check"},
              {{"conv1", Cell("0.12", "p20 0.11, p80 0.13"), Cell("1.2e-07", "", Mark::kGood)},
               {"conv, \"two\"", "10.5", Cell("0.5", "above 1e-2", Mark::kBad)},
               {"conv3", "-", "3e-07"}},
              "Times are medians."});
  page.section("Figures");
  for (const Figure& figure :
       {curves(), bars(), lying_bars(), roofline(), gradients(), differences(), weights()}) {
    page.figure(figure);
  }
  return page;
}

}  // namespace
}  // namespace residuum

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    const residuum::Page page = residuum::sample();
    page.write_csv(argv[2]);
    page.write(argv[1]);
  } catch (const residuum::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
