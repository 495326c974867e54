# Compiler flags of every target of the project.
add_library(residuum_options INTERFACE)
# For C and C++; nvcc has its own (cmake/cuda.cmake).
function(residuum_compile_options)
  target_compile_options(residuum_options INTERFACE "$<$<COMPILE_LANGUAGE:C,CXX>:${ARGN}>")
endfunction()
residuum_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  residuum_compile_options(-Wno-restrict)  # false alarms on std::string, GCC bug 105651
endif()
if(RESIDUUM_WERROR)
  residuum_compile_options(-Werror)
endif()
if(RESIDUUM_SANITIZE)
  residuum_compile_options(-fsanitize=${RESIDUUM_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(residuum_options INTERFACE -fsanitize=${RESIDUUM_SANITIZE})
  if(RESIDUUM_SANITIZE MATCHES "address.*undefined|undefined.*address")
    # Null pointers and places outside of objects are what the address sanitizer sees anyway; these checks before each
    # access are a seventh of the compiling. That of alignment is half of it: it stays where bytes become other types.
    residuum_compile_options(-fno-sanitize=null,object-size)
    residuum_compile_options($<$<NOT:$<BOOL:$<TARGET_PROPERTY:RESIDUUM_CASTS_BYTES>>>:-fno-sanitize=alignment>)
  endif()
endif()
find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
