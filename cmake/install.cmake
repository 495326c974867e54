# Installed files: the static libraries with their public headers, the program, and the package that
# find_package(residuum) reads: residuum::core ... residuum::models, and residuum::residuum for all of them.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

get_property(layer_targets GLOBAL PROPERTY RESIDUUM_TARGETS)

add_library(residuum_all INTERFACE)
target_link_libraries(residuum_all INTERFACE ${layer_targets})
set_target_properties(residuum_all PROPERTIES EXPORT_NAME residuum)
add_library(residuum::residuum ALIAS residuum_all)

install(TARGETS ${layer_targets} residuum_all EXPORT residuum_targets FILE_SET HEADERS FILE_SET unproven)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/residuum)
install(EXPORT residuum_targets NAMESPACE residuum:: FILE residuum-targets.cmake DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/residuum-config.cmake.in
  ${CMAKE_BINARY_DIR}/residuum-config.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/residuum-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/residuum-config.cmake ${CMAKE_BINARY_DIR}/residuum-config-version.cmake
              ${CMAKE_CURRENT_LIST_DIR}/FindoneDNN.cmake
        DESTINATION ${package_dir})
install(DIRECTORY ${CMAKE_SOURCE_DIR}/models/recipes DESTINATION ${CMAKE_INSTALL_DATADIR}/residuum)
