// What a device must be able to do for the runtime: hold bytes, compile a tape, replay it.
//
// A backend never sees a model, a session or a policy. It does not validate: tapes reach it through
// runtime/ops/validate.h, and a breach found below that line is a bug, not a Status. No backend
// aborts the process: "no driver", "no device", "out of memory" and "device lost" are statuses.
// UNAVAILABLE is kept for a device that is lost: its buffers are then worth nothing, and all that
// follows is that what it handed out is destroyed.
//
// A backend is one folder with a `const BackendDef kBackend_<folder>`; CMake finds it by name.
// One thread at a time calls a Backend; the engine sees to that. What a backend hands out (buffers,
// weights, plans) is destroyed before it is.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "runtime/ops/kv_page.h"
#include "runtime/ops/ops.h"
#include "runtime/ops/tape.h"

namespace cormorant {

/// One usable or unusable device, as `cormorant devices` lists it.
struct DeviceInfo {
  uint32_t index = 0;
  std::string name;
  bool usable = false;
  std::string reason;         // Why not usable; empty when usable.
  bool by_name_only = false;  // A software driver: `auto` never takes it.
  bool is_host = false;       // Computes on the CPU, in the process's own memory.
  bool may_join = false;      // Has memory of its own and may hold layers beside its like.
  uint64_t memory_total = 0;
  uint64_t memory_free = 0;
  std::string details;  // What kernels will be chosen by: "avx512-vnni, 2 threads".
};

struct DeviceOptions {
  uint32_t index = 0;
  uint32_t threads = 0;  // CPU threads to use; 0: the machine's physical cores.
};

enum class Support : uint8_t { kNative, kNone };
struct SupportAnswer {
  Support support = Support::kNative;
  absl::string_view why;  // Empty when native.
};

/// Device memory. Freed on destruction.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual uint64_t bytes() const = 0;

  /// OUT_OF_RANGE unless bytes [offset, offset + count) lie in the buffer.
  absl::Status CheckRange(uint64_t offset, uint64_t count) const {
    if (offset <= bytes() && count <= bytes() - offset) return absl::OkStatus();
    return absl::OutOfRangeError(absl::StrCat("bytes ", offset, " to ", offset + count,
                                              " were asked of a buffer of ", bytes()));
  }
};

/// A weight as the model file holds it. `data` stays valid and unchanged while the Weights live.
struct HostTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::array<uint32_t, 3> shape = {1, 1, 1};
  const std::byte* data = nullptr;
};

/// What is told of weights as they load, on the thread that loads them.
class LoadObserver {
 public:
  virtual ~LoadObserver() = default;
  virtual void Loaded(float fraction) = 0;
  /// Tensor `index` has been copied to the device; its host bytes are hardly read again.
  virtual void Copied(size_t index) = 0;
};

/// A model's weights on the device, in the layouts its kernels want. Freed on destruction.
class Weights {
 public:
  virtual ~Weights() = default;
};

/// The cache region of a plan. The pool adds and removes slabs between steps; kernels read the list
/// at Submit. Page p lies in slab p / pages_per_slab at (p % pages_per_slab) * page_bytes. Page
/// tables are u32 page ids, [tables][L*G][pages_per_head], in `tables`.
struct KvBinding {
  KvGeometry geometry;
  uint32_t pages_per_slab = 1;
  std::vector<Buffer*> slabs;  // Null where no slab is held.
  Buffer* tables = nullptr;
  Buffer* statistics = nullptr;  // Of queries (QueryStatsOp); null where none are kept.
};

/// What a plan's regions are; fixed for the life of the plan. Not owned.
struct Bindings {
  const Weights* weights = nullptr;
  Buffer* arena = nullptr;
  Buffer* out = nullptr;
  const KvBinding* kv = nullptr;
  uint64_t step_bytes = 0;  // Bound of the step buffers that Submit will get.
};

/// A compiled tape. Freed on destruction; none may be running then.
class Plan {
 public:
  virtual ~Plan() = default;
};

/// What the driver says of the device's memory now.
struct MemoryBudget {
  /// What this process may use in all before the driver starts to evict or refuse.
  uint64_t budget_bytes = 0;
  uint64_t used_bytes = 0;  // What this process uses, as the driver counts.
};

