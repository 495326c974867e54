// The exit codes of the program: one per kind of error, so that a script can tell them apart.
#pragma once

#include "engine/core/check.h"

namespace residuum {

enum ExitCode : int {
  kExitOk = 0,
  kExitUsage = 2,
  kExitConfig = 3,
  kExitData = 4,
  kExitCheckpoint = 5,
  kExitIo = 6,
  kExitDevice = 7,
  kExitNumeric = 8,
  kExitCommunication = 9,
  kExitBenchmark = 10,    ///< a measured kernel computes something else, or is slower than before
  kExitInternal = 70,     ///< EX_SOFTWARE of sysexits.h
  kExitInterrupted = 75,  ///< EX_TEMPFAIL
};

constexpr ExitCode exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kUsage:
      return kExitUsage;
    case ErrorKind::kConfig:
    case ErrorKind::kShape:
      return kExitConfig;
    case ErrorKind::kData:
      return kExitData;
    case ErrorKind::kCheckpoint:
      return kExitCheckpoint;
    case ErrorKind::kIo:
      return kExitIo;
    case ErrorKind::kDevice:
      return kExitDevice;
    case ErrorKind::kNumeric:
      return kExitNumeric;
    case ErrorKind::kCommunication:
      return kExitCommunication;
    case ErrorKind::kInternal:
      break;
  }
  return kExitInternal;
}

inline constexpr const char* kExitCodeHelp =
    "Exit codes:\n"
    "   0  done\n"
    "   2  impossible command line\n"
    "   3  recipe key, model or option unknown or out of range; chart library or browser absent\n"
    "   4  data set or image missing or damaged\n"
    "   5  weights or training state missing, damaged or not fitting the model\n"
    "   6  the operating system refused to read or write, or the directory is in use\n"
    "   7  device absent, out of memory or failed\n"
    "   8  loss or gradients not finite\n"
    "   9  another rank absent, different, stuck or dead\n"
    "  10  bench: a wrong result, a regression, or a README that differs\n"
    "  70  error in the program itself\n"
    "  75  interrupted by SIGTERM or SIGINT, state saved: train --resume continues";

}  // namespace residuum
