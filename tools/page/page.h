// A self-contained HTML page: prose, facts, tables and figures, with everything it needs inside (Apache
// ECharts, style, script); opened from a file, it asks nothing of a network. Light and dark as the reader's
// system is, printable.
//
//   Page page("Benchmark of kernels", "NVIDIA H100, 2026-11-27");
//   page.section("Roofline");
//   page.text("Every layer and direction of ResNet-50.");
//   page.figure({"Kernels under the roof", roofline_chart({...})});
//   page.table({"Kernels", {"layer", "ms"}, {{"conv1", Cell("0.12", "p20 0.11, p80 0.13")}}});
//   page.write("report.html");
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tools/page/figure.h"
#include "tools/page/table.h"

namespace residuum {

/// Whether this build has the chart library, so that pages can be written (CMake's RESIDUUM_ECHARTS).
bool can_write_pages();
/// Throws Error(kConfig) when it has not.
void check_chart_library();
/// Throws what Page::write_png() throws for want of the chart library or of a browser, before work is done
/// that ends in pictures.
void check_can_draw();
/// "5.5.1", or "absent".
std::string chart_library_version();

class Page {
 public:
  /// `subtitle`: one line below the title.
  explicit Page(std::string title, std::string subtitle = {});

  /// Starts a section; what is added before the first one stands at the head of the page.
  void section(const std::string& title);
  /// Paragraphs, parted by empty lines. Plain text: nothing in it is markup but `code` between backquotes.
  void text(const std::string& paragraphs);
  /// Names and their values, such as an environment.
  void facts(std::vector<std::pair<std::string, std::string>> facts);
  /// Text as it is, with its line ends, such as a recipe; folded away behind `title`.
  void listing(const std::string& title, const std::string& text);
  /// Throws Error(kInternal) for a row that has not one cell for each column.
  void table(Table table);
  /// With buttons for CSV, PNG and SVG, and the numbers in a table to unfold. Throws Error(kInternal) when
  /// lengths do not fit.
  void figure(Figure figure);

  /// Throws Error(kConfig) when this build has no chart library: a page is never written without its figures.
  std::string html() const;
  /// Writes html() atomically; throws Error(kIo).
  void write(const std::filesystem::path& file) const;
  /// Writes each figure and each table, in the order of the page, as DIRECTORY/01-title.csv; needs no chart
  /// library. Creates the directory. Throws Error(kIo).
  void write_csv(const std::filesystem::path& directory) const;
  /// Writes each figure as DIRECTORY/01-title.png, numbered as write_csv() does, by the page's own script in
  /// Chromium. Creates the directory. Throws as html() and find_chromium() (pictures.h), and Error(kIo) when
  /// the browser fails.
  void write_png(const std::filesystem::path& directory) const;

 private:
  struct Section {
    std::string title;
  };
  struct Text {
    std::string paragraphs;
  };
  struct Facts {
    std::vector<std::pair<std::string, std::string>> pairs;
  };
  struct Listing {
    std::string title, text;
  };
  using Part = std::variant<Section, Text, Facts, Listing, Table, Figure>;

  /// Calls `use` with each table and figure and the name of its files, "01-title".
  template <typename Use>
  void for_each_file(const Use& use) const;

  std::string title_, subtitle_;
  std::vector<Part> parts_;
};

/// "training-loss" for "Training loss!": letters a to z, digits and single hyphens.
std::string slug(const std::string& title);

}  // namespace residuum
