// What this machine's CPU is and which instructions kernels may use.
#pragma once
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cormorant {

/// A set of instructions for which kernels are compiled, in ascending order within a machine kind.
///
///   portable   what every x86-64 or aarch64 CPU has
///   avx2       AVX2, FMA, F16C
///   avx512     AVX-512 F, BW, VL, DQ and VNNI
///   neon       NEON with the dot product instructions
enum class CpuIsa : uint8_t { kPortable, kAvx2, kAvx512, kNeon };

/// "portable", "avx2", "avx512", "neon".
absl::string_view CpuIsaName(CpuIsa isa);

/// Whether this CPU, under this system, executes it.
bool CpuHas(CpuIsa isa);

/// The best this CPU has, or what the environment variable CORMORANT_CPU names, read at each call.
/// INVALID_ARGUMENT for a name that is unknown, FAILED_PRECONDITION for one the CPU lacks.
absl::StatusOr<CpuIsa> ChooseCpuIsa();

/// Cores this process may run on, two hardware threads of one core counted once. At least 1.
uint32_t PhysicalCores();

/// "Intel(R) Xeon(R) Gold 6330 CPU @ 2.00GHz", or the machine's kind when the system has no name.
std::string CpuName();

}  // namespace cormorant
