# Tests of what users touch: the program (driven by Python's standard library), the public headers, the package.
find_package(Python3 COMPONENTS Interpreter)
set(python_tests cli_test.Help cli_test.Usage cli_test.Refusals cli_test.Summary cli_test.Plan cli_test.DataVerify
  cli_test.Output bench_cli_test.Kernels bench_cli_test.StepAndData bench_cli_test.Results bench_cli_test.Peers
  bench_cli_test.GpuReport end_to_end_test.Train end_to_end_test.Report end_to_end_test.EvalAndPredict
  end_to_end_test.Interruptions fashion_mnist_test.FashionMnist ranks_test.Training ranks_test.UnreadableSamples ranks_test.Faults ranks_test.Start
  ranks_test.Launcher ranks_test.AllReduceBench ranks_test.Mpi cluster_test.Slurm cluster_test.RealSlurm
  cluster_test.Kubernetes cluster_test.Syntax lab_test.Counts lab_test.Analyses lab_test.EveryFamily comparison_cli_test.Comparison)
foreach(test ${python_tests})
  if(NOT Python3_FOUND)
    add_test(NAME ${test} COMMAND ${CMAKE_COMMAND} -E echo "skipped: python3 is not installed")
    set_tests_properties(${test} PROPERTIES SKIP_REGULAR_EXPRESSION "skipped: ")
    continue()
  endif()
  add_test(NAME ${test} COMMAND ${Python3_EXECUTABLE} -B -m unittest -v ${test}
           WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
  # The longest tests begin first, so that no processor idles at the end.
  set_tests_properties(${test} PROPERTIES LABELS program TIMEOUT 900 COST 100
    ENVIRONMENT "RESIDUUM_PROGRAM=$<TARGET_FILE:residuum>;RESIDUUM_SOURCE=${CMAKE_SOURCE_DIR}")
endforeach()
set_tests_properties(fashion_mnist_test.FashionMnist PROPERTIES LABELS slow TIMEOUT 1800 COST 1000)
set_tests_properties(fashion_mnist_test.FashionMnist ranks_test.Mpi cluster_test.RealSlurm cluster_test.Kubernetes
                     end_to_end_test.Report
                     PROPERTIES SKIP_REGULAR_EXPRESSION "OK \\(skipped=")

# Two ranks of the program on one GPU: with the NCCL of the machine on a real one, and with its stand-in on the emulated.
function(residuum_gpu_ranks_test prefix label program)
  foreach(test Sums Training Faults)
    add_test(NAME ${prefix}gpu_ranks_test.${test} COMMAND ${Python3_EXECUTABLE} -B -m unittest -v gpu_ranks_test.${test}
             WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    set_tests_properties(${prefix}gpu_ranks_test.${test} PROPERTIES LABELS ${label} TIMEOUT 900
      SKIP_REGULAR_EXPRESSION "OK \\(skipped="
      ENVIRONMENT "RESIDUUM_PROGRAM=$<TARGET_FILE:${program}>;RESIDUUM_SOURCE=${CMAKE_SOURCE_DIR};${ARGN}")
  endforeach()
endfunction()
if(Python3_FOUND AND RESIDUUM_CUDA_FOUND)
  residuum_gpu_ranks_test("" gpu residuum)
endif()
if(Python3_FOUND AND TARGET residuum_cuda_emulated AND NOT RESIDUUM_SANITIZE)
  residuum_program_of(emulated_residuum)
  target_link_libraries(emulated_residuum PRIVATE residuum_emulator)
  set_target_properties(emulated_residuum PROPERTIES RESIDUUM_EMULATED_CUDA residuum_cuda_emulated ENABLE_EXPORTS ON)
  add_dependencies(emulated_residuum residuum_nccl_stand_in)
  residuum_gpu_ranks_test(emulated/ emulator emulated_residuum
                          "RESIDUUM_NCCL_LIBRARY=$<TARGET_FILE:residuum_nccl_stand_in>")
endif()

add_test(NAME headers.compile_alone
         COMMAND ${CMAKE_COMMAND} --build ${CMAKE_BINARY_DIR} --target all_verify_interface_header_sets)
# The consumer is built without this build's sanitizers, so it cannot link against them.
if(NOT RESIDUUM_SANITIZE)
  add_test(NAME package.install_and_use
           COMMAND ${CMAKE_COMMAND} -D BUILD_DIR=${CMAKE_BINARY_DIR} -D WORK_DIR=${CMAKE_BINARY_DIR}/package
                   -D CXX_COMPILER=${CMAKE_CXX_COMPILER} -D C_COMPILER=${CMAKE_C_COMPILER}
                   -D LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER}
                   -P ${CMAKE_CURRENT_SOURCE_DIR}/package/install_and_use.cmake)
  set_tests_properties(package.install_and_use PROPERTIES LABELS package TIMEOUT 600 COST 100)
endif()
set_tests_properties(headers.compile_alone PROPERTIES LABELS package TIMEOUT 900 COST 100)

# No kernel may spill registers or have a stack: read from the machine code of all of them.
find_program(RESIDUUM_CUOBJDUMP cuobjdump HINTS ${CUDA_HOME}/bin ${CMAKE_SOURCE_DIR}/build/cuda-disassembler/bin)
if(RESIDUUM_CUDA_FOUND AND RESIDUUM_CUOBJDUMP)
  add_test(NAME kernels.machine_code
           COMMAND residuum bench kernels --static --check --cuobjdump ${RESIDUUM_CUOBJDUMP}
                   --json ${CMAKE_BINARY_DIR}/kernels.json)
  set_tests_properties(kernels.machine_code PROPERTIES LABELS program TIMEOUT 900 COST 100)
endif()
