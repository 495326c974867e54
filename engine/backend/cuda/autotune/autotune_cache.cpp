#include "engine/backend/cuda/autotune/autotune_cache.h"

#include "engine/core/check.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/core/log.h"

namespace residuum::cuda {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "residuum autotune 1";

Json to_json(const std::string& signature, const Measured& measured) {
  Json microseconds = Json::object(), excluded = Json::object();
  for (const auto& [name, time] : measured.microseconds) microseconds[name] = time;
  for (const auto& [name, reason] : measured.excluded) excluded[name] = reason;
  return {{"group", signature},
          {"choice", measured.choice},
          {"microseconds", microseconds},
          {"excluded", excluded}};
}

Measured from_json(const Json& json) {
  Measured measured{json.at("choice").get<std::string>(), {}, {}};
  for (const auto& [name, time] : json.at("microseconds").items()) {
    measured.microseconds.emplace_back(name, time.get<double>());
  }
  for (const auto& [name, reason] : json.at("excluded").items()) {
    measured.excluded.emplace_back(name, reason.get<std::string>());
  }
  return measured;
}

/// The file's sections; an empty list when it is absent or, with a warning, when it is not understood.
Json read_sections(const std::filesystem::path& path) {
  if (path.empty() || !std::filesystem::exists(path)) return Json::array();
  try {
    const Json file = parse_json<Json>(read_text_file(path));
    check(file.at("format") == kFormat, ErrorKind::kData, "its format is {}, not \"{}\"",
          json_text(file.at("format")), kFormat);
    for (const Json& section : file.at("sections")) {
      static_cast<void>(section.at("header").get<AutotuneCache::Header>());
      for (const Json& entry : section.at("entries")) {
        static_cast<void>(entry.at("group").get<std::string>());
        static_cast<void>(from_json(entry));
      }
    }
    return file.at("sections");
  } catch (const std::exception& error) {
    log_warning("autotuner: the cache file {} is ignored and will be replaced: {}", path.string(),
                error.what());
    return Json::array();
  }
}

/// The entries of the section with that header, by signature.
std::map<std::string, Measured> entries_of(const Json& sections, const AutotuneCache::Header& header) {
  std::map<std::string, Measured> entries;
  for (const Json& section : sections) {
    if (section.at("header").get<AutotuneCache::Header>() != header) continue;
    for (const Json& entry : section.at("entries")) {
      entries[entry.at("group").get<std::string>()] = from_json(entry);
    }
  }
  return entries;
}

}  // namespace

AutotuneCache::AutotuneCache(std::filesystem::path path, Header header)
    : path_(std::move(path)),
      header_(std::move(header)),
      entries_(entries_of(read_sections(path_), header_)) {}

const Measured* AutotuneCache::find(const std::string& signature) const {
  const auto found = entries_.find(signature);
  return found == entries_.end() ? nullptr : &found->second;
}

void AutotuneCache::add(const std::string& signature, Measured measured) {
  entries_[signature] = std::move(measured);
  if (path_.empty() || !writable_) return;
  try {
    write();
  } catch (const Error& error) {
    log_warning("autotuner: choices are not kept: {}", error.what());
    writable_ = false;
  }
}

void AutotuneCache::write() {
  if (path_.has_parent_path()) make_directories(path_.parent_path());
  const FileLock lock(path_.string() + ".lock");
  Json sections = Json::array();
  for (const Json& section : read_sections(path_)) {
    if (section.at("header").get<Header>() == header_) {
      for (auto& [signature, measured] : entries_of(Json::array({section}), header_)) {
        entries_.emplace(signature, std::move(measured));  // ours stay
      }
    } else {
      sections.push_back(section);
    }
  }
  Json entries = Json::array();
  for (const auto& [signature, measured] : entries_) entries.push_back(to_json(signature, measured));
  sections.push_back({{"header", header_}, {"entries", entries}});
  const Json file = {{"format", kFormat}, {"sections", sections}};
  write_file_atomically(path_, lossy_json_text(file, 1) + "\n");
}

}  // namespace residuum::cuda
