#include "tools/page/table.h"

#include <fmt/core.h>

#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>

#include "engine/core/check.h"
#include "engine/core/csv.h"

namespace residuum {
namespace {

/// "60,000" without its commas, "1.5" and "6.1e+03" as they are; nothing for what is no number.
std::optional<std::string> plain_number(std::string_view text) {
  std::string plain;
  size_t digits = 0;  // since the last comma
  bool grouped = false;
  for (const char c : text) {
    if (c == ',') {
      if (grouped ? digits != 3 : digits == 0 || digits > 3) return std::nullopt;
      grouped = true;
      digits = 0;
      continue;
    }
    digits = c >= '0' && c <= '9' && plain.find('.') == std::string::npos ? digits + 1 : digits;
    plain += c;
  }
  double value = 0;
  const auto [end, error] = std::from_chars(plain.data(), plain.data() + plain.size(), value);
  const bool whole = error == std::errc() && end == plain.data() + plain.size() && std::isfinite(value);
  return whole && (!grouped || digits == 3) ? std::optional(plain) : std::nullopt;
}

/// "8.10 %", "2.3 ± 0.1" or a number alone.
struct NumberCell {
  std::string value, deviation = {};
  bool percent = false;
};

std::optional<NumberCell> number_cell(std::string_view text) {
  constexpr std::string_view kPercent = " %", kDeviation = " ± ";
  NumberCell cell;
  if (text.ends_with(kPercent)) {
    text.remove_suffix(kPercent.size());
    cell.percent = true;
  }
  if (const size_t at = text.find(kDeviation); at != std::string_view::npos) {
    const std::optional<std::string> deviation = plain_number(text.substr(at + kDeviation.size()));
    if (!deviation) return std::nullopt;
    cell.deviation = *deviation;
    text = text.substr(0, at);
  }
  const std::optional<std::string> value = plain_number(text);
  if (!value) return std::nullopt;
  cell.value = *value;
  return cell;
}

bool is_absent(const Cell& cell) {
  return cell.text.empty() || cell.text == "-";
}

/// How a column of a table stands in a CSV file.
struct CsvColumn {
  bool numbers = true;  ///< all its cells that are there, all in percent or none
  bool percent = false, deviations = false, notes = false;
};

CsvColumn csv_column(const Table& table, size_t c) {
  CsvColumn column;
  size_t numbers = 0, percents = 0;
  for (const auto& row : table.rows) {
    column.notes |= !row[c].note.empty();
    if (is_absent(row[c])) continue;
    const std::optional<NumberCell> cell = number_cell(row[c].text);
    column.numbers &= cell.has_value();
    if (!cell) continue;
    ++numbers;
    percents += cell->percent ? 1 : 0;
    column.deviations |= !cell->deviation.empty();
  }
  column.numbers &= percents == 0 || percents == numbers;
  column.percent = column.numbers && percents > 0;
  column.deviations &= column.numbers;
  return column;
}

}  // namespace

std::string fixed_text(double value, int digits) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : "-";
}

std::string exact_text(double value) {
  return std::isfinite(value) ? fmt::format("{}", value) : "";
}

void check_table(const Table& table) {
  for (const std::string& column : table.columns) {
    check(!column.empty(), ErrorKind::kInternal, "table '{}': a column has no name", table.title);
  }
  for (const auto& row : table.rows) {
    check(row.size() == table.columns.size(), ErrorKind::kInternal,
          "table '{}': a row has {} cells, the table {} columns", table.title, row.size(),
          table.columns.size());
  }
}

std::string to_csv(const Table& table) {
  check_table(table);
  std::vector<CsvColumn> columns;
  std::string text;
  bool first = true;
  const auto add = [&](const std::string& field) {
    text += (first ? "" : ",") + csv_field(field);
    first = false;
  };
  const auto end_line = [&] {
    text += '\n';
    first = true;
  };
  for (size_t c = 0; c < table.columns.size(); ++c) {
    const CsvColumn& column = columns.emplace_back(csv_column(table, c));
    const std::string& name = table.columns[c];
    const bool has_unit = !column.percent || name.find('%') != std::string::npos;
    add(has_unit ? name : name + " (%)");
    if (column.deviations) add(name + " deviation");
    if (column.notes) add(name + " note");
  }
  end_line();
  for (const auto& row : table.rows) {
    for (size_t c = 0; c < row.size(); ++c) {
      const CsvColumn& column = columns[c];
      const NumberCell cell = !column.numbers     ? NumberCell{row[c].text}
                              : is_absent(row[c]) ? NumberCell{}
                                                  : *number_cell(row[c].text);
      add(cell.value);
      if (column.deviations) add(cell.deviation);
      if (column.notes) add(row[c].note);
    }
    end_line();
  }
  return text;
}

}  // namespace residuum
