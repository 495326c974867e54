# The CUDA backend, in up to three forms of the same sources:
#   residuum_cuda           kernels compiled by nvcc, on the real runtime; without nvcc, a stand-in that says so
#   residuum_cuda_emulated  kernels compiled as C++ for the SIMT emulator (tests/emulator); tests only
#   residuum_cuda_race      the same under the emulator's race detector; tests only
# An executable links the one its property RESIDUUM_EMULATED_CUDA names, without that property the first.
set(RESIDUUM_CUDA AUTO CACHE STRING "CUDA backend: ON, OFF, or AUTO (when nvcc is found)")
set(RESIDUUM_CUDA_ARCHITECTURES "80;90a-real" CACHE STRING
    "CUDA architectures as CMake writes them; the default has machine code for A100 and H100/H200 and PTX for newer chips")
set(CUDA_HOME $ENV{CUDA_HOME})
if(NOT CUDA_HOME)
  set(CUDA_HOME /usr/local/cuda)
endif()
find_program(RESIDUUM_NVCC nvcc HINTS ${CUDA_HOME}/bin ${PROJECT_SOURCE_DIR}/build/cuda-toolkit/bin)
if(RESIDUUM_CUDA STREQUAL "AUTO")
  if(RESIDUUM_NVCC)
    set(RESIDUUM_CUDA_FOUND ON)
  else()
    set(RESIDUUM_CUDA_FOUND OFF)
  endif()
else()
  set(RESIDUUM_CUDA_FOUND ${RESIDUUM_CUDA})
endif()
file(GLOB kernel_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/*.cu ${PROJECT_SOURCE_DIR}/kernels/*/*.cu)
file(GLOB cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/engine/backend/cuda/*.cpp
     ${PROJECT_SOURCE_DIR}/engine/backend/cuda/*/*.cpp)

# Compiled once for all forms: the code for the host, with CUDA's headers from `include`.
function(residuum_cuda_host_code include)
  add_library(residuum_cuda_host OBJECT ${cuda_sources})
  target_include_directories(residuum_cuda_host SYSTEM PRIVATE ${include})
  target_link_libraries(residuum_cuda_host PUBLIC residuum_graph PRIVATE residuum_options)
  set_target_properties(residuum_cuda_host PROPERTIES RESIDUUM_CASTS_BYTES ON)  # cmake/options.cmake
endfunction()

add_library(residuum_cuda STATIC)
set_target_properties(residuum_cuda PROPERTIES EXPORT_NAME cuda LINKER_LANGUAGE CXX)
add_library(residuum::cuda ALIAS residuum_cuda)
target_include_directories(residuum_cuda PRIVATE ${PROJECT_SOURCE_DIR})
target_compile_features(residuum_cuda PUBLIC cxx_std_20)
target_link_libraries(residuum_cuda PUBLIC residuum_graph PRIVATE $<BUILD_INTERFACE:residuum_options>)
set_property(GLOBAL APPEND PROPERTY RESIDUUM_TARGETS residuum_cuda)
if(RESIDUUM_CUDA_FOUND)
  set(CMAKE_CUDA_COMPILER ${RESIDUUM_NVCC})
  set(CMAKE_CUDA_ARCHITECTURES ${RESIDUUM_CUDA_ARCHITECTURES})  # else it is the compiler's own choice
  enable_language(CUDA)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)  # CMake 3.25 does not know it
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  find_package(CUDAToolkit REQUIRED)
  residuum_cuda_host_code("${CUDAToolkit_INCLUDE_DIRS}")
  target_sources(residuum_cuda PRIVATE ${kernel_sources} $<TARGET_OBJECTS:residuum_cuda_host>)
  # A register spill is an error: a kernel that spills is a bug.
  target_compile_options(residuum_cuda PRIVATE
    "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-lineinfo;-Xptxas=-warn-spills,-warn-lmem-usage>"
    "$<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${RESIDUUM_WERROR}>>:-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Werror;-Xptxas=-Werror>")
  set_target_properties(residuum_cuda PROPERTIES CUDA_ARCHITECTURES "${RESIDUUM_CUDA_ARCHITECTURES}")
  target_link_libraries(residuum_cuda PRIVATE CUDA::cudart_static ${CMAKE_DL_LIBS})
else()
  target_sources(residuum_cuda PRIVATE ${PROJECT_SOURCE_DIR}/engine/backend/no_cuda.cpp)
endif()
