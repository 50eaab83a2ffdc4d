// Matrix products of waves of 8 lanes: see matrix_cases.h.
#define EMULATOR_WAVE 8
#define GPU_NAMESPACE emulator_matrix8
#define MATRIX_SUITE EmulatorMatrix8
#include "tests/emulator/matrix_cases.h"
