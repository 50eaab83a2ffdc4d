// One GPU through CUDA or HIP: memory, copies, graphs, and when work is done.
//
// Written once over the names that both runtimes share but for their prefix; each kind of device
// names them in an api.inc (GPU_API_NAMES). All work goes through one stream, so it runs in the
// order it was asked for; copies that the host need not wait for have another. A plan's launches
// are captured once and replayed as one graph.
//
// One thread at a time, as Backend says, but not always the same one.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "shaders/gpu/kernel.h"

namespace cormorant::GPU_NAMESPACE {

/// Of parts in one allocation.
constexpr uint64_t kPartAlignment = 256;

/// What the runtime says of a device.
struct DeviceFacts {
  std::string name, architecture;
  uint32_t processors = 0;
  uint64_t memory_total = 0;
  bool is_integrated = false;  // Its memory is the host's.
};

/// Memory is handed out in pieces of so many bytes.
uint64_t AllocationGranularity();

class GpuDevice;

class DeviceBuffer final : public Buffer {
 public:
  DeviceBuffer(GpuDevice* device, std::byte* data, uint64_t bytes)
      : device_(device), data_(data), bytes_(bytes) {}
  ~DeviceBuffer() override;
  uint64_t bytes() const override { return bytes_; }
  std::byte* data() const { return data_; }  // On the device.

 private:
  GpuDevice* const device_;
  std::byte* const data_;
  const uint64_t bytes_;
};

/// A kernel over a grid: one node of a plan's graph.
struct Launch {
  const Kernel* kernel = nullptr;
  std::array<uint32_t, 3> grid = {1, 1, 1};
  uint32_t threads = 1;
  std::vector<std::byte> argument;
};

/// Host memory that the device copies from while the host goes on.
class PinnedMemory {
 public:
  PinnedMemory(GpuDevice* device, std::byte* data) : device_(device), data_(data) {}
  ~PinnedMemory();
  std::byte* data() const { return data_; }

 private:
  GpuDevice* const device_;
  std::byte* const data_;
};

/// What was captured, ready to be launched.
class Graph {
 public:
  Graph(GpuDevice* device, void* handle) : device_(device), handle_(handle) {}
  ~Graph();
  void* handle() const { return handle_; }

 private:
  GpuDevice* const device_;
  void* const handle_;
};

class GpuDevice {
 public:
  /// Every device; FAILED_PRECONDITION with the reason when there is no driver or no device.
  static absl::StatusOr<std::vector<DeviceFacts>> List();
  static absl::StatusOr<std::unique_ptr<GpuDevice>> Open(uint32_t index, uint32_t processors);
  ~GpuDevice();

  /// Memory for allocations to come, in one piece; once they and it are given back, for others.
  absl::Status Reserve(uint64_t bytes);
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(uint64_t bytes);  // Zeroed.
  absl::StatusOr<std::unique_ptr<PinnedMemory>> AllocatePinned(uint64_t bytes);
  absl::Status Write(DeviceBuffer& to, uint64_t offset, std::span<const std::byte> from);
  /// The same while the host goes on: `from` stays as it is, and `to` unused, until WaitForCopies.
  absl::Status StartWrite(DeviceBuffer& to, uint64_t offset, std::span<const std::byte> pinned);
  absl::Status WaitForCopies();
  absl::Status Read(std::span<std::byte> to, const DeviceBuffer& from, uint64_t offset);

  /// From another device, directly where the two have such a way.
  absl::Status CopyFrom(DeviceBuffer& to, uint64_t offset, GpuDevice& from,
                        const DeviceBuffer& from_buffer, uint64_t from_offset, uint64_t bytes);

  /// A graph that copies `bytes` from pinned memory to the start of `to`, then runs the launches.
  absl::StatusOr<std::unique_ptr<Graph>> Record(const PinnedMemory& from, DeviceBuffer& to,
                                                uint64_t bytes, std::span<const Launch> launches);
  absl::StatusOr<Tick> Submit(const Graph& graph);
  absl::Status Wait(Tick tick);

  uint32_t processors() const { return processors_; }
  /// Of the whole device.
  absl::StatusOr<uint64_t> FreeMemory();
  uint64_t held_bytes() const { return held_bytes_; }  // Of its memory, by this object.

  /// For what they hand out.
  void Release(std::byte* memory, uint64_t bytes);
  void ReleasePinned(std::byte* memory);
  void ReleaseGraph(void* handle);

 private:
  static constexpr uint32_t kEvents = 8;
  GpuDevice(uint32_t index, uint32_t processors) : index_(index), processors_(processors) {}
  absl::StatusOr<std::byte*> Take(uint64_t bytes);
  void Give(std::byte* memory, uint64_t bytes);
  /// The runtime's calls are about the thread's current device.
  absl::Status Enter();

  const uint32_t index_, processors_;
  void* stream_ = nullptr;
  void* copies_ = nullptr;                  // A stream too.
  std::array<void*, kEvents> events_ = {};  // Of ticks, by tick modulo their number.
  Tick last_ = 0, done_ = 0;
  uint64_t held_bytes_ = 0;
  // What Reserve took, how much of it is given out, and to how many buffers.
  std::byte* reserved_ = nullptr;
  uint64_t reserved_bytes_ = 0, reserved_used_ = 0;
  uint32_t reserved_buffers_ = 0;
  std::vector<uint32_t> peers_;  // Devices that copies come from.
};

}  // namespace cormorant::GPU_NAMESPACE
