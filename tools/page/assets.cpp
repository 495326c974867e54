// The assembler takes the files in as they are. Their paths come from CMakeLists.txt, which also builds this
// source again when one of them changes.
#include "tools/page/assets.h"

#define RESIDUUM_EMBED(name, file)   \
  asm(".pushsection .rodata\n" #name \
      "_begin:\n"                    \
      ".incbin \"" file "\"\n" #name \
      "_end:\n"                      \
      ".byte 0\n.popsection\n");     \
  extern "C" const char name##_begin[], name##_end[]

#ifdef RESIDUUM_ECHARTS_FILE
RESIDUUM_EMBED(residuum_echarts, RESIDUUM_ECHARTS_FILE);
#endif
RESIDUUM_EMBED(residuum_chart_script, RESIDUUM_PAGE_FOLDER "/charts.js");
RESIDUUM_EMBED(residuum_page_script, RESIDUUM_PAGE_FOLDER "/page.js");
RESIDUUM_EMBED(residuum_page_style, RESIDUUM_PAGE_FOLDER "/page.css");

namespace residuum {
namespace {

std::string_view between(const char* begin, const char* end) {
  return {begin, static_cast<size_t>(end - begin)};
}

}  // namespace

std::string_view chart_library() {
#ifdef RESIDUUM_ECHARTS_FILE
  return between(residuum_echarts_begin, residuum_echarts_end);
#else
  return {};
#endif
}

std::string_view chart_script() {
  return between(residuum_chart_script_begin, residuum_chart_script_end);
}

std::string_view page_script() {
  return between(residuum_page_script_begin, residuum_page_script_end);
}

std::string_view page_style() {
  return between(residuum_page_style_begin, residuum_page_style_end);
}

}  // namespace residuum