/// A point on the device's timeline: work up to it is done once the device has passed it.
using Tick = uint64_t;

class Backend {
 public:
  virtual ~Backend() = default;

  virtual absl::string_view Name() const = 0;
  virtual const DeviceInfo& Device() const = 0;
  /// Pure: same answer every time. Asked for every op before weights load.
  virtual SupportAnswer Supports(const Op& op) const = 0;

  /// The device hands out memory in pieces of so many bytes: an allocation takes whole ones.
  virtual uint64_t Granularity() const { return 1; }
  /// Takes `bytes` in one piece, for allocations to come that live together: Allocate gives from it
  /// as long as it lasts. Nothing to do where the granularity is 1.
  virtual absl::Status Reserve(uint64_t bytes) {
    static_cast<void>(bytes);
    return absl::OkStatus();
  }
  /// Zeroed memory, or RESOURCE_EXHAUSTED.
  virtual absl::StatusOr<std::unique_ptr<Buffer>> Allocate(uint64_t bytes) = 0;
  virtual absl::Status Upload(Buffer& to, uint64_t offset_bytes,
                              std::span<const std::byte> from) = 0;
  virtual absl::Status Download(std::span<std::byte> to, const Buffer& from,
                                uint64_t offset_bytes) = 0;

  /// Copies from a buffer of another device, with no detour through the host's memory; nothing
  /// where the two have no such way.
  virtual std::optional<absl::Status> CopyFrom(Buffer& to, uint64_t to_offset, Backend& from,
                                               const Buffer& from_buffer, uint64_t from_offset,
                                               uint64_t bytes) {
    static_cast<void>(to), static_cast<void>(to_offset), static_cast<void>(from);
    static_cast<void>(from_buffer), static_cast<void>(from_offset), static_cast<void>(bytes);
    return std::nullopt;
  }

  /// Device bytes that LoadWeights will take for these tensors as `tape` uses them. Pure.
  virtual uint64_t WeightBytes(std::span<const HostTensor> tensors, const Tape& tape) const = 0;
  /// Brings weights to the device; index i of `tensors` is weight i of tapes. How `tape` uses a
  /// tensor decides its layout; plans compiled later may use it in the same ways only.
  /// `observer` may be null.
  virtual absl::StatusOr<std::unique_ptr<Weights>> LoadWeights(std::span<const HostTensor> tensors,
                                                               const Tape& tape,
                                                               LoadObserver* observer) = 0;

  /// Device bytes a plan of this tape takes beside its regions: scratch of its kernels, and its
  /// copy of the step buffer where the device needs one. Pure.
  virtual uint64_t PlanBytes(const Tape& tape, const KvGeometry& geometry,
                             uint64_t step_bytes) const = 0;
  /// Picks kernels and records. Slow (milliseconds), off the decode path.
  virtual absl::StatusOr<std::unique_ptr<Plan>> Compile(const Tape& tape,
                                                        const Bindings& bindings) = 0;
  /// Enqueues one replay with this step buffer (step.h), which must stay unchanged until the tick
  /// has passed. Does not allocate.
  virtual absl::StatusOr<Tick> Submit(Plan& plan, std::span<const std::byte> step) = 0;
  virtual absl::Status Wait(Tick tick) = 0;

  /// Nothing where the driver does not say. Cheap enough to ask every second.
  virtual std::optional<MemoryBudget> Budget() const { return std::nullopt; }
};

/// How a backend is found and opened.
struct BackendDef {
  absl::string_view name;
  int32_t priority;  // `auto` takes the usable one with the highest; below 0: only by name.
  std::vector<DeviceInfo> (*devices)();
  absl::StatusOr<std::unique_ptr<Backend>> (*open)(const DeviceOptions& options);
  /// False where `devices` would surely find none; loads no driver. `auto` asks it first, because
  /// drivers take tens of megabytes to list what they have. Null: always true.
  bool (*may_have_devices)() = nullptr;
};

/// Every backend: those linked in, and the modules found beside the library (modules.cc).
std::span<const BackendDef* const> AllBackendDefs();

}  // namespace cormorant
