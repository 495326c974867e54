#include "tools/page/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/core/check.h"
#include "engine/core/csv.h"

namespace residuum {
namespace {

/// Whether any cell of column `c` has a note.
bool has_notes(const Table& table, size_t c) {
  return std::ranges::any_of(table.rows, [&](const auto& row) { return !row[c].note.empty(); });
}

}  // namespace

std::string fixed_text(double value, int digits) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : "-";
}

std::string exact_text(double value) {
  return std::isfinite(value) ? fmt::format("{}", value) : "";
}

void check_table(const Table& table) {
  for (const auto& row : table.rows) {
    check(row.size() == table.columns.size(), ErrorKind::kInternal,
          "table '{}': a row has {} cells, the table {} columns", table.title, row.size(),
          table.columns.size());
  }
}

std::string to_csv(const Table& table) {
  check_table(table);
  std::vector<char> noted(table.columns.size());
  std::string text;
  const auto add = [&](size_t c, const std::string& cell, const std::string& note) {
    if (c > 0) text += ',';
    text += csv_field(cell);
    if (noted[c] != 0) text += "," + csv_field(note);
  };
  for (size_t c = 0; c < table.columns.size(); ++c) {
    noted[c] = has_notes(table, c) ? 1 : 0;
    add(c, table.columns[c], table.columns[c] + " note");
  }
  text += '\n';
  for (const auto& row : table.rows) {
    for (size_t c = 0; c < row.size(); ++c) add(c, row[c].text, row[c].note);
    text += '\n';
  }
  return text;
}

}  // namespace residuum
