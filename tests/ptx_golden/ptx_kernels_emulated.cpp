// The kernels of ptx_kernels.cu as C++ for the emulator.
#include "tests/ptx_golden/ptx_kernels.cu"
