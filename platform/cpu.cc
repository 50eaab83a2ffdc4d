// CPU features from the compiler's run-time library, the rest from /proc and /sys. See cpu.h.
#include "platform/cpu.h"

#include <sched.h>
#include <sys/utsname.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#endif

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>

#include "absl/strings/str_cat.h"

namespace cormorant {
namespace {

constexpr CpuIsa kAllIsas[] = {CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512, CpuIsa::kNeon};

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

#if defined(__x86_64__)
/// Asked of the CPU itself: not every compiler's run-time library knows the name.
bool HasF16C() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

}  // namespace

absl::string_view CpuIsaName(CpuIsa isa) {
  static constexpr absl::string_view kNames[] = {"portable", "avx2", "avx512", "neon"};
  static_assert(std::size(kNames) == std::size(kAllIsas));
  return kNames[static_cast<size_t>(isa)];
}

bool CpuHas(CpuIsa isa) {
  if (isa == CpuIsa::kPortable) return true;
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16C();
  if (isa == CpuIsa::kAvx2) return avx2;
  if (isa == CpuIsa::kAvx512) {
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
  }
#elif defined(__aarch64__)
  constexpr unsigned long kDotProduct = 1ul << 20;  // HWCAP_ASIMDDP of the kernel's ABI.
  if (isa == CpuIsa::kNeon) return (getauxval(AT_HWCAP) & kDotProduct) != 0;
#endif
  return false;
}

absl::StatusOr<CpuIsa> ChooseCpuIsa() {
  const char* const wish = std::getenv("CORMORANT_CPU");
  CpuIsa best = CpuIsa::kPortable;
  std::string usable;
  for (CpuIsa isa : kAllIsas) {
    if (!CpuHas(isa)) continue;
    best = isa;
    absl::StrAppend(&usable, usable.empty() ? "" : ", ", CpuIsaName(isa));
  }
  if (wish == nullptr || *wish == '\0') return best;
  for (CpuIsa isa : kAllIsas) {
    if (CpuIsaName(isa) != wish) continue;
    if (CpuHas(isa)) return isa;
    return absl::FailedPreconditionError(
        absl::StrCat("CORMORANT_CPU=", wish, ": this CPU cannot execute it; it has ", usable));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("CORMORANT_CPU=", wish, " is not known; this CPU has ", usable));
}

uint32_t PhysicalCores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return 1;
  std::set<std::string> cores;
  for (uint32_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string siblings = FirstLine(
        absl::StrCat("/sys/devices/system/cpu/cpu", cpu, "/topology/thread_siblings_list"));
    cores.insert(siblings.empty() ? absl::StrCat("cpu", cpu) : siblings);
  }
  return cores.empty() ? 1 : static_cast<uint32_t>(cores.size());
}

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  utsname system;
  return uname(&system) == 0 ? absl::StrCat(system.machine, " CPU") : "CPU";
}

}  // namespace cormorant
