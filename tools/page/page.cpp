// The HTML around the parts of a page. Every text that came from outside passes escaped(), every number for
// the script embedded_json(): nothing a page shows can become markup.
#include "tools/page/page.h"

#include <fmt/core.h>

#include <algorithm>

#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/core/overloaded.h"
#include "tools/page/assets.h"
#include "tools/page/pictures.h"

namespace residuum {
namespace {

/// Rows of a figure's table that the page itself shows; the CSV file has them all.
constexpr size_t kShownRows = 200;
/// Columns that it shows: a heat map has one for each of its own.
constexpr size_t kShownColumns = 40;

std::string escaped(std::string_view text) {
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

/// JSON that cannot end the script element around it.
std::string embedded_json(const nlohmann::ordered_json& json) {
  const std::string text = lossy_json_text(json);
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    if (c == '<')
      safe += "\\u003c";
    else
      safe += c;
  }
  return safe;
}

/// Escaped, with `code` between backquotes.
std::string inline_html(const std::string& text) {
  std::string html;
  bool in_code = false;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('`', begin), text.size());
    html += escaped(std::string_view(text).substr(begin, end - begin));
    if (end < text.size()) {
      in_code = !in_code;
      html += in_code ? "<code>" : "</code>";
    }
    begin = end + 1;
  }
  return in_code ? html + "</code>" : html;
}

std::string paragraphs_html(const std::string& text) {
  std::string html;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find("\n\n", begin), text.size());
    html += "<p>" + inline_html(text.substr(begin, end - begin)) + "</p>\n";
    begin = end + 2;
  }
  return html;
}

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_of("0123456789") != std::string::npos &&
         text.find_first_not_of("0123456789.,+-e%x×± ") == std::string::npos;
}

/// A column whose cells are numbers (or empty) is set to the right.
std::vector<bool> numeric_columns(const Table& table) {
  std::vector<bool> numeric(table.columns.size(), !table.rows.empty());
  for (const auto& row : table.rows) {
    for (size_t c = 0; c < row.size(); ++c)
      numeric[c] = numeric[c] && (row[c].text.empty() || row[c].text == "-" || is_number(row[c].text));
  }
  return numeric;
}

std::string cell_html(const Cell& cell, bool is_numeric) {
  std::string classes = is_numeric ? "number" : "";
  if (cell.mark == Mark::kGood) classes += " good";
  if (cell.mark == Mark::kBad) classes += " bad";
  std::string html = classes.empty() ? "<td>" : "<td class=\"" + classes + "\">";
  html += escaped(cell.text);
  if (!cell.note.empty()) html += "<small>" + escaped(cell.note) + "</small>";
  return html + "</td>";
}

