# The test of the package: installs the libraries below WORK_DIR, then configures, builds and runs the project beside
# this file against that copy alone, and configures it once more with the sources as a part of it. Started with
# -D BUILD_DIR=..., WORK_DIR, CXX_COMPILER, C_COMPILER, LAUNCHER.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "'${ARGN}' failed: ${status}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK_DIR})
run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${WORK_DIR}/installed)
# Moved: a package must not depend on where it was installed first.
file(RENAME ${WORK_DIR}/installed ${WORK_DIR}/moved)
function(configure folder)
  run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -B ${WORK_DIR}/${folder} -G Ninja -D CMAKE_BUILD_TYPE=Release
      -D CMAKE_CXX_COMPILER=${CXX_COMPILER} -D CMAKE_C_COMPILER=${C_COMPILER} -D CMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}
      ${ARGN})
endfunction()
configure(build -D CMAKE_PREFIX_PATH=${WORK_DIR}/moved)
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
run(${WORK_DIR}/build/train_ten_steps ${WORK_DIR}/weights.safetensors)
# Without CMake: one line of a shell.
find_program(PKG_CONFIG pkg-config)
if(PKG_CONFIG)
  file(GLOB_RECURSE pc_file ${WORK_DIR}/moved/residuum.pc)
  cmake_path(GET pc_file PARENT_PATH pc_folder)
  run(${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${pc_folder} sh -c "'${CXX_COMPILER}' '${CMAKE_CURRENT_LIST_DIR}/classify.cpp' -o '${WORK_DIR}/by_pkg_config' $('${PKG_CONFIG}' --cflags --libs residuum)")
  run(${WORK_DIR}/by_pkg_config ${WORK_DIR}/weights.safetensors)
else()
  message(STATUS "pkg-config is not installed: residuum.pc is not tried")
endif()
run(${WORK_DIR}/build/classify ${WORK_DIR}/weights.safetensors)
run(${WORK_DIR}/build/take_apart ${WORK_DIR}/run)
run(${WORK_DIR}/moved/bin/residuum summary cifar_resnet20)
if(NOT EXISTS ${WORK_DIR}/weights.safetensors)
  message(FATAL_ERROR "no weights were written")
endif()
# A part of the project: every target links what it needs, and one layer is built, with this build's flags, so that ccache
# may have it.
cmake_path(GET CMAKE_CURRENT_LIST_DIR PARENT_PATH tests_dir)
cmake_path(GET tests_dir PARENT_PATH source_dir)
configure(part -D RESIDUUM_SOURCE=${source_dir} -D RESIDUUM_CUDA=OFF -D RESIDUUM_WERROR=ON)
run(${CMAKE_COMMAND} --build ${WORK_DIR}/part --target residuum_graph)
if(EXISTS ${WORK_DIR}/part/residuum/bin/residuum OR NOT EXISTS ${WORK_DIR}/part/residuum/lib/libresiduum_graph.a)
  message(FATAL_ERROR "as a part of a project, more or less was built than asked for")
endif()

file(READ ${source_dir}/README.md readme)
file(READ ${CMAKE_CURRENT_LIST_DIR}/classify.cpp program)
string(REGEX REPLACE "^(//[^\n]*\n)+" "" program "${program}")
string(FIND "${readme}" "```cpp\n${program}```" found)
if(found EQUAL -1)
  message(FATAL_ERROR "README shows another program than tests/package/classify.cpp")
endif()
file(GLOB names RELATIVE ${WORK_DIR}/moved/include ${WORK_DIR}/moved/include/*)
if(NOT names STREQUAL "residuum")
  message(FATAL_ERROR "the folder of headers has '${names}', it should have 'residuum' alone")
endif()
