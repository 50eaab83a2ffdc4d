// The emulator's runtime: devices, memory, streams, graphs, as CUDA's and HIP's have them.
//
// Host code (backends/gpu/device.cc) is written once over the names that CUDA and HIP share but for
// their prefix; these are the same names again. Work runs when it is asked for, or, while a stream
// captures, when the graph is launched. Memory is the host's, so that AddressSanitizer sees every
// access out of bounds; a cap and a switch make it fail.
//
// Like a device, the emulator is lost at the first wrong thing a kernel does: what is wrong is
// logged, and every call after it fails until its stream is gone.
#pragma once
#include <cstddef>
#include <cstdint>

namespace cormorant::emulator::api {

enum Error_t : int {
  Success = 0,
  ErrorInvalidValue = 1,
  ErrorMemoryAllocation = 2,
  ErrorNoDevice = 100,
  ErrorLaunchFailure = 719,
};
struct Stream;
struct Event;
struct Graph;
using Stream_t = Stream*;
using Event_t = Event*;
using Graph_t = Graph*;
using GraphExec_t = Graph*;
enum MemcpyKind { MemcpyHostToDevice = 1, MemcpyDeviceToHost = 2 };
enum StreamCaptureMode { StreamCaptureModeThreadLocal = 1 };
constexpr unsigned int StreamNonBlocking = 1, EventDisableTiming = 2;

struct Dim3 {
  uint32_t x = 1, y = 1, z = 1;
};
struct DeviceProperties {
  char name[256];
  size_t totalGlobalMem;
  int major, minor, multiProcessorCount, warpSize, integrated;
};

Error_t GetDeviceCount(int* count);
Error_t GetDeviceProperties(DeviceProperties* properties, int device);
Error_t SetDevice(int device);
Error_t MemGetInfo(size_t* free, size_t* total);
Error_t GetLastError();
const char* GetErrorString(Error_t error);

Error_t Malloc(void** to, size_t bytes);
Error_t Free(void* memory);
Error_t MallocHost(void** to, size_t bytes);
Error_t FreeHost(void* memory);
Error_t MemsetAsync(void* to, int value, size_t bytes, Stream_t stream);
Error_t MemcpyAsync(void* to, const void* from, size_t bytes, MemcpyKind kind, Stream_t stream);

Error_t MemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, size_t bytes,
                        Stream_t stream);
Error_t DeviceCanAccessPeer(int* can, int device, int peer);
Error_t DeviceEnablePeerAccess(int peer, unsigned int flags);

Error_t StreamCreateWithFlags(Stream_t* stream, unsigned int flags);
Error_t StreamDestroy(Stream_t stream);
Error_t StreamSynchronize(Stream_t stream);
Error_t StreamBeginCapture(Stream_t stream, StreamCaptureMode mode);
Error_t StreamEndCapture(Stream_t stream, Graph_t* graph);
Error_t GraphInstantiate(GraphExec_t* exec, Graph_t graph);
Error_t GraphLaunch(GraphExec_t exec, Stream_t stream);
Error_t GraphExecDestroy(GraphExec_t exec);
Error_t GraphDestroy(Graph_t graph);
Error_t EventCreateWithFlags(Event_t* event, unsigned int flags);
Error_t EventRecord(Event_t event, Stream_t stream);
Error_t EventSynchronize(Event_t event);
Error_t EventDestroy(Event_t event);
/// `kernel` is the entry of a Kernel; it has one argument.
Error_t LaunchKernel(const void* kernel, Dim3 grid, Dim3 block, void** arguments, size_t shared,
                     Stream_t stream);

// For tests.

constexpr int kDevicesMost = 4;
/// How many devices there are; 1 at the start.
void SetDeviceCount(int count);
/// Memory of a device that may be held at a time; allocations past it fail. 0: as at the start.
void SetMemoryCap(size_t bytes, int device = 0);
size_t HeldBytes(int device = 0);
/// Of allocations; 1 at the start: each has red zones of its own then.
void SetGranularity(size_t bytes);
size_t Granularity();
/// Copies between devices so far.
uint64_t PeerCopies();
/// The next `calls` calls succeed, the one after them fails as on a lost device; 0: none fails, and
/// a lost device is found again. Whether one was lost since the last call.
bool LoseAfter(uint64_t calls);

}  // namespace cormorant::emulator::api
