// Reports as Markdown tables, and README's tables between their markers.
#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "bench/results.h"
#include "engine/core/check.h"

namespace residuum::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kBegin = "<!-- bench report: ", kBeginTail = " -->", kEnd = "<!-- end -->";

std::string peers_table(const Json& report) {
  std::string table =
      "| model | batch | type | Residuum | images/s | PyTorch | images/s | "
      "ratio (lowest to highest) | MiB |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const Json& row : report.at("rows")) {
    const Json& ours = row.at("ours");
    for (const Json& peer : row.at("peers")) {
      const Json& ratio = peer.at("ratio");
      table += fmt::format(
          "| {} | {} | {} | {} | {:.1f} | {} | {:.1f} | {:.2f} ({:.2f} to {:.2f}) | {:.0f} / {:.0f} |\n",
          text_of(row, "model"), text_of(row, "batch"), text_of(row, "precision"), our_variant(row),
          number_of(ours, "images_per_second"), text_of(peer, "name"), number_of(peer, "images_per_second"),
          number_of(ratio, "median"), number_of(ratio, "lowest"), number_of(ratio, "highest"),
          number_of(ours, "memory_bytes") / (1 << 20), number_of(peer, "memory_bytes") / (1 << 20));
    }
  }
  return table;
}

std::string kernels_table(const Json& report) {
  std::string table =
      "| layer | operation | by | us | TFLOP/s | peak | GB/s | copy | roofline | bound | speed-up |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const Json& row : report.at("rows")) {
    if (text_of(row, "status") != "measured") {
      table += fmt::format("| {} | {} | {} | {} | | | | | | | |\n", text_of(row, "layer"),
                           text_of(row, "operation"), text_of(row, "implementation"), text_of(row, "status"));
      continue;
    }
    const std::string speed_up =
        row.at("peer").is_null()
            ? ""
            : fmt::format("{:.2f} over {}", number_of(row, "speed_up"), text_of(row, "peer"));
    table += fmt::format(
        "| {} | {} | {} | {:.1f} | {:.2f} | {:.0f} % | {:.0f} | {:.0f} % | {:.0f} % | {} | {} |\n",
        text_of(row, "layer"), text_of(row, "operation"), text_of(row, "implementation"),
        number_of(row.at("replay_us"), "median"), number_of(row, "tflops"),
        100 * number_of(row, "peak_share"), number_of(row, "gbytes_per_second"),
        100 * number_of(row, "copy_share"), 100 * number_of(row, "roofline_share"), text_of(row, "bound"),
        speed_up);
  }
  return table;
}

std::string step_table(const Json& report) {
  const auto ms = [&](const char* phase) { return 1e3 * number_of(report.at("phases").at(phase), "median"); };
  return "| model | batch | type | images/s | step ms | forward | backward | update | launches | "
         "MB/image | roofline |\n"
         "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n" +
         fmt::format(
             "| {} | {} | {} | {:.1f} | {:.3f} | {:.3f} | {:.3f} | {:.3f} | {} | {:.1f} | {:.0f} % |\n",
             text_of(report, "model"), text_of(report, "batch"), text_of(report, "precision"),
             number_of(report, "images_per_second"), 1e3 * number_of(report, "median_seconds"), ms("forward"),
             ms("backward"), ms("update"), text_of(report, "launches"), number_of(report, "mb_per_image"),
             100 * number_of(report, "roofline_share"));
}

std::string data_table(const Json& report) {
  std::string table = "| format | transform | threads | images/s (p20 to p80) |\n| --- | --- | --- | --- |\n";
  for (const Json& row : report.at("rows")) {
    const Json& speed = row.at("images_per_second");
    table += fmt::format("| {} | {} | {} | {:.0f} ({:.0f} to {:.0f}) |\n", text_of(row, "format"),
                         text_of(row, "transform"), text_of(row, "threads"), number_of(speed, "median"),
                         number_of(speed, "p20"), number_of(speed, "p80"));
  }
  return table;
}

std::string sums_table(const Json& report) {
  std::string table =
      "| ranks | bytes | us (p20 to p80) | algorithm GB/s | bus GB/s |\n| --- | --- | --- | --- | --- |\n";
  for (const Json& row : report.at("sizes")) {
    const Json& time = row.at("time_us");
    table += fmt::format(
        "| {} | {} | {:.1f} ({:.1f} to {:.1f}) | {:.3f} | {:.3f} |\n", text_of(report, "ranks"),
        text_of(row, "bytes"), number_of(time, "median"), number_of(time, "p20"), number_of(time, "p80"),
        number_of(row, "algorithm_bytes_per_second") * 1e-9, number_of(row, "bus_bytes_per_second") * 1e-9);
  }
  return table;
}

std::string source_line(const Json& report) {
  const Json& environment = report.at("environment");
  std::string peer;
  if (text_of(report, "kind") == "peers" && !report.at("rows").empty()) {
    for (const Json& found : report.at("rows")[0].at("peers")) peer = ", " + text_of(found, "implementation");
  }
  return fmt::format("\n{}{}, commit {}, {}.\n", text_of(environment, "device"), peer,
                     text_of(environment, "commit").substr(0, 12),
                     text_of(environment, "date").substr(0, 10));
}

}  // namespace

std::string markdown_of(const Json& report, const std::string& file) {
  try {
    const std::string kind = text_of(report, "kind");
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
