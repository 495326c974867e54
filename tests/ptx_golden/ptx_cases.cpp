#include "tests/ptx_golden/ptx_cases.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace residuum::ptx {
namespace {

/// A binary floating-point format: significant bits with the leading one, exponent of the smallest normal.
struct Format {
  int bits, lowest_exponent, width;
};
constexpr Format kBF16Format{8, -126, 16}, kF16Format{11, -14, 16}, kF32Format{24, -126, 32};

float as_float(uint32_t bits) {
  return std::bit_cast<float>(bits);
}
uint32_t as_bits(float value) {
  return std::bit_cast<uint32_t>(value);
}

/// The value of `word` in a format, by the definition of IEEE 754.
double decode(uint32_t word, const Format& format) {
  const int fraction_bits = format.bits - 1;
  const auto fraction = static_cast<double>(word & ((1u << fraction_bits) - 1));
  const int exponent_bits = format.width - format.bits;
  const auto exponent = static_cast<int>(word >> fraction_bits & ((1u << exponent_bits) - 1));
  const double sign = word >> (format.width - 1) & 1 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) {
    if (fraction != 0) return std::numeric_limits<double>::quiet_NaN();
    return sign * std::numeric_limits<double>::infinity();
  }
  const int power = std::max(exponent, 1) - 1 + format.lowest_exponent - fraction_bits;
  return sign * std::ldexp((exponent == 0 ? 0 : std::ldexp(1.0, fraction_bits)) + fraction, power);
}

/// `value` rounded to `bits` significant bits; beyond the largest exponent, infinity.
double rounded(double value, int bits, int lowest_exponent, bool ties_away) {
  if (!std::isfinite(value) || value == 0) return value;
  const int exponent = std::max(std::ilogb(value), lowest_exponent) - (bits - 1);
  const double scaled = std::ldexp(value, -exponent);
  const double whole = ties_away ? std::round(scaled) : std::nearbyint(scaled);
  const double result = std::ldexp(whole, exponent);
  const bool overflow = std::ilogb(result) > 1 - lowest_exponent;
  return overflow ? std::copysign(std::numeric_limits<double>::infinity(), value) : result;
}

/// The word of a value that the format holds exactly; NaN as all ones but the sign.
uint32_t encode(double value, const Format& format) {
  const int fraction_bits = format.bits - 1;
  const uint32_t sign = std::signbit(value) ? 1u << (format.width - 1) : 0;
  const uint32_t all_exponent = ((1u << (format.width - format.bits)) - 1) << fraction_bits;
  if (std::isnan(value)) return all_exponent | ((1u << fraction_bits) - 1);
  if (std::isinf(value)) return sign | all_exponent;
  const double unit = std::ldexp(1.0, format.lowest_exponent - fraction_bits);
  if (std::abs(value) < std::ldexp(1.0, format.lowest_exponent)) {
    return sign | static_cast<uint32_t>(std::abs(value) / unit);
  }
  const int exponent = std::ilogb(value);
  const double fraction =
      std::ldexp(std::abs(value), fraction_bits - exponent) - std::ldexp(1.0, fraction_bits);
  return sign | (static_cast<uint32_t>(exponent - format.lowest_exponent + 1) << fraction_bits) |
         static_cast<uint32_t>(fraction);
}

// ---- inputs ----

/// std::mt19937 is specified to the bit, distributions are not.
class Source {
 public:
  explicit Source(uint32_t seed) : engine_(seed) {}
  uint32_t bits() { return static_cast<uint32_t>(engine_()); }
  int below(int bound) { return static_cast<int>(bits() % static_cast<uint32_t>(bound)); }
  /// Of random sign and magnitude from 1/16 to 16: sums of such numbers round.
  double real() { return std::ldexp((bits() & 1 ? -1 : 1) * (1 + bits() * 0x1p-32), below(8) - 4); }
  double integer() { return below(17) - 8; }

