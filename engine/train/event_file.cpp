// Protobuf wire format: a field is (number << 3 | type), type 0 a varint, 1 eight bytes, 2 a length and
// bytes, 5 four.
#include "engine/train/event_file.h"

#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <chrono>

#include "engine/core/crc32c.h"

namespace residuum {
namespace {

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7F) | 0x80));
  out.push_back(static_cast<char>(value));
}

void append_little_endian(std::string& out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
}

void append_varint_field(std::string& out, uint64_t number, int64_t value) {
  append_varint(out, number << 3);
  append_varint(out, static_cast<uint64_t>(value));
}

void append_double_field(std::string& out, uint64_t number, double value) {
  append_varint(out, number << 3 | 1);
  append_little_endian(out, std::bit_cast<uint64_t>(value), 8);
}

void append_float_field(std::string& out, uint64_t number, float value) {
  append_varint(out, number << 3 | 5);
  append_little_endian(out, std::bit_cast<uint32_t>(value), 4);
}

void append_bytes_field(std::string& out, uint64_t number, std::string_view bytes) {
  append_varint(out, number << 3 | 2);
  append_varint(out, bytes.size());
  out += bytes;
}

// Event.wall_time = 1, Event.step = 2.
std::string event(double wall_time, int64_t step) {
  std::string out;
  append_double_field(out, 1, wall_time);
  append_varint_field(out, 2, step);
  return out;
}

uint32_t masked_crc(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes_of(bytes));
  return std::rotr(crc, 15) + 0xa282ead8u;
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::filesystem::path unique_path(const std::filesystem::path& directory) {
  static std::atomic<int> opened{0};
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host = {"unknown"};
  return directory / fmt::format("events.out.tfevents.{:010}.{}.{}.{}", static_cast<int64_t>(seconds_now()),
                                 host.data(), ::getpid(), opened++);
}

}  // namespace

EventFile::EventFile(const std::filesystem::path& directory) : file_(unique_path(directory)) {
  std::string first = event(seconds_now(), 0);
  append_bytes_field(first, 3, "brain.Event:2");  // Event.file_version
  file_.write(event_record(first));
}

void EventFile::restart_at(int64_t step, double wall_time) {
  std::string session_log;
  append_varint_field(session_log, 1, 1);  // SessionLog.status = START
  std::string out = event(wall_time, step);
  append_bytes_field(out, 7, session_log);  // Event.session_log
  file_.write(event_record(out));
}

void EventFile::add_scalar(std::string_view tag, double value, int64_t step, double wall_time) {
  std::string summary_value, summary;
  append_bytes_field(summary_value, 1, tag);                        // Summary.Value.tag
  append_float_field(summary_value, 2, static_cast<float>(value));  // Summary.Value.simple_value
  append_bytes_field(summary, 1, summary_value);                    // Summary.value
  std::string out = event(wall_time, step);
  append_bytes_field(out, 5, summary);  // Event.summary
  file_.write(event_record(out));
}

std::string event_record(std::string_view data) {
  std::string record;
  append_little_endian(record, data.size(), 8);
  append_little_endian(record, masked_crc(record), 4);
  record += data;
  append_little_endian(record, masked_crc(data), 4);
  return record;
}

}  // namespace residuum
