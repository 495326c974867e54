// Between the compiler's instrumentation (race_instrumentation.cpp) and the detector.
#pragma once

#include <cstddef>

#include "tests/emulator/race.h"

namespace residuum::emulator {

void install_race_detector();
/// An access by instrumented code, `code` being the place it returns to; does nothing outside of a kernel and
/// for a thread's own stack.
void record_access(const void* address, size_t bytes, bool write, const void* code);

}  // namespace residuum::emulator
