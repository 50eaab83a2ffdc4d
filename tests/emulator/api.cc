// Memory, streams and graphs of the emulator. See api.h.
#include "tests/emulator/api.h"

#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "platform/log.h"
#include "tests/emulator/emulator.h"

namespace cormorant::emulator::api {

using Action = std::function<Error_t()>;

struct Graph {
  std::vector<Action> actions;
};
struct Stream {
  std::unique_ptr<Graph> capture;  // While it captures.
};
struct Event {};

namespace {

constexpr size_t kDefaultCap = size_t{1} << 30;

struct Device {
  std::unordered_map<void*, size_t> allocations;
  size_t held = 0, cap = kDefaultCap;
  uint64_t calls_left = 0;  // Until it is lost; 0: not counted.
  Error_t lost = Success;
  bool was_lost = false;  // By LoseAfter.
  uint32_t launches = 0;  // Seeds of schedules.
};
Device& TheDevice() {
  static Device* const device = new Device();
  return *device;
}

/// What every call asks first.
Error_t Enter() {
  Device& device = TheDevice();
  if (device.calls_left > 0 && --device.calls_left == 0) {
    device.lost = ErrorLaunchFailure;
    device.was_lost = true;
  }
  return device.lost;
}

Error_t Do(Stream_t stream, Action action) {
  if (const Error_t error = Enter(); error != Success) return error;
  if (stream->capture == nullptr) return action();
  stream->capture->actions.push_back(std::move(action));
  return Success;
}

template <class T>
Error_t Make(T** to) {
  if (const Error_t error = Enter(); error != Success) return error;
  *to = std::make_unique<T>().release();
  return Success;
}
template <class T>
Error_t Destroy(T* object) {
  std::unique_ptr<T>{object};
  return Success;
}

}  // namespace

void SetMemoryCap(size_t bytes) {
  TheDevice().cap = bytes == 0 ? kDefaultCap : bytes;
}
size_t HeldBytes() {
  return TheDevice().held;
}
bool LoseAfter(uint64_t calls) {
  Device& device = TheDevice();
  device.calls_left = calls == 0 ? 0 : calls + 1;
  device.lost = Success;
  return std::exchange(device.was_lost, false);
}

Error_t GetDeviceCount(int* count) {
  *count = 1;
  return Success;
}
Error_t GetDeviceProperties(DeviceProperties* properties, int device) {
  if (device != 0) return ErrorInvalidValue;
  *properties = {"emulator", TheDevice().cap, 0, 0, 2, 0};
  return Success;
}
Error_t SetDevice(int device) {
  return device == 0 ? Enter() : ErrorInvalidValue;
}
Error_t MemGetInfo(size_t* free, size_t* total) {
  *total = TheDevice().cap;
  *free = TheDevice().cap - TheDevice().held;
  return Enter();
}
Error_t GetLastError() {
  return TheDevice().lost;
}
const char* GetErrorString(Error_t error) {
  switch (error) {
    case Success: return "no error";
    case ErrorInvalidValue: return "invalid argument";
    case ErrorMemoryAllocation: return "out of memory";
    case ErrorNoDevice: return "no device";
    case ErrorLaunchFailure: return "a kernel failed";
  }
  return "unknown error";
}

Error_t Malloc(void** to, size_t bytes) {
  if (const Error_t error = Enter(); error != Success) return error;
  Device& device = TheDevice();
  if (bytes == 0) return ErrorInvalidValue;
  if (bytes > device.cap - device.held) return ErrorMemoryAllocation;
  *to = ::operator new (bytes, std::align_val_t{256});
  std::memset(*to, 0xff, bytes);
  device.allocations[*to] = bytes;
  device.held += bytes;
  return Success;
}
Error_t Free(void* memory) {
  if (memory == nullptr) return Success;
  Device& device = TheDevice();
  const auto at = device.allocations.find(memory);
  if (at == device.allocations.end()) return ErrorInvalidValue;
  device.held -= at->second;
  device.allocations.erase(at);
  ::operator delete (memory, std::align_val_t{256});
  return Success;
}
Error_t MallocHost(void** to, size_t bytes) {
  if (const Error_t error = Enter(); error != Success) return error;
  *to = ::operator new (bytes, std::align_val_t{256});
  return Success;
}
Error_t FreeHost(void* memory) {
  ::operator delete (memory, std::align_val_t{256});
  return Success;
}
Error_t MemsetAsync(void* to, int value, size_t bytes, Stream_t stream) {
  return Do(stream, [=] {
    std::memset(to, value, bytes);
    return Success;
  });
}
Error_t MemcpyAsync(void* to, const void* from, size_t bytes, MemcpyKind, Stream_t stream) {
  return Do(stream, [=] {
    std::memcpy(to, from, bytes);
    return Success;
  });
}

Error_t StreamCreateWithFlags(Stream_t* stream, unsigned int) {
  return Make(stream);
}
Error_t StreamDestroy(Stream_t stream) {
  TheDevice().lost = Success;
  return Destroy(stream);
}
Error_t StreamSynchronize(Stream_t) {
  return Enter();
}
Error_t StreamBeginCapture(Stream_t stream, StreamCaptureMode) {
  stream->capture = std::make_unique<Graph>();
  return Enter();
}
Error_t StreamEndCapture(Stream_t stream, Graph_t* graph) {
  *graph = stream->capture.release();
  return Enter();
}
Error_t GraphInstantiate(GraphExec_t* exec, Graph_t graph) {
  if (const Error_t error = Enter(); error != Success) return error;
  *exec = std::make_unique<Graph>(*graph).release();
  return Success;
}
Error_t GraphLaunch(GraphExec_t exec, Stream_t) {
  Error_t error = Enter();
  for (const Action& action : exec->actions) {
    if (error == Success) error = action();
  }
  return error;
}
Error_t GraphExecDestroy(GraphExec_t exec) {
  return Destroy(exec);
}
Error_t GraphDestroy(Graph_t graph) {
  return Destroy(graph);
}
Error_t EventCreateWithFlags(Event_t* event, unsigned int) {
  return Make(event);
}
Error_t EventRecord(Event_t, Stream_t) {
  return Enter();
}
Error_t EventSynchronize(Event_t) {
  return Enter();
}
Error_t EventDestroy(Event_t event) {
  return Destroy(event);
}

Error_t LaunchKernel(const void* kernel, Dim3 grid, Dim3 block, void** arguments, size_t,
                     Stream_t stream) {
  const Entry& entry = *static_cast<const Entry*>(kernel);
  const auto* const first = static_cast<const std::byte*>(arguments[0]);
  // Over-aligned by nature: what malloc gives is good for any argument.
  const std::vector<std::byte> copy(first, first + entry.argument_bytes);
  return Do(stream, [entry, grid, block, copy] {
    Launch launch;
    launch.name = entry.name;
    launch.grid = {grid.x, grid.y, grid.z};
    launch.threads = block.x;
    launch.entry = entry;
    launch.arguments = copy.data();
    // Another order every time: what depends on it gives other bits.
    const std::string wrong = Run(launch, {Schedule::Order::kRandom, ++TheDevice().launches});
    if (wrong.empty()) return Success;
    Log(LogLevel::kError, absl::StrCat("emulator: ", wrong));
    return TheDevice().lost = ErrorLaunchFailure;
  });
}

}  // namespace cormorant::emulator::api
