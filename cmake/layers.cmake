# residuum_split_headers(HEADER...): sets `proven` to those whose own source includes them first, so that building shows
# that they compile alone, and `unproven` to the others, which all_verify_interface_header_sets compiles.
function(residuum_split_headers)
  set(proven)
  set(unproven)
  foreach(header ${ARGN})
    file(RELATIVE_PATH path ${PROJECT_SOURCE_DIR} ${header})
    string(REGEX REPLACE "\\.h$" ".cpp" source ${header})
    set(first)
    if(EXISTS ${source})
      file(STRINGS ${source} first REGEX "^#include" LIMIT_COUNT 1)
    endif()
    if(first STREQUAL "#include \"${path}\"")
      list(APPEND proven ${header})
    else()
      list(APPEND unproven ${header})
    endif()
  endforeach()
  set(proven ${proven} PARENT_SCOPE)
  set(unproven ${unproven} PARENT_SCOPE)
endfunction()

# residuum_layer(NAME DIR folder LINK libraries...): the static library residuum_NAME of every .cpp and public .h in
# one folder. A layer with no .cpp file yet is header-only.
function(residuum_layer name)
  cmake_parse_arguments(ARG "" "DIR" "LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${ARG_DIR}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/(no_cuda|no_mpi|mpi_network)\\.cpp$")  # cmake/cuda.cmake and cmake/mpi.cmake choose
  file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${ARG_DIR}/*.h)
  if(name STREQUAL "core")
    list(APPEND headers ${PROJECT_SOURCE_DIR}/kernels/shapes.h ${PROJECT_SOURCE_DIR}/kernels/philox.h)
  endif()
  set(target residuum_${name})
  add_library(${target} STATIC ${sources})
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX EXPORT_NAME ${name})
  if(name MATCHES "^(core|backend|comm|exec|data|checkpoint)$")
    set_target_properties(${target} PROPERTIES RESIDUUM_CASTS_BYTES ON)  # cmake/options.cmake
  endif()
  add_library(residuum::${name} ALIAS ${target})
  residuum_split_headers(${headers})
  target_sources(${target} PUBLIC
    FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${proven}
    FILE_SET unproven TYPE HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR} FILES ${unproven})
  set_target_properties(${target} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON INTERFACE_HEADER_SETS_TO_VERIFY unproven)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PUBLIC ${ARG_LINK} PRIVATE $<BUILD_INTERFACE:residuum_options>)
  set_property(GLOBAL APPEND PROPERTY RESIDUUM_TARGETS ${target})
endfunction()
