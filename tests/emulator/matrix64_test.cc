// Matrix products of waves of 64 lanes: see matrix_cases.h.
#define EMULATOR_WAVE 64
#define GPU_NAMESPACE emulator_matrix64
#define MATRIX_SUITE EmulatorMatrix64
#include "tests/emulator/matrix_cases.h"
