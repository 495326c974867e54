# residuum_layer(NAME DIR folder LINK libraries...): the static library residuum_NAME of every .cpp and public .h in
# one folder. A layer with no .cpp file yet is header-only.
function(residuum_layer name)
  cmake_parse_arguments(ARG "" "DIR" "LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${ARG_DIR}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/(no_cuda|no_mpi|mpi_network)\\.cpp$")  # cmake/cuda.cmake and cmake/mpi.cmake choose
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${ARG_DIR}/*.h)
  if(name STREQUAL "core")
    list(APPEND headers ${CMAKE_SOURCE_DIR}/kernels/shapes.h ${CMAKE_SOURCE_DIR}/kernels/philox.h)
  endif()
  set(target residuum_${name})
  add_library(${target} STATIC ${sources})
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX EXPORT_NAME ${name})
  add_library(residuum::${name} ALIAS ${target})
  target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS ${CMAKE_SOURCE_DIR} FILES ${headers})
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_link_libraries(${target} PUBLIC ${ARG_LINK} PRIVATE $<BUILD_INTERFACE:residuum_options>)
  set_property(GLOBAL APPEND PROPERTY RESIDUUM_TARGETS ${target})
endfunction()
