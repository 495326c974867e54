// Reports as Markdown tables, and README's tables between their markers.
#include <fmt/format.h>

#include "bench/results.h"
#include "engine/core/check.h"

namespace residuum::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kBegin = "<!-- bench report: ", kBeginTail = " -->", kEnd = "<!-- end -->";

double number(const Json& json, const char* key) {
  return json.at(key).get<double>();
}
std::string text(const Json& json, const char* key) {
  return json.at(key).is_string() ? json.at(key).get<std::string>() : json.at(key).dump();
}

std::string peers_table(const Json& report) {
  std::string table =
      "| model | batch | type | Residuum | images/s | PyTorch | images/s | ratio (lowest to highest) | MiB "
      "|\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const Json& row : report.at("rows")) {
    const Json& ours = row.at("ours");
    for (const Json& peer : row.at("peers")) {
      const Json& ratio = peer.at("ratio");
      table += fmt::format(
          "| {} | {} | {} | {} | {:.1f} | {} | {:.1f} | {:.2f} ({:.2f} to {:.2f}) | {:.0f} / {:.0f} |\n",
          text(row, "model"), text(row, "batch"), text(row, "precision"), our_variant(row),
          number(ours, "images_per_second"), text(peer, "name"), number(peer, "images_per_second"),
          number(ratio, "median"), number(ratio, "lowest"), number(ratio, "highest"),
          number(ours, "memory_bytes") / (1 << 20), number(peer, "memory_bytes") / (1 << 20));
    }
  }
  return table;
}

std::string kernels_table(const Json& report) {
  std::string table =
      "| layer | operation | by | us | TFLOP/s | peak | GB/s | copy | roofline | bound | speed-up |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const Json& row : report.at("rows")) {
    if (text(row, "status") != "measured") {
      table += fmt::format("| {} | {} | {} | {} | | | | | | | |\n", text(row, "layer"),
                           text(row, "operation"), text(row, "implementation"), text(row, "status"));
      continue;
    }
    const std::string speed_up =
        row.at("peer").is_null() ? ""
                                 : fmt::format("{:.2f} over {}", number(row, "speed_up"), text(row, "peer"));
    table += fmt::format(
        "| {} | {} | {} | {:.1f} | {:.2f} | {:.0f} % | {:.0f} | {:.0f} % | {:.0f} % | {} | {} |\n",
        text(row, "layer"), text(row, "operation"), text(row, "implementation"),
        number(row.at("replay_us"), "median"), number(row, "tflops"), 100 * number(row, "peak_share"),
        number(row, "gbytes_per_second"), 100 * number(row, "copy_share"),
        100 * number(row, "roofline_share"), text(row, "bound"), speed_up);
  }
  return table;
}

std::string step_table(const Json& report) {
  const auto ms = [&](const char* phase) { return 1e3 * number(report.at("phases").at(phase), "median"); };
  return "| model | batch | type | images/s | step ms | forward | backward | update | launches | MB/image | "
         "roofline |\n"
         "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n" +
         fmt::format(
             "| {} | {} | {} | {:.1f} | {:.3f} | {:.3f} | {:.3f} | {:.3f} | {} | {:.1f} | {:.0f} % |\n",
             text(report, "model"), text(report, "batch"), text(report, "precision"),
             number(report, "images_per_second"), 1e3 * number(report, "median_seconds"), ms("forward"),
             ms("backward"), ms("update"), text(report, "launches"), number(report, "mb_per_image"),
             100 * number(report, "roofline_share"));
}

std::string data_table(const Json& report) {
  std::string table = "| format | transform | threads | images/s (p20 to p80) |\n| --- | --- | --- | --- |\n";
  for (const Json& row : report.at("rows")) {
    const Json& speed = row.at("images_per_second");
    table += fmt::format("| {} | {} | {} | {:.0f} ({:.0f} to {:.0f}) |\n", text(row, "format"),
                         text(row, "transform"), text(row, "threads"), number(speed, "median"),
                         number(speed, "p20"), number(speed, "p80"));
  }
  return table;
}

std::string sums_table(const Json& report) {
  std::string table =
      "| ranks | bytes | us (p20 to p80) | algorithm GB/s | bus GB/s |\n| --- | --- | --- | --- | --- |\n";
  for (const Json& row : report.at("sizes")) {
    const Json& time = row.at("time_us");
    table += fmt::format("| {} | {} | {:.1f} ({:.1f} to {:.1f}) | {:.3f} | {:.3f} |\n", text(report, "ranks"),
                         text(row, "bytes"), number(time, "median"), number(time, "p20"), number(time, "p80"),
                         number(row, "algorithm_bytes_per_second") * 1e-9,
                         number(row, "bus_bytes_per_second") * 1e-9);
  }
  return table;
}

std::string source_line(const Json& report) {
  const Json& environment = report.at("environment");
  std::string peer;
  if (text(report, "kind") == "peers" && !report.at("rows").empty()) {
    for (const Json& found : report.at("rows")[0].at("peers")) peer = ", " + text(found, "implementation");
  }
  return fmt::format("\n{}{}, commit {}, {}.\n", text(environment, "device"), peer,
                     text(environment, "commit").substr(0, 12), text(environment, "date").substr(0, 10));
}

}  // namespace

std::string markdown_of(const Json& report, const std::string& file) {
  try {
    const std::string kind = text(report, "kind");
    const std::string table = kind == "peers"       ? peers_table(report)
                              : kind == "kernels"   ? kernels_table(report)
                              : kind == "step"      ? step_table(report)
                              : kind == "data"      ? data_table(report)
                              : kind == "allreduce" ? sums_table(report)
                                                    : "";
    check(!table.empty(), ErrorKind::kData, "{}: there is no table of kind '{}'", file, kind);
    return table + source_line(report);
  } catch (const Json::exception& error) {
    fail(ErrorKind::kData, "{}: not what a benchmark writes: {}", file, error.what());
  }
}

std::string with_tables(const std::string& source, const std::filesystem::path& directory) {
  std::string result;
  size_t done = 0;
  for (size_t begin = source.find(kBegin); begin != std::string::npos; begin = source.find(kBegin, done)) {
    const size_t name = begin + kBegin.size(), name_end = source.find(kBeginTail, name);
    const size_t end = source.find(kEnd, name);
    check(name_end != std::string::npos && end != std::string::npos && name_end < end, ErrorKind::kData,
          "'{}...' without '{}' behind it", kBegin, kEnd);
    const std::string file = source.substr(name, name_end - name);
    result += source.substr(done, name_end + kBeginTail.size() - done) + "\n";
    result += markdown_of(read_report(directory / file), file);
    done = end;
  }
  return result + source.substr(done);
}

}  // namespace residuum::bench
