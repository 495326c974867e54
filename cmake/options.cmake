# Compiler flags of every target of the project.
add_library(residuum_options INTERFACE)
target_compile_options(residuum_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(residuum_options INTERFACE -Wno-restrict)  # false alarms on std::string, GCC bug 105651
endif()
if(RESIDUUM_WERROR)
  target_compile_options(residuum_options INTERFACE -Werror)
endif()
if(RESIDUUM_SANITIZE)
  target_compile_options(residuum_options INTERFACE -fsanitize=${RESIDUUM_SANITIZE} -fno-omit-frame-pointer
                                                    -fno-sanitize-recover=all)
  target_link_options(residuum_options INTERFACE -fsanitize=${RESIDUUM_SANITIZE})
endif()
find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
