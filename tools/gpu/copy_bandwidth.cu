// What a device's memory gives: copies from buffer to buffer, and reads alone, as decoding does.
//
//   nvcc -O3 -arch=sm_90 copy_bandwidth.cu -o copy_bandwidth           (CUDA)
//   hipcc -O3 --offload-arch=gfx942 -x hip copy_bandwidth.cu -o copy_bandwidth      (HIP)
//
// Prints one JSON object; bytes of a copy count twice, once read and once written. The best of some
// rounds: others may use the device now and then. Stands alone, so that it can be compared with
// anything.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if defined(__HIP__) || defined(__HIPCC__)
#include <hip/hip_runtime.h>
#define API(name) hip##name
#define API_PROCESSORS hipDeviceAttributeMultiprocessorCount
#else
#include <cuda_runtime.h>
#define API(name) cuda##name
#define API_PROCESSORS cudaDevAttrMultiProcessorCount
#endif

namespace {

constexpr uint64_t kBytesMost = uint64_t{2} << 30;
constexpr int kRounds = 20;
constexpr uint32_t kThreads = 256, kLoads = 8;

void Check(API(Error_t) error, const char* what) {
  if (error == API(Success)) return;
  std::fprintf(stderr, "copy_bandwidth: %s: %s\n", what, API(GetErrorString)(error));
  std::exit(1);
}

/// Adds up `count` values of 16 bytes; `sink` is written only if the sum is one that never is.
__global__ void Read(const uint4* from, uint64_t count, uint32_t* sink) {
  const uint64_t stride = uint64_t{gridDim.x} * blockDim.x;
  uint64_t at = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  uint32_t sum = 0;
  for (; at + (kLoads - 1) * stride < count; at += kLoads * stride) {
#pragma unroll
    for (uint32_t i = 0; i < kLoads; ++i) {
      const uint4 value = from[at + i * stride];
      sum += value.x ^ value.y ^ value.z ^ value.w;
    }
  }
  if (sum == 0x9E3779B9u) *sink = sum;
}

/// Seconds of the quickest of kRounds calls, after one that is not counted.
template <class F>
double Best(F&& start) {
  API(Event_t) before, after;
  Check(API(EventCreate)(&before), "an event");
  Check(API(EventCreate)(&after), "an event");
  float best = 1e30f;
  for (int round = 0; round <= kRounds; ++round) {
    Check(API(EventRecord)(before, nullptr), "an event");
    start();
    Check(API(EventRecord)(after, nullptr), "an event");
    Check(API(EventSynchronize)(after), "the work");
    float milliseconds = 0;
    Check(API(EventElapsedTime)(&milliseconds, before, after), "an event");
    if (round > 0) best = std::min(best, milliseconds);
  }
  return best * 1e-3;
}

}  // namespace

int main() {
  size_t available = 0, total = 0;
  Check(API(MemGetInfo)(&available, &total), "the device");
  const uint64_t bytes = std::min<uint64_t>(kBytesMost, available / 4) >> 20 << 20;
  void *from = nullptr, *to = nullptr;
  Check(API(Malloc)(&from, bytes), "memory");
  Check(API(Malloc)(&to, bytes), "memory");
  Check(API(Memset)(from, 0, bytes), "memory");
  const double copy = Best([&] {
    Check(API(MemcpyAsync)(to, from, bytes, API(MemcpyDeviceToDevice), nullptr), "a copy");
  });
  int processors = 0;
  Check(API(DeviceGetAttribute)(&processors, API_PROCESSORS, 0), "the device");
  const uint32_t blocks = static_cast<uint32_t>(processors) * 8;
  const double read = Best([&] {
    Read<<<blocks, kThreads>>>(static_cast<const uint4*>(from), bytes / 16,
                               static_cast<uint32_t*>(to));
    Check(API(GetLastError)(), "a kernel");
  });
  std::printf("{\"bytes\": %llu, \"copy_gb_s\": %.1f, \"read_gb_s\": %.1f}\n",
              static_cast<unsigned long long>(bytes), 2e-9 * static_cast<double>(bytes) / copy,
              1e-9 * static_cast<double>(bytes) / read);
  return 0;
}
