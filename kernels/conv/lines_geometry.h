// How the forward pass of few channels lays source lines out in shared memory (conv/lines.cuh): as lines of
// all images, one below the other with the padding between them, in a ring that holds those of two tiles of
// output pixels. Invariant: an element lies at the same place within a 16-byte chunk as in the source, so
// that whole chunks are copied; lines and rounds of the ring differ by as many elements, modulo a chunk,
// there and here. Plain C++.
#pragma once

#include <algorithm>
#include <numeric>

#include "kernels/device/divider.h"
#include "kernels/shapes.h"

namespace residuum::kernels {

/// Groups of eight elements that a kernel line may take of a source line: 7 taps of 3 channels are three.
inline constexpr int kMostLineGroups = 3;

/// Lengths are elements of 16 bits. What a kernel line sees of a source line for one output pixel is a window
/// of `window` elements; lines are counted through all images, each of them with its padding above and below.
struct ConvLines {
  static constexpr int kChunk = 8;

  int kernel_h = 0, window = 0, stride = 0, pad = 0;
  /// Groups that cover a window, the first of which begins `skew` elements before it so that they begin at
  /// even elements; where no skew makes them all do so, they are read shifted.
  int groups = 0, skew = 0;
  int step = 0, left = 0;  ///< from one window to the next; of the first, in front of the line
  bool shifted = false;
  int src_h = 0, line = 0, used = 0;  ///< lines of an image; elements of a line, those that windows reach
  int image_lines = 0, touched_lines = 0;  ///< from one image's first line to the next one's; that taps touch
  /// Line v begins at first + v % slots * pitch; `lead` zeros are in front of each line and behind the last:
  /// more than windows reach out of a line, as chunks that are no whole ones of a line bring up to seven
  /// elements of others, until these are made zeros again while neighbouring lines are read. The first
  /// kernel_h - 1 slots are there once more behind the others: no window's lines wrap around.
  int first = 0, lead = 0, pitch = 0, slots = 0;
  int chunks = 0;  ///< of a line, at most
  int pixels = 0;  ///< of all outputs
  int64_t all_lines = 0, ring_bytes = 0;
  Divider of_image, of_line;                    ///< output pixels
  Divider of_slots, of_image_lines, of_chunks;  ///< by slots, image_lines, chunks

  ConvLines() = default;
  /// For tiles of `rows` output pixels.
  constexpr ConvLines(const ConvShape& s, int rows) {
    const auto whole = [](int64_t value) { return static_cast<int>(value); };
    kernel_h = whole(s.r), window = whole(s.s * s.c), stride = whole(s.stride), pad = whole(s.pad);
    src_h = whole(s.h), line = whole(s.w * s.c), pixels = whole(s.n * s.p() * s.q());
    shifted = s.stride * s.c % 2 != 0 || s.w * s.c % 2 != 0;
    skew = shifted ? 0 : whole(s.pad * s.c % 2);
    groups = whole((skew + s.s * s.c + kChunk - 1) / kChunk);
    step = whole(s.stride * s.c), left = whole(s.pad * s.c) + skew;
    // Lines this far apart lie alike within their chunks.
    const int64_t period = kChunk / std::gcd(int64_t{kChunk}, s.w * s.c);
    const auto up = [](int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; };
    touched_lines = whole((s.p() - 1) * s.stride + s.r);
    image_lines = whole(s.h + up(std::max<int64_t>(0, touched_lines - s.h), period));
    used = whole(std::min(s.w, (s.q() - 1) * s.stride + s.s - s.pad) * s.c);
    const int64_t others = period > 1 ? kChunk - 1 : 0;
    const int64_t right = (s.q() - 1) * step - left + groups * kChunk + (shifted ? 2 : 0) - line;
    lead = whole(up(std::max<int64_t>(left, right) + others, kChunk));
    pitch = lead + line;
    first = whole(up(s.pad * s.w * s.c, kChunk) - s.pad * s.w * s.c);
    slots = whole(up(lines_of(s, 2 * rows), period));
    chunks = whole(up(period > 1 ? used + kChunk - 1 : used, kChunk) / kChunk);
    all_lines = s.n * image_lines;
    ring_bytes = up(2 * (first + (int64_t{slots} + kernel_h - 1) * pitch + lead), 16);
    of_image = Divider(s.p() * s.q()), of_line = Divider(s.q());
    of_slots = Divider(slots), of_image_lines = Divider(image_lines), of_chunks = Divider(chunks);
  }

  /// Where the windows of output column x begin within a slot, with what is read before them.
  constexpr int window_of(int x) const { return lead + x * step - left; }
  /// Two lines of the kernel are multiplied together, so that their groups are whole steps of the sum.
  constexpr int pairs() const { return (kernel_h + 1) / 2; }
  /// Weights of a pair are rows of so many bytes, one for each of 64 output channels, as products read them.
  static constexpr int row_bytes(int groups) { return groups <= 2 ? 64 : 128; }
  constexpr int64_t weight_bytes() const { return int64_t{pairs()} * 64 * row_bytes(groups); }

 private:
  /// Lines that the taps of `count` output pixels in a row touch, at most; they begin at a multiple of half
  /// as many pixels.
  constexpr int64_t lines_of(const ConvShape& s, int64_t count) const {
    const auto borders = [&](int64_t size, int64_t most) {
      const int64_t last = size - std::gcd(size, count / 2);  // where they can begin
      return std::min(most, (last + std::min(count, int64_t{pixels}) - 1) / size);
    };
    const int64_t lines = borders(s.q(), s.n * s.p() - 1), images = borders(s.p() * s.q(), s.n - 1);
    return lines * s.stride + images * std::max<int64_t>(0, image_lines - s.p() * s.stride) + s.r;
  }
};

}  // namespace residuum::kernels
