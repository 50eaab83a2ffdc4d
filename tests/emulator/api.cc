// Memory, streams and graphs of the emulator. See api.h.
#include "tests/emulator/api.h"

#include <array>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "platform/log.h"
#include "runtime/base/units.h"
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
  size_t held = 0, cap = kDefaultCap;
};
struct Allocation {
  size_t bytes;
  int device;
};
/// All devices; they are lost together.
struct Machine {
  std::array<Device, kDevicesMost> devices;
  int device_count = 1;
  std::unordered_map<void*, Allocation> allocations;
  uint64_t calls_left = 0;  // Until all is lost; 0: not counted.
  Error_t lost = Success;
  bool was_lost = false;  // By LoseAfter.
  uint32_t launches = 0;  // Seeds of schedules.
  uint64_t peer_copies = 0;
  size_t granularity = 1;
};
Machine& TheMachine() {
  static Machine* const machine = new Machine();
  return *machine;
}
thread_local int current = 0;

Device& CurrentDevice() {
  return TheMachine().devices[static_cast<size_t>(current)];
}
bool IsDevice(int device) {
  return device >= 0 && device < TheMachine().device_count;
}

/// What every call asks first.
Error_t Enter() {
  Machine& machine = TheMachine();
  if (machine.calls_left > 0 && --machine.calls_left == 0) {
    machine.lost = ErrorLaunchFailure;
    machine.was_lost = true;
  }
  return machine.lost;
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

void SetDeviceCount(int count) {
  TheMachine().device_count = count;
}
void SetMemoryCap(size_t bytes, int device) {
  TheMachine().devices[static_cast<size_t>(device)].cap = bytes == 0 ? kDefaultCap : bytes;
}
size_t HeldBytes(int device) {
  return TheMachine().devices[static_cast<size_t>(device)].held;
}
void SetGranularity(size_t bytes) {
  TheMachine().granularity = bytes;
}
size_t Granularity() {
  return TheMachine().granularity;
}
uint64_t PeerCopies() {
  return TheMachine().peer_copies;
}
bool LoseAfter(uint64_t calls) {
  Machine& machine = TheMachine();
  machine.calls_left = calls == 0 ? 0 : calls + 1;
  machine.lost = Success;
  return std::exchange(machine.was_lost, false);
}

Error_t GetDeviceCount(int* count) {
  *count = TheMachine().device_count;
  return Success;
}
Error_t GetDeviceProperties(DeviceProperties* properties, int device) {
  if (!IsDevice(device)) return ErrorInvalidValue;
  *properties = {"emulator", TheMachine().devices[static_cast<size_t>(device)].cap, 0, 0, 2, 0, 0};
  return Success;
}
Error_t SetDevice(int device) {
  if (!IsDevice(device)) return ErrorInvalidValue;
  current = device;
  return Enter();
}
Error_t MemGetInfo(size_t* free, size_t* total) {
  *total = CurrentDevice().cap;
  *free = CurrentDevice().cap - CurrentDevice().held;
  return Enter();
}
Error_t GetLastError() {
  return TheMachine().lost;
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
  Device& device = CurrentDevice();
  if (bytes == 0) return ErrorInvalidValue;
  const size_t taken = RoundUp(bytes, TheMachine().granularity);
  if (device.held > device.cap || taken > device.cap - device.held) return ErrorMemoryAllocation;
  *to = ::operator new (bytes, std::align_val_t{256});
  std::memset(*to, 0xff, bytes);
  TheMachine().allocations[*to] = {taken, current};
  device.held += taken;
  return Success;
}
Error_t Free(void* memory) {
  if (memory == nullptr) return Success;
  Machine& machine = TheMachine();
  const auto at = machine.allocations.find(memory);
  if (at == machine.allocations.end()) return ErrorInvalidValue;
  machine.devices[static_cast<size_t>(at->second.device)].held -= at->second.bytes;
  machine.allocations.erase(at);
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
Error_t MemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, size_t bytes,
                        Stream_t stream) {
  if (!IsDevice(to_device) || !IsDevice(from_device)) return ErrorInvalidValue;
  ++TheMachine().peer_copies;
  return MemcpyAsync(to, from, bytes, MemcpyHostToDevice, stream);
}
Error_t DeviceCanAccessPeer(int* can, int device, int peer) {
  if (!IsDevice(device) || !IsDevice(peer)) return ErrorInvalidValue;
  *can = device != peer ? 1 : 0;
  return Enter();
}
Error_t DeviceEnablePeerAccess(int peer, unsigned int) {
  return IsDevice(peer) && peer != current ? Enter() : ErrorInvalidValue;
}

Error_t StreamCreateWithFlags(Stream_t* stream, unsigned int) {
  return Make(stream);
}
Error_t StreamDestroy(Stream_t stream) {
  TheMachine().lost = Success;
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
    const std::string wrong = Run(launch, {Schedule::Order::kRandom, ++TheMachine().launches});
    if (wrong.empty()) return Success;
    Log(LogLevel::kError, absl::StrCat("emulator: ", wrong));
    return TheMachine().lost = ErrorLaunchFailure;
  });
}

}  // namespace cormorant::emulator::api
