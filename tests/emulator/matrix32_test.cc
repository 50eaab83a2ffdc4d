// Matrix products of waves of 32 lanes: see matrix_cases.h.
#define EMULATOR_WAVE 32
#define GPU_NAMESPACE emulator_matrix32
#define MATRIX_SUITE EmulatorMatrix32
#include "tests/emulator/matrix_cases.h"
