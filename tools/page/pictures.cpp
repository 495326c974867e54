// Chromium opens the page with the fragment #pictures, which makes page.js leave its pictures as hexadecimal
// digits in an element; --dump-dom prints it.
#include "tools/page/pictures.h"

#include <unistd.h>

#include <charconv>
#include <cstdlib>

#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/core/program.h"
#include "engine/core/temporary_folder.h"

namespace residuum {
namespace {

namespace fs = std::filesystem;

/// What Chromium prints of the page: its document after the scripts have run.
std::string document_of(const fs::path& chromium, const fs::path& folder, const std::string& html) {
  constexpr double kSeconds = 300;
  const fs::path page = folder / "page.html";
  write_file_atomically(page, html);
  std::vector<std::string> arguments = {"--headless=new",
                                        "--disable-gpu",
                                        "--disable-dev-shm-usage",
                                        "--no-first-run",
                                        "--host-resolver-rules=MAP * ~NOTFOUND",
                                        "--user-data-dir=" + (folder / "profile").string(),
                                        "--window-size=1200,900",
                                        "--virtual-time-budget=10000"};
  if (geteuid() == 0) arguments.emplace_back("--no-sandbox");  // it has none for root; the page is ours
  arguments.insert(arguments.end(), {"--dump-dom", "file://" + page.string() + "#pictures"});
  ProgramResult result = run_program(chromium, arguments, kSeconds);
  check(result.exit_code == 0, ErrorKind::kIo, "{} failed with {}: {}", chromium.string(), result.exit_code,
        result.errors.substr(0, std::min(result.errors.find('\n'), size_t{300})));
  return std::move(result.output);
}

/// The bytes of "89504e47...".
std::string bytes_of_digits(const std::string& digits) {
  std::string bytes;
  for (size_t i = 0; i + 1 < digits.size(); i += 2) {
    unsigned char byte = 0;
    std::from_chars(digits.data() + i, digits.data() + i + 2, byte, 16);
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

}  // namespace

fs::path find_chromium() {
  if (const char* given = std::getenv("RESIDUUM_CHROMIUM"); given != nullptr && *given != '\0') {
    check(
        is_program(given), ErrorKind::kConfig,
        "PNG files are drawn by Chromium, but RESIDUUM_CHROMIUM is '{}', which is no program that can be run",
        given);
    return given;
  }
  const auto found =
      find_program({"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}, path_folders());
  check(found.has_value(), ErrorKind::kConfig,
        "PNG files are drawn by Chromium, which was not found on PATH: install the package chromium, or name "
        "the program in RESIDUUM_CHROMIUM");
  return *found;
}

std::vector<std::string> draw_pictures(const std::string& html, size_t figures) {
  const fs::path chromium = find_chromium();
  if (figures == 0) return {};
  const TemporaryFolder folder;
  const std::string document = document_of(chromium, folder.path(), html);
  const std::string mark = "<script type=\"application/json\" id=\"pictures\">";
  const size_t begin = document.rfind(mark);
  check(begin != std::string::npos, ErrorKind::kIo, "{} did not draw the page's figures", chromium.string());
  const size_t first = begin + mark.size(), end = document.find("</script>", first);
  const nlohmann::json drawn = try_parse_json(document.substr(first, end - first));
  check(drawn.is_array() && drawn.size() == figures, ErrorKind::kIo, "{} drew {} of the page's {} figures",
        chromium.string(), drawn.size(), figures);
  std::vector<std::string> pictures;
  for (const nlohmann::json& digits : drawn) pictures.push_back(bytes_of_digits(digits.get<std::string>()));
  return pictures;
}

}  // namespace residuum
