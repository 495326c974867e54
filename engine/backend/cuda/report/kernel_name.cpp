#include "engine/backend/cuda/report/kernel_name.h"

#include <cxxabi.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace residuum::cuda {

using kernels::TileName;

const char* tile_name(TileName tile) {
  switch (tile) {
    case TileName::kConvWide:
      return "kConvWide";
    case TileName::kConvMedium:
      return "kConvMedium";
    case TileName::kConvWideTwo:
      return "kConvWideTwo";
    case TileName::kConvMediumTwo:
      return "kConvMediumTwo";
    case TileName::kConvNarrow:
      return "kConvNarrow";
    case TileName::kConvSlim:
      return "kConvSlim";
    case TileName::kConvPacked:
      return "kConvPacked";
    case TileName::kConvF32:
      return "kConvF32";
    case TileName::kConvF32Packed:
      return "kConvF32Packed";
    case TileName::kConvLines:
      return "kConvLines";
    case TileName::kFilterWide:
      return "kFilterWide";
    case TileName::kFilterSquare:
      return "kFilterSquare";
    case TileName::kFilterBroad:
      return "kFilterBroad";
    case TileName::kFilterSlim:
      return "kFilterSlim";
    case TileName::kFilterPacked:
      return "kFilterPacked";
    case TileName::kFilterPackedColumns:
      return "kFilterPackedColumns";
    case TileName::kFilterLines:
      return "kFilterLines";
    case TileName::kFilterTaps:
      return "kFilterTaps";
    case TileName::kFilterTapsBroad:
      return "kFilterTapsBroad";
    case TileName::kFilterTapsSlim:
      return "kFilterTapsSlim";
    case TileName::kFilterTapsStrided:
      return "kFilterTapsStrided";
    case TileName::kFilterF32:
      return "kFilterF32";
  }
  return "(no tile)";
}

namespace {

/// Empty for what is no mangled name.
std::string demangled(const std::string& symbol) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(symbol.c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? text.get() : "";
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

/// Types and namespaces as people say them.
std::string in_short(std::string text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kShort = {{
      {"residuum::kernels::", ""},
      {"(anonymous namespace)::", ""},
      {"__nv_bfloat16", "bf16"},
      {"__half", "f16"},
      {"float", "f32"},
      {"double", "f64"},
      {"unsigned int", "u32"},
      {"unsigned short", "u16"},
      {"unsigned char", "u8"},
      {" >", ">"},
  }};
  for (const auto& [from, to] : kShort) replace_all(text, from, to);
  return text;
}

/// A demangled function: its name and its template arguments.
struct Function {
  std::string name;
  std::vector<std::string> arguments;
};

Function parse_function(std::string_view text) {
  if (text.starts_with("void ")) text.remove_prefix(5);
  Function function;
  int depth = 0;
  std::string word;
  for (const char c : text) {
    if (depth == 0 && c == '(') break;  // the parameters
    if (c == '>' && --depth == 0) {
      function.arguments.push_back(std::exchange(word, {}));
      break;
    }
    if (depth == 1 && c == ',') {
      function.arguments.push_back(std::exchange(word, {}));
    } else if (c == '<' && depth++ == 0) {
      function.name = std::exchange(word, {});
    } else if (!(c == ' ' && word.empty())) {
      word += c;
    }
  }
  if (function.name.empty()) function.name = word;
  return function;
}

/// The value of "(ENUM)3".
std::optional<int> enum_value(std::string_view argument, std::string_view type) {
  if (!argument.starts_with(type)) return std::nullopt;
  int value = 0;
  std::from_chars(argument.data() + type.size(), argument.data() + argument.size(), value);
  return value;
}

bool is_element(std::string_view argument) {
  return argument == "bf16" || argument == "f16" || argument == "f32";
}

/// Word for flag `number` among a convolution kernel's arguments: conv_kernel has the direction; that of
/// lines whether pixels begin at odd elements, too; the filter's kernel the way of its operands into shared
/// memory, and whether they are formed there.
std::string_view flag_text(const Function& function, int number, bool set) {
  if (function.name == "conv_kernel") return set ? " backward-data" : " forward";
  if (function.name == "conv_lines_kernel") return set ? " shifted" : "";
  if (number == 0) return set ? " chunks" : " elements";
  return set ? " formed" : "";
}

/// A kernel of kernels/conv/conv.cuh or conv_backward_filter/conv_backward_filter.cuh: tile, element type
/// (f32: kind of product), direction, way of the source into shared memory, whether it is formed there, and
/// whether warpgroups multiply.
KernelName convolution_name(const Function& function, TileName tile) {
  KernelName name{function.name + " " + tile_name(tile), tile, 0};
  constexpr std::string_view kPatches[] = {"gather", "halo", "elements", "resident"};
  int flags = 0;
  for (const std::string& argument : function.arguments) {
    if (enum_value(argument, "(TileName)")) continue;
    if (is_element(argument)) {
      name.element_bytes = argument == "f32" ? 4 : 2;
      if (name.element_bytes == 2) name.text += " " + argument;
    } else if (const auto math = enum_value(argument, "(F32Math)")) {
      constexpr int kX3 = static_cast<int>(kernels::F32Math::kTf32x3);
      if (name.element_bytes == 4) name.text += *math == kX3 ? " tf32x3" : " tf32";
    } else if (const auto patch = enum_value(argument, "(Patch)")) {
      name.text.append(" ").append(kPatches[*patch]);
    } else if (argument == "true" || argument == "false") {
      name.text += flag_text(function, flags++, argument == "true");
    } else if (const auto prologue = enum_value(argument, "(Prologue)")) {
      if (*prologue != 0) name.text += " formed";
    } else if (const auto product = enum_value(argument, "(Product)")) {
      if (*product != 0) name.text += " warpgroup";
    } else {
      name.text += " " + argument;
    }
  }
  return name;
}

}  // namespace

KernelName kernel_name(const std::string& symbol) {
  // In short form first: the parentheses of the anonymous namespace are no parameters.
  const Function function = parse_function(in_short(demangled(symbol)));
  if (function.name.empty()) return {symbol, std::nullopt, 0};
  for (const std::string& argument : function.arguments) {
    if (const auto tile = enum_value(argument, "(TileName)")) {
      return convolution_name(function, static_cast<TileName>(*tile));
    }
  }
  std::string arguments;
  for (const std::string& argument : function.arguments)
    arguments += (arguments.empty() ? "" : ", ") + argument;
  return {arguments.empty() ? function.name : function.name + "<" + arguments + ">", std::nullopt, 0};
}

}  // namespace residuum::cuda
