// The version of Residuum; CMakeLists.txt reads it from here. Until 1.0 a new minor version may change any
// interface, and find_package(residuum 0.1) accepts 0.1.x alone.
#pragma once

#define RESIDUUM_VERSION_MAJOR 0
#define RESIDUUM_VERSION_MINOR 1
#define RESIDUUM_VERSION_PATCH 0
/// 10203 is version 1.2.3: a number that #if can compare.
#define RESIDUUM_VERSION \
  (RESIDUUM_VERSION_MAJOR * 10000 + RESIDUUM_VERSION_MINOR * 100 + RESIDUUM_VERSION_PATCH)
