// An engine on a device whose memory can be searched, and a token that is found in it.
//
// Of a token that the rest of a text does not have, the first layer's value rows are the same bytes
// at every place, for they depend on nothing else; its keys there depend on the position alone.
#pragma once
#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include "runtime/ops/kv_page.h"
#include "tests/sim/driver.h"
#include "tests/sim/faulty_backend.h"

namespace cormorant::sim {

constexpr uint32_t kSecret = 7;  // The token.

inline bool Go(uint64_t /*done*/, uint64_t /*total*/) {
  return true;
}
inline bool Stop(uint64_t /*done*/, uint64_t /*total*/) {
  return false;
}

struct World {
  explicit World(const EngineOptions& options) {
    DeviceOpeners openers;
    openers.device = [this, options]() -> absl::StatusOr<std::unique_ptr<Backend>> {
      return std::make_unique<FaultyBackend>(*OpenBackend(options), faults);
    };
    engine = *Engine::CreateOn(openers, options, Go);
  }

  std::vector<std::byte> Read(const Buffer& buffer) const {
    std::vector<std::byte> bytes(buffer.bytes());
    EXPECT_TRUE(faults->device->Download(std::span(bytes), buffer, 0).ok());
    return bytes;
  }
  /// Of all slabs, and the working memory of steps.
  std::vector<const Buffer*> Buffers() const {
    std::set<const Buffer*> buffers;
    for (const Bindings& bindings : faults->compiled) {
      buffers.insert({bindings.arena, bindings.out});
      buffers.insert(bindings.kv->slabs.begin(), bindings.kv->slabs.end());
    }
    buffers.erase(nullptr);
    return {buffers.begin(), buffers.end()};
  }
  /// The first layer's value row of the first head for kSecret.
  std::vector<std::byte> SecretRow() const {
    const std::unique_ptr<Session> session = MakeSession(engine, "none");
    EXPECT_TRUE(Append(*session, std::vector<uint32_t>{kSecret}).ok());
    const KvBinding& kv = *faults->compiled.back().kv;
    const std::vector<std::byte> slab = Read(*kv.slabs[0]);
    const KvPageLayout layout(kv.geometry);  // Pages are handed out head by head.
    return {slab.begin() + layout.v, slab.begin() + layout.v + kv.geometry.head_dim * 2};
  }
  size_t Count(const std::vector<std::byte>& row) const {
    size_t count = 0;
    for (const Buffer* buffer : Buffers()) {
      const std::vector<std::byte> bytes = Read(*buffer);
      for (auto at = bytes.begin(); at != bytes.end(); ++count) {
        at = std::search(at, bytes.end(), row.begin(), row.end());
        if (at == bytes.end()) break;
        ++at;
      }
    }
    return count;
  }

  const std::shared_ptr<Faults> faults = std::make_shared<Faults>();
  std::shared_ptr<Engine> engine;
};

/// A small model under a cap, and text without the secret.
class SecretTest : public ::testing::TestWithParam<const char*> {
 protected:
  explicit SecretTest(uint32_t seed) : random_(seed) {}

  std::vector<uint32_t> Ids(size_t count) {
    std::vector<uint32_t> ids = RandomIds(random_, count, model_.vocab());
    for (uint32_t& id : ids) id = id == kSecret ? id + 1 : id;
    return ids;
  }
  EngineOptions Capped(uint32_t pages_per_head) const {
    EngineOptions options = Options(model_, GetParam());
    options.prefill_chunk = 16;
    options.kv_cap_bytes = KvCap(model_, options, pages_per_head);
    return options;
  }

  const TinyModel model_;
  std::mt19937 random_;
};

}  // namespace cormorant::sim
