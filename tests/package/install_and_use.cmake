# The test of the package: installs the libraries below WORK_DIR, then configures, builds and runs the project beside
# this file against that copy alone. Started with -D BUILD_DIR=..., WORK_DIR, CXX_COMPILER, C_COMPILER, LAUNCHER.
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
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -B ${WORK_DIR}/build -G Ninja -D CMAKE_BUILD_TYPE=Release
    -D CMAKE_PREFIX_PATH=${WORK_DIR}/moved -D CMAKE_CXX_COMPILER=${CXX_COMPILER} -D CMAKE_C_COMPILER=${C_COMPILER}
    -D CMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER})
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
run(${WORK_DIR}/build/train_ten_steps ${WORK_DIR}/weights.safetensors)
run(${WORK_DIR}/moved/bin/residuum summary cifar_resnet20)
if(NOT EXISTS ${WORK_DIR}/weights.safetensors)
  message(FATAL_ERROR "no weights were written")
endif()
