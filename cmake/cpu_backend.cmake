# The CPU backend: engine/backend/cpu joins the backend layer. Its loops are compiled once per instruction set with
# exactly the features simd.cpp asks the processor for; bits must be reproducible, so nothing of -ffast-math that
# reorders arithmetic.
list(APPEND CMAKE_MODULE_PATH ${CMAKE_CURRENT_LIST_DIR})
find_package(oneDNN REQUIRED)

file(GLOB cpu_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/engine/backend/cpu/*.cpp)
set(simd_dir ${PROJECT_SOURCE_DIR}/engine/backend/cpu)
set(simd_avx2 -mavx2 -mfma)
set(simd_avx512 ${simd_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl)
set(simd_avx512_bf16 ${simd_avx512} -mavx512bf16)
if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(FILTER cpu_sources EXCLUDE REGEX "/simd_avx[^/]*\\.cpp$")
endif()
foreach(level baseline avx2 avx512 avx512_bf16)
  set_source_files_properties(${simd_dir}/simd_${level}.cpp PROPERTIES
    COMPILE_OPTIONS "-O3;-fno-math-errno;-fno-trapping-math;-ffp-contract=fast;${simd_${level}}")
endforeach()

target_sources(residuum_backend PRIVATE ${cpu_sources})
find_package(OpenMP REQUIRED)
target_link_libraries(residuum_backend PRIVATE DNNL::dnnl OpenMP::OpenMP_CXX)
target_compile_definitions(residuum_backend PRIVATE RESIDUUM_HAS_CPU)
