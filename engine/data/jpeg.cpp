// JPEG by libjpeg-turbo with its defaults (islow DCT, fancy upsampling), as Pillow uses it: a source that
// never runs on, so that missing data suspends the decoder, which is an error, instead of being painted grey.
#include <cstdio>  // before jpeglib.h, which needs FILE

#include <jpeglib.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <string>

#include "engine/core/check.h"
#include "engine/data/codecs.h"

namespace residuum {
namespace {

constexpr int kExifMarker = JPEG_APP0 + 1;

/// The library's state. Errors come back by longjmp, so the functions that call the library hold no C++
/// objects.
struct Session {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  jpeg_source_mgr source{};
  jpeg_progress_mgr progress{};
  std::jmp_buf jump{};
  int max_scans = 0;
  char message[JMSG_LENGTH_MAX] = {};
};

Session& session_of(j_common_ptr info) {
  return *static_cast<Session*>(info->client_data);
}

void on_error(j_common_ptr info) {
  Session& session = session_of(info);
  info->err->format_message(info, session.message);
  std::longjmp(session.jump, 1);
}

void on_message(j_common_ptr) {}

void on_progress(j_common_ptr info) {
  Session& session = session_of(info);
  if (session.info.input_scan_number <= session.max_scans) return;
  std::snprintf(session.message, sizeof(session.message), "more than %d scans", session.max_scans);
  std::longjmp(session.jump, 1);
}

void source_nothing(j_decompress_ptr) {}
boolean source_at_end(j_decompress_ptr) {
  return FALSE;
}
void source_skip(j_decompress_ptr info, long count) {
  if (count <= 0) return;
  const size_t bytes = std::min(static_cast<size_t>(count), info->src->bytes_in_buffer);
  info->src->next_input_byte += bytes;
  info->src->bytes_in_buffer -= bytes;
}

enum class Outcome { kDone, kTruncated, kFailed };

Outcome read_header(Session& session, const JOCTET* bytes, size_t size, bool keep_exif) {
  jpeg_decompress_struct& info = session.info;
  info.err = jpeg_std_error(&session.errors);
  session.errors.error_exit = on_error;
  session.errors.output_message = on_message;
  info.client_data = &session;
  if (setjmp(session.jump)) return Outcome::kFailed;
  jpeg_create_decompress(&info);
  info.client_data = &session;
  session.source = {bytes,         size, source_nothing, source_at_end, source_skip, jpeg_resync_to_restart,
                    source_nothing};
  info.src = &session.source;
  session.progress.progress_monitor = on_progress;
  info.progress = &session.progress;
  if (keep_exif) jpeg_save_markers(&info, kExifMarker, 0xFFFF);
  int status = JPEG_HEADER_TABLES_ONLY;
  while (status == JPEG_HEADER_TABLES_ONLY) status = jpeg_read_header(&info, FALSE);
  return status == JPEG_SUSPENDED ? Outcome::kTruncated : Outcome::kDone;
}

Outcome read_pixels(Session& session, J_COLOR_SPACE color_space, uint8_t* pixels) {
  jpeg_decompress_struct& info = session.info;
  if (setjmp(session.jump)) return Outcome::kFailed;
  info.out_color_space = color_space;
  if (!jpeg_start_decompress(&info)) return Outcome::kTruncated;
  const size_t row_bytes = size_t{info.output_width} * static_cast<size_t>(info.output_components);
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = pixels + info.output_scanline * row_bytes;
    if (jpeg_read_scanlines(&info, &row, 1) != 1) return Outcome::kTruncated;
  }
  return Outcome::kDone;  // a missing end marker is forgiven
}

void require(Outcome outcome, const Session& session, size_t size) {
  check(outcome != Outcome::kFailed, ErrorKind::kData, "JPEG: {}", session.message);
  check(outcome != Outcome::kTruncated, ErrorKind::kData, "JPEG truncated at {} bytes", size);
}

/// Destroys the decoder on every way out.
struct Guard {
  Session& session;
  explicit Guard(Session& s) : session(s) {}
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;
  ~Guard() { jpeg_destroy_decompress(&session.info); }
};

/// (a * b + 127) / 255 as Pillow rounds it.
int multiply_255(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

/// Pillow's "CMYK;I" (stored inverted) to RGB.
Image to_rgb(const Image& inverted_cmyk) {
  Image rgb;
  rgb.reshape({inverted_cmyk.height, inverted_cmyk.width, 3});
  const size_t count = rgb.pixels.size() / 3;
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* from = &inverted_cmyk.pixels[4 * i];
    const int not_black = from[3];
    for (size_t c = 0; c < 3; ++c) {
      rgb.pixels[3 * i + c] =
          static_cast<uint8_t>(std::max(0, not_black - multiply_255(255 - from[c], not_black)));
    }
  }
  return rgb;
}

std::vector<std::byte> find_exif(const jpeg_decompress_struct& info) {
  constexpr char kSignature[] = "Exif\0";  // with the second zero byte that ends the literal
  constexpr size_t kLength = sizeof(kSignature);
  for (const jpeg_marker_struct* marker = info.marker_list; marker; marker = marker->next) {
    if (marker->marker != kExifMarker || marker->data_length < kLength) continue;
    if (std::memcmp(marker->data, kSignature, kLength) != 0) continue;
    const auto* bytes = reinterpret_cast<const std::byte*>(marker->data);
    return {bytes + kLength, bytes + marker->data_length};
  }
  return {};
}

}  // namespace

bool is_jpeg(std::span<const std::byte> file) {
  return file.size() >= 3 && file[0] == std::byte{0xFF} && file[1] == std::byte{0xD8} &&
         file[2] == std::byte{0xFF};
}

DecodedImage decode_jpeg(std::span<const std::byte> file, const DecodeOptions& options) {
  Session session;
  session.max_scans = options.max_scans;
  const Guard guard(session);
  const auto* bytes = reinterpret_cast<const JOCTET*>(file.data());
  require(read_header(session, bytes, file.size(), options.apply_orientation), session, file.size());

  const jpeg_decompress_struct& info = session.info;
  const int64_t pixels = int64_t{info.image_width} * info.image_height;
  check(pixels <= options.max_pixels, ErrorKind::kData, "JPEG of {}x{} pixels, allowed are {}",
        info.image_height, info.image_width, options.max_pixels);
  const int components = info.num_components;
  check(components == 1 || components == 3 || components == 4, ErrorKind::kData,
        "JPEG of {} components, allowed are 1, 3 and 4", components);

  DecodedImage result;
  result.image.reshape({static_cast<int>(info.image_height), static_cast<int>(info.image_width), components});
  const J_COLOR_SPACE color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
  require(read_pixels(session, color_space, result.image.pixels.data()), session, file.size());
  if (components == 4) result.image = to_rgb(result.image);
  if (options.apply_orientation) result.exif = find_exif(info);
  return result;
}

}  // namespace residuum
