// A Vulkan driver in a few lines, behind volk's function pointers: memory, buffers and copies.
//
// For what no real driver does when asked: fail halfway, have a full window, or be slow. Copies are
// done no sooner than somebody waits for them, so a buffer that is freed too early shows. Memory is
// handed out full of garbage. There is one driver at a time; other functions stay as they are.
#pragma once
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "backends/vulkan/facts.h"

namespace cormorant::vulkan {

class FakeDriver {
 public:
  FakeDriver();
  ~FakeDriver();

  /// One memory type, device-local and host-visible, as a software driver has it.
  DeviceFacts Facts() const;

  /// The next call of a function of memory or buffers fails, of this memory type where it has one.
  void FailNext(const std::string& function, VkResult result, uint32_t memory_type = kNoMemoryType);
  /// What lives: devices, buffers, memory, pools and the rest.
  size_t objects() const { return objects_.size(); }
  /// Buffers freed while a copy from or to them was not done.
  size_t freed_in_use() const { return freed_in_use_; }

 private:
  struct Memory {
    std::vector<std::byte> bytes;
    uint32_t type;
  };
  struct BufferObject {
    uint64_t bytes;
    Memory* memory = nullptr;
  };
  struct Command {
    BufferObject *from, *to;  // `from` is null for a fill with zeros.
    VkBufferCopy copy;
  };
  struct Commands {
    std::vector<Command> list;
  };
  struct Submitted {
    uint64_t tick;
    std::vector<Command> list;
  };

  void SetMemoryFunctions();
  void SetDeviceFunctions();
  void SetRecordingFunctions();
  VkResult Result(const std::string& function, uint32_t memory_type = kNoMemoryType);
  void Run(const Command& command);
  /// Makes an object and its handle.
  template <class Object, class Handle>
  void Make(Object* object, Handle* handle);
  template <class Object, class Handle>
  void Destroy(Handle handle);

  std::set<void*> objects_;
  std::vector<Submitted> pending_;
  size_t freed_in_use_ = 0;
  std::string failing_;
  VkResult failure_ = VK_SUCCESS;
  uint32_t failing_type_ = kNoMemoryType;
};

}  // namespace cormorant::vulkan
