# Installed files: the static libraries with their public headers, the program, and the package that
# find_package(residuum) reads: residuum::core ... residuum::models, and residuum::residuum for all of them.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Below include/residuum, since "engine/..." and "models/..." are names that others may have: users of the package have
# that folder on their include path.
set(header_dir ${CMAKE_INSTALL_INCLUDEDIR}/residuum)
install(TARGETS ${layer_targets} residuum_all EXPORT residuum_targets
        FILE_SET HEADERS DESTINATION ${header_dir} FILE_SET unproven DESTINATION ${header_dir})
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/residuum)
install(EXPORT residuum_targets NAMESPACE residuum:: FILE residuum-targets.cmake DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/residuum-config.cmake.in
  ${PROJECT_BINARY_DIR}/residuum-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/residuum-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/residuum-config.cmake ${PROJECT_BINARY_DIR}/residuum-config-version.cmake
              ${CMAKE_CURRENT_LIST_DIR}/FindoneDNN.cmake
        DESTINATION ${package_dir})
install(TARGETS residuum)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/models/recipes DESTINATION ${CMAKE_INSTALL_DATADIR}/residuum)

# The same for pkg-config, of builds on installed packages.
if(NOT RESIDUUM_THIRD_PARTY)
  file(RELATIVE_PATH residuum_to_prefix /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
  list(TRANSFORM layer_targets PREPEND -l OUTPUT_VARIABLE residuum_libraries)
  list(JOIN residuum_libraries " " residuum_libraries)
  set(system_libraries -pthread)
  foreach(name ${CMAKE_DL_LIBS})
    list(APPEND system_libraries -l${name})
  endforeach()
  if(RESIDUUM_CPU)
    list(APPEND system_libraries -ldnnl ${OpenMP_CXX_FLAGS})
  endif()
  if(RESIDUUM_MPI_FOUND)
    list(APPEND system_libraries ${MPI_C_LIBRARIES})
  endif()
  if(RESIDUUM_CUDA_FOUND)
    list(APPEND system_libraries ${CUDAToolkit_LIBRARY_DIR}/libcudart_static.a -lrt)
  endif()
  list(JOIN system_libraries " " residuum_system_libraries)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/residuum.pc.in ${PROJECT_BINARY_DIR}/residuum.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/residuum.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
