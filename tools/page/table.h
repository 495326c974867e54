// A table of a page, and its text as CSV. Invariant: every row has one cell for each column.
#pragma once

#include <string>
#include <vector>

namespace residuum {

/// What a cell says beside its text, shown by colour and by a word, so that it needs no colour.
enum class Mark { kPlain, kGood, kBad };

struct Cell {
  Cell() = default;
  Cell(std::string words) : text(std::move(words)) {}  // NOLINT: a text is a cell
  Cell(const char* words) : text(words) {}             // NOLINT
  Cell(std::string words, std::string beside, Mark what = Mark::kPlain)
      : text(std::move(words)), note(std::move(beside)), mark(what) {}

  std::string text;
  std::string note = {};  ///< small, below the text: "published 8.75", "median of 5"
  Mark mark = Mark::kPlain;
};

/// "0.1235" for (0.12345, 4 digits after the point); "-" for a value that is not finite.
std::string fixed_text(double value, int digits);

/// The shortest text that reads back as `value`; empty for one that is not finite.
std::string exact_text(double value);

struct Table {
  std::string title;
  std::vector<std::string> columns;
  std::vector<std::vector<Cell>> rows;
  std::string caption = {};
};

/// Throws Error(kInternal), naming the table, for a column without a name, or a row that has not one cell for
/// each column.
void check_table(const Table& table);

/// RFC 4180 with "\n": a line of column names, then the rows. In a column of numbers alone they stand bare:
/// "8.10 %" is 8.10 below "NAME (%)", "60,000" is 60000, "-" is empty, and what follows "±" has a column of
/// its own, "NAME deviation". A column with notes is followed by one called "NAME note". Throws as
/// check_table().
std::string to_csv(const Table& table);

}  // namespace residuum