 private:
  std::mt19937 engine_;
};

Words random_words(Source& source, size_t count) {
  Words words(count);
  for (uint32_t& word : words) word = source.bits();
  return words;
}

/// 0..31 in random order.
Words shuffled_lanes(Source& source) {
  Words order(32);
  std::iota(order.begin(), order.end(), 0u);
  for (int i = 31; i > 0; --i)
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(source.below(i + 1))]);
  return order;
}

Words joined(Words first, const Words& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

/// 256 words: what is special about f32 and its roundings, then random bits.
Words floats() {
  Source source(7);
  Words words;
  for (const uint32_t magnitude :
       {0x00000000u, 0x00000001u, 0x007FFFFFu, 0x00800000u, 0x7F7FFFFFu, 0x7F800000u, 0x7FC00000u,
        0x7F800001u,
        // ties of TF32 and f16, of bf16, and their neighbours
        0x3F801000u, 0x3F803000u, 0x3F800FFFu, 0x3F801001u, 0x3F808000u, 0x3F818000u, 0x3F807FFFu,
        0x3F808001u,
        // f16: largest, first that overflows, smallest normal, subnormal, tie to zero, just above it
        0x477FE000u, 0x477FF000u, 0x477FEFFFu, 0x38800000u, 0x387FC000u, 0x33800000u, 0x33000000u,
        0x33000001u,
        // bf16 and TF32: rounding into infinity, and out of the subnormals
        0x7F7F8000u, 0x7F7F7FFFu, 0x007F8000u, 0x00008000u, 0x00018000u, 0x00001000u,
        // NaNs: all ones, and some that only bits below those of TF32 tell from infinity
        0x7FFFFFFFu, 0x7FFFF000u, 0x7F801000u, 0x7F802000u}) {
    words.push_back(magnitude);
    words.push_back(magnitude | 0x80000000u);
  }
  while (words.size() < 128) words.push_back(source.bits());
  // Exponents near 1: what f16 can hold.
  while (words.size() < 256) words.push_back((source.bits() & 0x8FFFFFFFu) | 0x30000000u);
  return words;
}

/// 256 words of 16 bits: specials of both formats, then random ones.
Words halves() {
  Source source(8);
  Words words;
  for (const uint32_t magnitude :
       {0x0000u, 0x0001u, 0x007Fu, 0x0080u, 0x03FFu, 0x0400u, 0x3C00u, 0x3F80u, 0x7BFFu, 0x7C00u, 0x7C01u,
        0x7E00u, 0x7F7Fu, 0x7F80u, 0x7F81u, 0x7FC0u, 0x7FFFu}) {
    words.push_back(magnitude);
    words.push_back(magnitude | 0x8000u);
  }
  while (words.size() < 256) words.push_back(source.bits() & 0xFFFFu);
  return words;
}

// ---- copies and matrices of 16-bit elements ----

Expected expected_copies(const Words& in) {
  Words out;
  for (size_t copy = 0; copy < 2; ++copy) {
    for (size_t lane = 32; lane-- > 0;) {
      for (size_t word = 0; word < 4; ++word) {
        out.push_back(in[256 + lane] >> copy & 1 ? in[128 * copy + 4 * lane + word] : 0);
      }
    }
  }
  return {out, {}};
}

/// Matrix m has the rows that lanes 8m to 8m + 7 name.
template <bool kTransposed>
Expected expected_ldmatrix(const Words& in) {
  const auto element = [&in](size_t matrix, size_t row, size_t column) {
    const uint32_t word = in[4 * in[128 + 8 * matrix + row] + column / 2];
    return column % 2 == 0 ? word & 0xFFFFu : word >> 16;
  };
  Words out(128);
  for (size_t matrix = 0; matrix < 4; ++matrix) {
    for (size_t lane = 0; lane < 32; ++lane) {
      const size_t row = lane / 4, column = lane % 4 * 2;
      const uint32_t low = kTransposed ? element(matrix, column, row) : element(matrix, row, column);
      const uint32_t high = kTransposed ? element(matrix, column + 1, row) : element(matrix, row, column + 1);
      out[32 * matrix + lane] = high << 16 | low;
    }
  }
  return {out, {}};
}

Expected expected_load(const Words& in) {
  Words out(32);
  for (size_t lane = 0; lane < 32; ++lane) out[lane] = in[in[32 + lane]];
  return {out, {}};
}

/// The numbers before, then the sums.
Expected expected_additions(const Words& in) {
  Words out(in.begin(), in.begin() + 32);
  for (size_t lane = 0; lane < 32; ++lane) out.push_back(in[lane] + in[32 + lane]);
  return {out, {}};
}
Expected expected_copy(const Words& in) {
  return {in, {}};
}

// ---- products ----

/// Where an element of a matrix is kept: PTX ISA 9.7.14.5, figures of m16n8k8 and m16n8k16. `pack` elements
/// share a register.
struct Place {
  size_t lane, reg, part;
};
Place place_of_a(size_t row, size_t k, size_t pack) {
  return {row % 8 * 4 + k / pack % 4, row / 8 + k / (4 * pack) * 2, k % pack};
}
Place place_of_b(size_t k, size_t column, size_t pack) {
  return {column * 4 + k / pack % 4, k / (4 * pack), k % pack};
}
Place place_of_c(size_t row, size_t column) {
  return {row % 8 * 4 + column / 2, row / 8 * 2 + column % 2, 0};
}

/// The format of the factors: TF32 is f32 of which the low 13 bits do not count.
struct Factors {
  Format format;
  uint32_t mask;
  size_t pack() const { return format.width == 16 ? 2 : 1; }
  size_t depth() const { return 8 * pack(); }
  double read(const Words& in, size_t first_register, const Place& place) const {
    const uint32_t word = in[32 * (first_register + place.reg) + place.lane];
    return decode(word >> 16 * place.part & mask, format);
  }
};
constexpr Factors kBF16Factors{kBF16Format, 0xFFFFu}, kF16Factors{kF16Format, 0xFFFFu},
    kTf32Factors{kF32Format, 0xFFFFE000u};

template <const Factors& kFactors>
Expected expected_product(const Words& in) {
  Expected expected{Words(128), std::vector<double>(128)};
  for (size_t row = 0; row < 16; ++row) {
    for (size_t column = 0; column < 8; ++column) {
      const Place c = place_of_c(row, column);
      double sum = as_float(in[32 * (6 + c.reg) + c.lane]), scale = std::abs(sum);
      for (size_t k = 0; k < kFactors.depth(); ++k) {
        const double product = kFactors.read(in, 0, place_of_a(row, k, kFactors.pack())) *
                               kFactors.read(in, 4, place_of_b(k, column, kFactors.pack()));
        sum += product;
        scale += std::abs(product);
      }
      expected.words[32 * c.reg + c.lane] = as_bits(static_cast<float>(sum));
      expected.scale[32 * c.reg + c.lane] = scale;
    }
  }
  return expected;
}

/// Six registers of factors and four of sums. Bits of a TF32 factor that do not count are random.
Words product_inputs(const Factors& factors, uint32_t seed, bool integers) {
  Source source(seed);
  const auto number = [&] { return integers ? source.integer() : source.real(); };
  const bool is_tf32 = factors.format.width == 32;
  Words words;
  for (size_t i = 0; i < 6 * 32; ++i) {
    uint32_t word = 0;
    for (size_t part = 0; part < factors.pack(); ++part) {
      const int bits = is_tf32 ? 11 : factors.format.bits;
      const double value = rounded(number(), bits, factors.format.lowest_exponent, false);
      word |= encode(value, factors.format) << 16 * part;
    }
    words.push_back(is_tf32 ? word | (source.bits() & 0x1FFFu) : word);
  }
  for (size_t i = 0; i < 4 * 32; ++i) words.push_back(as_bits(static_cast<float>(number())));
  return words;
}

// ---- products of a warpgroup (PTX ISA 9.7.15.5) ----

/// How the right factor of 16 x columns lies in shared memory.
struct FactorLayout {
  bool flat;
  size_t row_bytes, columns;
  size_t words() const { return (flat ? columns / 64 * 16 : columns) * row_bytes / 4; }
  /// The word that holds element (k, column): chunks of 16 bytes are exchanged within each eight rows of 128
  /// bytes.
  size_t word_of(size_t k, size_t column) const {
    if (flat) return column / 64 * 512 + k * 32 + ((column % 64 / 8) ^ (k % 8)) * 4 + column % 8 / 2;
    const size_t chunk = 2 + k / 8, swizzle = row_bytes == 128 ? column % 8 : column / 2 % 4;
    return column * (row_bytes / 4) + (chunk ^ swizzle) * 4 + k % 8 / 2;
  }
};
constexpr FactorLayout kDeep64{false, 128, 64}, kDeep128{false, 128, 128}, kFlat128{true, 128, 128},
    kNarrowDeep64{false, 64, 64}, kNarrowDeep128{false, 64, 128}, kFlat64{true, 128, 64};

template <const Factors& kFactors, const FactorLayout& kLayout>
Expected expected_warpgroup_product(const Words& in) {
  Expected expected{Words(64 * kLayout.columns), std::vector<double>(64 * kLayout.columns)};
  for (size_t row = 0; row < 64; ++row) {
    for (size_t column = 0; column < kLayout.columns; ++column) {
      double sum = 0, scale = 0;
      for (size_t k = 0; k < 16; ++k) {
        const Place a = place_of_a(row % 16, k, 2);
        const uint32_t left = in[128 * a.reg + row / 16 * 32 + a.lane] >> 16 * a.part & 0xFFFFu;
        const uint32_t right =
            in[512 + kLayout.word_of(k, column)] >> 16 * ((kLayout.flat ? column : k) % 2) & 0xFFFFu;
        const double product = decode(left, kFactors.format) * decode(right, kFactors.format);
        sum += product;
        scale += std::abs(product);
      }
      const Place c = place_of_c(row % 16, column % 8);
      const size_t at = 128 * (column / 8 * 4 + c.reg) + row / 16 * 32 + c.lane;
      expected.words[at] = as_bits(static_cast<float>(sum));
      expected.scale[at] = scale;
    }
  }
  return expected;
}

/// Two factors of 16 bits a word.
Words factor_words(const Factors& factors, uint32_t seed, size_t count, bool integers) {
  Source source(seed);
  Words words(count);
  for (uint32_t& word : words) {
    for (size_t part = 0; part < 2; ++part) {
      const double number = integers ? source.integer() : source.real();
      word |=
          encode(rounded(number, factors.format.bits, factors.format.lowest_exponent, false), factors.format)
          << 16 * part;
    }
  }
  return words;
}

template <const Factors& kFactors, const FactorLayout& kLayout>
PtxCase warpgroup_case(const std::string& kernel, bool integers) {
  return {kernel + (integers ? "_integers" : "_reals"), kernel, integers ? Kind::kF32 : Kind::kSums,
          factor_words(kFactors, 5, 512 + kLayout.words(), integers),
          expected_warpgroup_product<kFactors, kLayout>};
}

/// The same with the left factor in shared memory: its kernel brings the registers there, and the answer must
/// be that of the registers.
template <const Factors& kFactors, const FactorLayout& kLayout>
PtxCase shared_warpgroup_case(const std::string& kernel, const std::string& of_registers) {
  PtxCase question = warpgroup_case<kFactors, kLayout>(kernel, true);
  question.recorded_as = of_registers + "_integers";
  return question;
}

/// A step of 64 terms, its factors as plain rows.
template <const Factors& kFactors>
Expected expected_step(const Words& in) {
  constexpr size_t kExtent = 64;
  const auto factor = [&in](size_t row, size_t k) {
    return decode(in[row * (kExtent / 2) + k / 2] >> 16 * (k % 2) & 0xFFFFu, kFactors.format);
  };
  Expected expected{Words(kExtent * kExtent), {}};
  for (size_t row = 0; row < kExtent; ++row) {
    for (size_t column = 0; column < kExtent; ++column) {
      double sum = 0;
      for (size_t k = 0; k < kExtent; ++k) sum += factor(row, k) * factor(kExtent + column, k);
      const Place c = place_of_c(row % 16, column % 8);
      expected.words[128 * (column / 8 * 4 + c.reg) + row / 16 * 32 + c.lane] =
          as_bits(static_cast<float>(sum));
    }
  }
  return expected;
}

// ---- conversions ----

template <const Format& kFormat>
Expected expected_narrowing(const Words& in) {
  Words out;
  for (const uint32_t word : in) {
    out.push_back(
        encode(rounded(decode(word, kF32Format), kFormat.bits, kFormat.lowest_exponent, false), kFormat));
  }
  return {out, {}};
}

/// The value in the lower half of a word, its negative in the upper one.
template <const Format& kFormat>
Expected expected_pairs(const Words& in) {
  Expected expected = expected_narrowing<kFormat>(in);
  for (uint32_t& word : expected.words) word |= (word ^ 0x8000u) << 16;
  return expected;
}

/// The same with negative values as 0.
template <const Format& kFormat>
Expected expected_rectified_pairs(const Words& in) {
  const auto rectified = [](uint32_t bits) {
    const bool negative = (bits & 0x8000u) != 0 && !std::isnan(decode(bits, kFormat));
    return negative ? 0 : bits;
  };
  Expected expected = expected_narrowing<kFormat>(in);
  for (uint32_t& word : expected.words) word = rectified(word) | rectified(word ^ 0x8000u) << 16;
  return expected;
}

template <const Format& kFormat>
Expected expected_widening(const Words& in) {
  Words out;
  for (const uint32_t word : in) out.push_back(encode(decode(word, kFormat), kF32Format));
  return {out, {}};
}

/// The manual leaves open what becomes of a NaN: an H100 cuts it, so one of low bits alone becomes infinite.
Expected expected_tf32(const Words& in) {
  Words out;
  for (const uint32_t word : in) {
    if (std::isnan(as_float(word))) {
      out.push_back(word & ~0x1FFFu);
      continue;
    }
    out.push_back(
        encode(rounded(decode(word, kF32Format), 11, kF32Format.lowest_exponent, true), kF32Format));
  }
  return {out, {}};
}

PtxCase unrecorded(PtxCase question) {
  question.is_recorded = false;
  return question;
}

}  // namespace