/// The head and the first rows and columns of a table.
std::string grid_html(const Table& table, size_t most_rows, size_t most_columns) {
  const std::vector<bool> numeric = numeric_columns(table);
  const size_t columns = std::min(table.columns.size(), most_columns);
  std::string html = "<div class=\"scroll\"><table><thead><tr>";
  for (size_t c = 0; c < columns; ++c) {
    html += fmt::format("<th scope=\"col\"{}>{}</th>", numeric[c] ? " class=\"number\"" : "",
                        escaped(table.columns[c]));
  }
  html += "</tr></thead><tbody>\n";
  for (size_t r = 0; r < std::min(table.rows.size(), most_rows); ++r) {
    html += "<tr>";
    for (size_t c = 0; c < columns; ++c) html += cell_html(table.rows[r][c], numeric[c]);
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string table_html(const Table& table) {
  std::string html = "<figure class=\"table\">\n";
  if (!table.title.empty()) html += "<h3>" + escaped(table.title) + "</h3>\n";
  html += grid_html(table, table.rows.size(), table.columns.size());
  if (!table.caption.empty()) html += "<figcaption>" + inline_html(table.caption) + "</figcaption>\n";
  return html + "</figure>\n";
}

std::string caption_html(const Figure& figure) {
  std::string caption = inline_html(figure.caption);
  if (const int64_t missing = values_without_place(figure.chart); missing > 0) {
    caption += fmt::format("{}{} of 0 or less {} no place on a logarithmic axis.", caption.empty() ? "" : " ",
                           missing == 1 ? "1 value" : fmt::format("{} values", missing),
                           missing == 1 ? "has" : "have");
  }
  return caption.empty() ? "" : "<figcaption>" + caption + "</figcaption>\n";
}

/// "The numbers (the first 200 of 5000 rows; the CSV file has all)"
std::string data_html(const Table& data) {
  std::string cut;
  if (data.rows.size() > kShownRows)
    cut = fmt::format("the first {} of {} rows", kShownRows, data.rows.size());
  if (data.columns.size() > kShownColumns) {
    cut += fmt::format("{}the first {} of {} columns", cut.empty() ? "" : ", ", kShownColumns,
                       data.columns.size());
  }
  return fmt::format("<details><summary>The numbers{}</summary>\n{}</details>\n",
                     cut.empty() ? "" : fmt::format(" ({}; the CSV file has all)", cut),
                     grid_html(data, kShownRows, kShownColumns));
}

std::string figure_html(const Figure& figure, size_t number) {
  const Table data = data_of(figure);
  nlohmann::ordered_json json = chart_json(figure);
  json["csv"] = to_csv(data);
  json["file"] = slug(figure.title);
  return fmt::format(
      "<figure class=\"chart\" id=\"figure-{0}\">\n"
      "<h3 id=\"figure-{0}-title\">{1}</h3>\n"
      "<div class=\"plot\" role=\"img\" aria-labelledby=\"figure-{0}-title\"></div>\n"
      "{2}<div class=\"buttons\"><button data-save=\"csv\">CSV</button><button data-save=\"png\">PNG</button>"
      "<button data-save=\"svg\">SVG</button></div>\n"
      "{3}<script type=\"application/json\">{4}</script>\n</figure>\n",
      number, escaped(figure.title), caption_html(figure), data_html(data), embedded_json(json));
}

/// Escaped, with places to break a path.
std::string breakable_html(const std::string& text) {
  std::string html = escaped(text);
  for (size_t at = html.find('/'); at != std::string::npos; at = html.find('/', at + 1)) {
    html.insert(at + 1, "<wbr>");
    at += 5;
  }
  return html;
}

std::string facts_html(const std::vector<std::pair<std::string, std::string>>& facts) {
  constexpr size_t kLong = 70;  // letters that would take more than three lines of a column
  std::string html = "<dl>\n";
  for (const auto& [name, value] : facts) {
    html += fmt::format("<div{}><dt>{}</dt><dd>{}</dd></div>\n",
                        value.size() > kLong ? " class=\"long\"" : "", escaped(name), breakable_html(value));
  }
  return html + "</dl>\n";
}

/// A script or style of this build: trusted, but no text in it may end the element.
std::string element(const char* name, std::string_view content) {
  check(content.find(fmt::format("</{}", name)) == std::string_view::npos, ErrorKind::kInternal,
        "what is embedded as <{0}> contains </{0}", name);
  return fmt::format("<{0}>{1}</{0}>\n", name, content);
}

}  // namespace

bool can_write_pages() {
  return !chart_library().empty();
}

void check_chart_library() {
  check(can_write_pages(), ErrorKind::kConfig,
        "this build has no chart library, so it writes no HTML pages: configure it with "
        "-DRESIDUUM_ECHARTS=FILE of Apache ECharts 5, which tools/setup fetches");
}

void check_can_draw() {
  check_chart_library();
  find_chromium();
}

std::string chart_library_version() {
  // The library's own version is the last one in its file; zrender's comes before.
  constexpr std::string_view kMark = ".version=\"";
  const std::string_view text = chart_library();
  const size_t begin = text.rfind(kMark);
  if (begin == std::string_view::npos) return text.empty() ? "absent" : "unknown";
  const std::string_view version = text.substr(begin + kMark.size(), 16);
  return std::string(version.substr(0, version.find('"')));
}

Page::Page(std::string title, std::string subtitle)
    : title_(std::move(title)), subtitle_(std::move(subtitle)) {}

void Page::section(const std::string& title) {
  parts_.emplace_back(Section{title});
}

void Page::text(const std::string& paragraphs) {
  parts_.emplace_back(Text{paragraphs});
}

void Page::facts(std::vector<std::pair<std::string, std::string>> facts) {
  parts_.emplace_back(Facts{std::move(facts)});
}

void Page::listing(const std::string& title, const std::string& text) {
  parts_.emplace_back(Listing{title, text});
}

void Page::table(Table table) {
  check_table(table);
  parts_.emplace_back(std::move(table));
}

void Page::figure(Figure figure) {
  data_of(figure);  // throws when lengths do not fit
  parts_.emplace_back(std::move(figure));
}

std::string Page::html() const {
  check_chart_library();
  std::string contents, body;
  size_t sections = 0, figures = 0;
  const overloaded to_html{
      [&](const Section& section) {
        contents += fmt::format("<a href=\"#section-{}\">{}</a>\n", ++sections, escaped(section.title));
        body += fmt::format("<h2 id=\"section-{}\">{}</h2>\n", sections, escaped(section.title));
      },
      [&](const Text& text) { body += paragraphs_html(text.paragraphs); },
      [&](const Facts& facts) { body += facts_html(facts.pairs); },
      [&](const Listing& listing) {
        body += fmt::format("<details class=\"listing\"><summary>{}</summary>\n<pre>{}</pre></details>\n",
                            escaped(listing.title), escaped(listing.text));
      },
      [&](const Table& table) { body += table_html(table); },
      [&](const Figure& figure) { body += figure_html(figure, ++figures); }};
  for (const Part& part : parts_) std::visit(to_html, part);

  std::string page = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
  page += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
  page += "<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n";
  page += fmt::format("<title>{}</title>\n", escaped(title_)) + element("style", page_style());
  page += fmt::format("</head>\n<body>\n<header><h1>{}</h1>\n", escaped(title_));
  if (!subtitle_.empty()) page += "<p>" + escaped(subtitle_) + "</p>\n";
  page += "</header>\n";
  if (sections >= 3) page += "<nav aria-label=\"Sections\">\n" + contents + "</nav>\n";
  page += "<main>\n" + body + "</main>\n";
  if (figures > 0) page += element("script", chart_library()) + element("script", chart_script());
  return page + element("script", page_script()) + "</body>\n</html>\n";
}

void Page::write(const std::filesystem::path& file) const {
  write_file_atomically(file, html());
}

template <typename Use>
void Page::for_each_file(const Use& use) const {
  int number = 0;
  const auto name = [&](const std::string& title) { return fmt::format("{:02}-{}", ++number, slug(title)); };
  for (const Part& part : parts_) {
    if (const auto* table = std::get_if<Table>(&part)) use(*table, name(table->title));
    if (const auto* figure = std::get_if<Figure>(&part)) use(*figure, name(figure->title));
  }
}

void Page::write_csv(const std::filesystem::path& directory) const {
  make_directories(directory);
  const auto write = [&](const Table& table, const std::string& name) {
    write_file_atomically(directory / (name + ".csv"), to_csv(table));
  };
  for_each_file(overloaded{
      write, [&](const Figure& figure, const std::string& name) { write(data_of(figure), name); }});
}

void Page::write_png(const std::filesystem::path& directory) const {
  std::vector<std::string> names;
  for_each_file(overloaded{[](const Table&, const std::string&) {},
                           [&](const Figure&, const std::string& name) { names.push_back(name); }});
  const std::vector<std::string> pictures = draw_pictures(html(), names.size());
  make_directories(directory);
  for (size_t i = 0; i < names.size(); ++i)
    write_file_atomically(directory / (names[i] + ".png"), pictures[i]);
}

std::string slug(const std::string& title) {
  std::string name;
  for (const char c : title) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    const bool plain = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9');
    if (plain) name += lower;
    if (!plain && !name.empty() && name.back() != '-') name += '-';
  }
  if (!name.empty() && name.back() == '-') name.pop_back();
  return name.empty() ? "untitled" : name;
}

}  // namespace residuum
