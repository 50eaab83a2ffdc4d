// The runtime's calls. See device.h.
#include "backends/gpu/device.h"

#include GPU_API_NAMES

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/base/units.h"

namespace cormorant::GPU_NAMESPACE {
namespace {

using Error = GPU_API(Error_t);
using Stream = GPU_API(Stream_t);
using Event = GPU_API(Event_t);
using Exec = GPU_API(GraphExec_t);

absl::Status ToStatus(Error error, absl::string_view what) {
  if (error == GPU_API(Success)) return absl::OkStatus();
  static_cast<void>(GPU_API(GetLastError)());  // Else the next call would report it again.
  const std::string message = absl::StrCat(what, ": ", GPU_API(GetErrorString)(error));
  if (error == GPU_API(ErrorMemoryAllocation)) return absl::ResourceExhaustedError(message);
  if (error == GPU_API(ErrorInvalidValue)) return absl::InternalError(message);
  return absl::UnavailableError(message);
}

absl::Status LaunchOn(Stream stream, const Launch& launch) {
  void* arguments[] = {const_cast<std::byte*>(launch.argument.data())};
  Dim3 grid, block;
  grid.x = launch.grid[0], grid.y = launch.grid[1], grid.z = launch.grid[2];
  block.x = launch.threads;
  return ToStatus(GPU_API(LaunchKernel)(launch.kernel->entry, grid, block, arguments, 0, stream),
                  launch.kernel->name);
}

}  // namespace

#define GPU_TRY(call) CORM_RETURN_IF_ERROR(ToStatus(GPU_API(call), #call))

DeviceBuffer::~DeviceBuffer() {
  device_->Release(data_, bytes_);
}
PinnedMemory::~PinnedMemory() {
  device_->ReleasePinned(data_);
}
Graph::~Graph() {
  device_->ReleaseGraph(handle_);
}

absl::StatusOr<std::vector<DeviceFacts>> GpuDevice::List() {
  int count = 0;
  const Error error = GPU_API(GetDeviceCount)(&count);
  if (error != GPU_API(Success) || count == 0) {
    static_cast<void>(GPU_API(GetLastError)());
    return absl::FailedPreconditionError(error == GPU_API(Success) ? "there is no device"
                                                                   : WhyNoDevice(error));
  }
  std::vector<DeviceFacts> devices;
  for (int i = 0; i < count; ++i) {
    DeviceProperties properties;
    GPU_TRY(GetDeviceProperties(&properties, i));
    DeviceFacts& facts = devices.emplace_back();
    facts.name = properties.name;
    facts.architecture = ArchitectureOf(properties);
    facts.processors = static_cast<uint32_t>(properties.multiProcessorCount);
    facts.memory_total = properties.totalGlobalMem;
    facts.is_integrated = properties.integrated != 0;
  }
  return devices;
}

absl::StatusOr<std::unique_ptr<GpuDevice>> GpuDevice::Open(uint32_t index, uint32_t processors) {
  std::unique_ptr<GpuDevice> device(new GpuDevice(index, processors));
  CORM_RETURN_IF_ERROR(device->Enter());
  Stream stream = nullptr;
  GPU_TRY(StreamCreateWithFlags(&stream, GPU_API(StreamNonBlocking)));
  device->stream_ = stream;
  Stream copies = nullptr;
  GPU_TRY(StreamCreateWithFlags(&copies, GPU_API(StreamNonBlocking)));
  device->copies_ = copies;
  for (void*& event : device->events_) {
    Event made = nullptr;
    GPU_TRY(EventCreateWithFlags(&made, GPU_API(EventDisableTiming)));
    event = made;
  }
  return device;
}

GpuDevice::~GpuDevice() {
  Enter().IgnoreError();
  if (reserved_ != nullptr) Give(reserved_, reserved_bytes_);
  // A lost device fails these too; there is nothing to be done about it then.
  for (void* event : events_) {
    if (event != nullptr) static_cast<void>(GPU_API(EventDestroy)(static_cast<Event>(event)));
  }
  for (void* stream : {copies_, stream_}) {
    if (stream != nullptr) static_cast<void>(GPU_API(StreamDestroy)(static_cast<Stream>(stream)));
  }
}

absl::Status GpuDevice::Enter() {
  GPU_TRY(SetDevice(static_cast<int>(index_)));
  return absl::OkStatus();
}

uint64_t AllocationGranularity() {
  return Granularity();
}

absl::StatusOr<std::byte*> GpuDevice::Take(uint64_t bytes) {
  void* data = nullptr;
  GPU_TRY(Malloc(&data, bytes));
  held_bytes_ += RoundUp(bytes, Granularity());
  return static_cast<std::byte*>(data);
}

void GpuDevice::Give(std::byte* memory, uint64_t bytes) {
  held_bytes_ -= RoundUp(bytes, Granularity());
  static_cast<void>(GPU_API(Free)(memory));
}

absl::Status GpuDevice::Reserve(uint64_t bytes) {
  if (Granularity() == 1 || reserved_ != nullptr) return absl::OkStatus();
  CORM_RETURN_IF_ERROR(Enter());
  CORM_ASSIGN_OR_RETURN(reserved_, Take(bytes));
  reserved_bytes_ = bytes;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<DeviceBuffer>> GpuDevice::Allocate(uint64_t bytes) {
  CORM_RETURN_IF_ERROR(Enter());
  const uint64_t taken = std::max<uint64_t>(bytes, 1);  // So that it has an address.
  std::byte* data = nullptr;
  if (const uint64_t part = RoundUp(taken, kPartAlignment);
      part <= reserved_bytes_ - reserved_used_) {
    data = reserved_ + reserved_used_;
    reserved_used_ += part;
    ++reserved_buffers_;
  } else {
    CORM_ASSIGN_OR_RETURN(data, Take(taken));
  }
  auto buffer = std::make_unique<DeviceBuffer>(this, data, bytes);
  GPU_TRY(MemsetAsync(data, 0, taken, static_cast<Stream>(stream_)));
  GPU_TRY(StreamSynchronize(static_cast<Stream>(stream_)));
  return buffer;
}

absl::StatusOr<std::unique_ptr<PinnedMemory>> GpuDevice::AllocatePinned(uint64_t bytes) {
  CORM_RETURN_IF_ERROR(Enter());
  void* data = nullptr;
  GPU_TRY(MallocHost(&data, bytes));
  return std::make_unique<PinnedMemory>(this, static_cast<std::byte*>(data));
}

absl::Status GpuDevice::Write(DeviceBuffer& to, uint64_t offset, std::span<const std::byte> from) {
  if (from.empty()) return absl::OkStatus();
  CORM_RETURN_IF_ERROR(Enter());
  GPU_TRY(MemcpyAsync(to.data() + offset, from.data(), from.size(), GPU_API(MemcpyHostToDevice),
                      static_cast<Stream>(stream_)));
  GPU_TRY(StreamSynchronize(static_cast<Stream>(stream_)));
  return absl::OkStatus();
}

absl::Status GpuDevice::StartWrite(DeviceBuffer& to, uint64_t offset,
                                   std::span<const std::byte> pinned) {
  CORM_RETURN_IF_ERROR(Enter());
  GPU_TRY(MemcpyAsync(to.data() + offset, pinned.data(), pinned.size(), GPU_API(MemcpyHostToDevice),
                      static_cast<Stream>(copies_)));
  return absl::OkStatus();
}

absl::Status GpuDevice::WaitForCopies() {
  CORM_RETURN_IF_ERROR(Enter());
  GPU_TRY(StreamSynchronize(static_cast<Stream>(copies_)));
  return absl::OkStatus();
}

absl::Status GpuDevice::Read(std::span<std::byte> to, const DeviceBuffer& from, uint64_t offset) {
  if (to.empty()) return absl::OkStatus();
  CORM_RETURN_IF_ERROR(Enter());
  GPU_TRY(MemcpyAsync(to.data(), from.data() + offset, to.size(), GPU_API(MemcpyDeviceToHost),
                      static_cast<Stream>(stream_)));
  GPU_TRY(StreamSynchronize(static_cast<Stream>(stream_)));
  return absl::OkStatus();
}

absl::Status GpuDevice::CopyFrom(DeviceBuffer& to, uint64_t offset, GpuDevice& from,
                                 const DeviceBuffer& from_buffer, uint64_t from_offset,
                                 uint64_t bytes) {
  CORM_RETURN_IF_ERROR(Enter());
  if (std::find(peers_.begin(), peers_.end(), from.index_) == peers_.end()) {
    peers_.push_back(from.index_);
    const int peer = static_cast<int>(from.index_);
    int can = 0;
    GPU_TRY(DeviceCanAccessPeer(&can, static_cast<int>(index_), peer));
    // Where it fails, or is on already, the runtime finds a way of its own.
    if (can != 0 && GPU_API(DeviceEnablePeerAccess)(peer, 0) != GPU_API(Success)) {
      static_cast<void>(GPU_API(GetLastError)());
    }
  }
  GPU_TRY(MemcpyPeerAsync(to.data() + offset, static_cast<int>(index_),
                          from_buffer.data() + from_offset, static_cast<int>(from.index_), bytes,
                          static_cast<Stream>(stream_)));
  GPU_TRY(StreamSynchronize(static_cast<Stream>(stream_)));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Graph>> GpuDevice::Record(const PinnedMemory& from, DeviceBuffer& to,
                                                         uint64_t bytes,
                                                         std::span<const Launch> launches) {
  CORM_RETURN_IF_ERROR(Enter());
  const Stream stream = static_cast<Stream>(stream_);
  GPU_TRY(StreamBeginCapture(stream, GPU_API(StreamCaptureModeThreadLocal)));
  absl::Status status = ToStatus(
      GPU_API(MemcpyAsync)(to.data(), from.data(), bytes, GPU_API(MemcpyHostToDevice), stream),
      "the copy of the step");
  for (const Launch& launch : launches) {
    if (status.ok()) status = LaunchOn(stream, launch);
  }
  GPU_API(Graph_t) captured = nullptr;
  status.Update(ToStatus(GPU_API(StreamEndCapture)(stream, &captured), "capture"));
  Exec exec = nullptr;
  if (status.ok()) status = ToStatus(Instantiate(&exec, captured), "a graph");
  if (captured != nullptr) static_cast<void>(GPU_API(GraphDestroy)(captured));
  CORM_RETURN_IF_ERROR(status);
  return std::make_unique<Graph>(this, exec);
}

absl::StatusOr<Tick> GpuDevice::Submit(const Graph& graph) {
  CORM_RETURN_IF_ERROR(Enter());
  const Stream stream = static_cast<Stream>(stream_);
  GPU_TRY(GraphLaunch(static_cast<Exec>(graph.handle()), stream));
  GPU_TRY(EventRecord(static_cast<Event>(events_[(last_ + 1) % kEvents]), stream));
  return ++last_;
}

absl::Status GpuDevice::Wait(Tick tick) {
  if (tick <= done_) return absl::OkStatus();
  CORM_RETURN_IF_ERROR(Enter());
  // An event that a later tick has taken over since is passed no earlier than this one.
  GPU_TRY(EventSynchronize(static_cast<Event>(events_[tick % kEvents])));
  done_ = tick;
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> GpuDevice::FreeMemory() {
  CORM_RETURN_IF_ERROR(Enter());
  size_t free = 0, total = 0;
  GPU_TRY(MemGetInfo(&free, &total));
  return free;
}

void GpuDevice::Release(std::byte* memory, uint64_t bytes) {
  Enter().IgnoreError();
  if (memory >= reserved_ && memory < reserved_ + reserved_bytes_) {
    if (--reserved_buffers_ == 0) reserved_used_ = 0;
    return;
  }
  Give(memory, std::max<uint64_t>(bytes, 1));
}
void GpuDevice::ReleasePinned(std::byte* memory) {
  Enter().IgnoreError();
  static_cast<void>(GPU_API(FreeHost)(memory));
}
void GpuDevice::ReleaseGraph(void* handle) {
  Enter().IgnoreError();
  static_cast<void>(GPU_API(GraphExecDestroy)(static_cast<Exec>(handle)));
}

}  // namespace cormorant::GPU_NAMESPACE
