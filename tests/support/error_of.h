// The error that an action ends with, for tests of what errors say.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "engine/core/check.h"

namespace residuum {

/// The message of the Error of that kind that `action` must throw.
inline std::string error_of(ErrorKind kind, const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

}  // namespace residuum
