// PNG by libpng's row interface, reduced to 8-bit grey or RGB. Text, profiles and other ancillary chunks are
// skipped unread, so that they can cost neither memory nor time.
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <string>

#include "engine/core/check.h"
#include "engine/data/codecs.h"

namespace residuum {
namespace {

/// The library's state. Errors come back by longjmp, so the functions that call the library hold no C++
/// objects.
struct Session {
  png_structp png = nullptr;
  png_infop info = nullptr;
  const png_byte* bytes = nullptr;
  size_t left = 0;
  char message[128] = {};

  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() { png_destroy_read_struct(&png, &info, nullptr); }
};

void on_error(png_structp png, png_const_charp message) {
  auto* session = static_cast<Session*>(png_get_error_ptr(png));
  std::strncpy(session->message, message, sizeof(session->message) - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

void read_bytes(png_structp png, png_bytep to, size_t count) {
  auto* session = static_cast<Session*>(png_get_io_ptr(png));
  if (count > session->left) png_error(png, "file truncated");
  std::memcpy(to, session->bytes, count);
  session->bytes += count;
  session->left -= count;
}

bool read_header(Session& session, bool keep_exif) {
  session.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &session, on_error, on_warning);
  if (!session.png) return false;
  if (setjmp(png_jmpbuf(session.png))) return false;
  session.info = png_create_info_struct(session.png);
  if (!session.info) return false;
  png_set_read_fn(session.png, &session, read_bytes);
  png_set_keep_unknown_chunks(session.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  if (keep_exif) {
    const png_byte exif[] = "eXIf";
    png_set_keep_unknown_chunks(session.png, PNG_HANDLE_CHUNK_AS_DEFAULT, exif, 1);
  }
  png_read_info(session.png, session.info);
  return true;
}

bool set_transforms(Session& session) {
  if (setjmp(png_jmpbuf(session.png))) return false;
  const int color_type = png_get_color_type(session.png, session.info);
  if (color_type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(session.png);
  if (color_type == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(session.png);
  png_set_strip_16(session.png);
  png_set_strip_alpha(session.png);
  png_set_interlace_handling(session.png);
  png_read_update_info(session.png, session.info);
  return true;
}

bool read_pixels(Session& session, png_bytepp rows) {
  if (setjmp(png_jmpbuf(session.png))) return false;
  png_read_image(session.png, rows);
  png_read_end(session.png, session.info);
  return true;
}

void require(bool done, const Session& session) {
  check(done, ErrorKind::kData, "PNG: {}", session.message[0] ? session.message : "out of memory");
}

std::vector<std::byte> find_exif(Session& session) {
  png_bytep data = nullptr;
  png_uint_32 size = 0;
  if (!png_get_eXIf_1(session.png, session.info, &size, &data)) return {};
  const auto* bytes = reinterpret_cast<const std::byte*>(data);
  return {bytes, bytes + size};
}

}  // namespace

bool is_png(std::span<const std::byte> file) {
  constexpr size_t kSignature = 8;
  return file.size() >= kSignature &&
         png_sig_cmp(reinterpret_cast<png_const_bytep>(file.data()), 0, kSignature) == 0;
}

DecodedImage decode_png(std::span<const std::byte> file, const DecodeOptions& options) {
  Session session;
  session.bytes = reinterpret_cast<const png_byte*>(file.data());
  session.left = file.size();
  require(read_header(session, options.apply_orientation), session);
  const int64_t height = png_get_image_height(session.png, session.info);
  const int64_t width = png_get_image_width(session.png, session.info);
  check(height * width <= options.max_pixels, ErrorKind::kData, "PNG of {}x{} pixels, allowed are {}", height,
        width, options.max_pixels);
  require(set_transforms(session), session);

  DecodedImage result;
  const int channels = png_get_channels(session.png, session.info);
  result.image.reshape({static_cast<int>(height), static_cast<int>(width), channels});
  const size_t row_bytes = png_get_rowbytes(session.png, session.info);
  check((channels == 1 || channels == 3) && static_cast<int64_t>(row_bytes) == width * channels,
        ErrorKind::kInternal, "PNG: row of {} bytes for {} pixels of {} channels", row_bytes, width,
        channels);
  std::vector<png_bytep> rows(static_cast<size_t>(height));
  for (size_t y = 0; y < rows.size(); ++y) rows[y] = result.image.pixels.data() + y * row_bytes;
  require(read_pixels(session, rows.data()), session);
  if (options.apply_orientation) result.exif = find_exif(session);
  return result;
}

}  // namespace residuum