std::vector<PtxCase> ptx_cases() {
  Source source(1);
  std::vector<PtxCase> cases;
  cases.push_back({"cp_async", "cp_async", Kind::kWords, random_words(source, 288), expected_copies});
  const Words matrices = joined(random_words(source, 128), shuffled_lanes(source));
  cases.push_back({"ldmatrix_x4", "ldmatrix_x4", Kind::kWords, matrices, expected_ldmatrix<false>});
  cases.push_back(
      {"ldmatrix_x4_transposed", "ldmatrix_x4_transposed", Kind::kWords, matrices, expected_ldmatrix<true>});
  cases.push_back({"load_shared_32", "load_shared_32", Kind::kWords,
                   joined(random_words(source, 32), shuffled_lanes(source)), expected_load});
  cases.push_back(unrecorded({"add_acquire_release", "add_acquire_release", Kind::kWords,
                              random_words(source, 64), expected_additions}));
  cases.push_back(
      unrecorded({"valueless", "valueless", Kind::kWords, random_words(source, 32), expected_copy}));
  for (const bool integers : {true, false}) {
    // Sums of small integers are exact, whatever the order.
    const Kind kind = integers ? Kind::kF32 : Kind::kSums;
    const std::string suffix = integers ? "_integers" : "_reals";
    cases.push_back({"mma_bf16" + suffix, "mma_bf16", kind, product_inputs(kBF16Factors, 2, integers),
                     expected_product<kBF16Factors>});
    cases.push_back({"mma_f16" + suffix, "mma_f16", kind, product_inputs(kF16Factors, 3, integers),
                     expected_product<kF16Factors>});
    cases.push_back({"mma_tf32" + suffix, "mma_tf32", kind, product_inputs(kTf32Factors, 4, integers),
                     expected_product<kTf32Factors>});
  }
  cases.push_back(warpgroup_case<kBF16Factors, kDeep64>("wgmma_bf16_deep_64", true));
  cases.push_back(warpgroup_case<kBF16Factors, kDeep64>("wgmma_bf16_deep_64", false));
  cases.push_back(warpgroup_case<kBF16Factors, kFlat128>("wgmma_bf16_flat_128", true));
  cases.push_back(warpgroup_case<kF16Factors, kNarrowDeep128>("wgmma_f16_narrow_deep_128", true));
  cases.push_back(warpgroup_case<kF16Factors, kFlat64>("wgmma_f16_flat_64", true));
  cases.push_back(
      shared_warpgroup_case<kBF16Factors, kDeep64>("wgmma_bf16_shared_deep_64", "wgmma_bf16_deep_64"));
  cases.push_back(
      shared_warpgroup_case<kBF16Factors, kFlat128>("wgmma_bf16_shared_flat_128", "wgmma_bf16_flat_128"));
  cases.push_back(shared_warpgroup_case<kF16Factors, kNarrowDeep128>("wgmma_f16_shared_narrow_deep_128",
                                                                     "wgmma_f16_narrow_deep_128"));
  cases.push_back(unrecorded(warpgroup_case<kBF16Factors, kDeep128>("wgmma_bf16_deep_128", true)));
  cases.push_back(unrecorded(warpgroup_case<kBF16Factors, kNarrowDeep64>("wgmma_bf16_narrow_deep_64", true)));
  cases.push_back(
      unrecorded({"wgmma_bf16_step", "wgmma_bf16_step", Kind::kF32,
                  factor_words(kBF16Factors, 6, 2 * 64 * 32, true), expected_step<kBF16Factors>}));
  cases.push_back({"round_to_tf32", "round_to_tf32", Kind::kF32, floats(), expected_tf32});
  cases.push_back({"float_to_bf16", "float_to_bf16", Kind::kBF16, floats(), expected_narrowing<kBF16Format>});
  cases.push_back({"float_to_f16", "float_to_f16", Kind::kF16, floats(), expected_narrowing<kF16Format>});
  cases.push_back(
      {"float_to_bf16_pair", "float_to_bf16_pair", Kind::kBF16, floats(), expected_pairs<kBF16Format>});
  cases.push_back(
      {"float_to_f16_pair", "float_to_f16_pair", Kind::kF16, floats(), expected_pairs<kF16Format>});
  cases.push_back(unrecorded({"rectified_pair_bf16", "rectified_pair_bf16", Kind::kBF16, floats(),
                              expected_rectified_pairs<kBF16Format>}));
  cases.push_back(unrecorded({"rectified_pair_f16", "rectified_pair_f16", Kind::kF16, floats(),
                              expected_rectified_pairs<kF16Format>}));
  cases.push_back({"bf16_to_float", "bf16_to_float", Kind::kF32, halves(), expected_widening<kBF16Format>});
  cases.push_back({"f16_to_float", "f16_to_float", Kind::kF32, halves(), expected_widening<kF16Format>});
  return cases;
}

}  // namespace residuum::ptx
