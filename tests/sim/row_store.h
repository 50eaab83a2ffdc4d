// A KV store of real pages for tests of what leaves a cache, and rows as they read and write them.
#pragma once
#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/half.h"
#include "runtime/base/units.h"
#include "runtime/cache/policy.h"
#include "runtime/engine/kv_store.h"
#include "runtime/ops/kv_page.h"
#include "tests/sim/driver.h"

namespace cormorant::sim {

struct CachedRow {
  uint32_t id = 0;
  uint32_t position = 0;
  uint32_t last_important = 0;
  uint32_t head = 0;
  bool operator<(const CachedRow& other) const { return id < other.id; }
};
using Heads = std::vector<std::vector<CachedRow>>;  // By head, in order of slot.

struct Scenario {
  std::string policy = "corm";
  PolicyOptions options;
  uint32_t context = 100000;
  uint32_t page_limit = 80;
  uint32_t interval = 32;
  uint32_t floor = 16;
  uint32_t sessions = 2;
  uint32_t chunk_max = 64;
  DType kv_type = DType::kF16;
  PositionRule positions = PositionRule::kRebased;
  uint32_t query_heads = 0;  // Of which statistics are kept.
};

/// Pages of a device, without a model: 2 layers of 2 KV heads of 32 dimensions. Tests write the
/// rows themselves, with an id in V by which they find them again.
class Store {
 public:
  explicit Store(const Scenario& scenario, const char* backend_name) {
    EngineOptions options;
    options.backend = backend_name;
    options.threads = 1;
    backend = *OpenBackend(options);
    plan.geometry = {2, 2, 32, scenario.kv_type, scenario.kv_type, 0};
    plan.geometry.query_heads = scenario.query_heads;
    plan.geometry.pages_per_head = static_cast<uint32_t>(
        CeilDiv(std::min(scenario.context, 8192u) + scenario.chunk_max, kPageRows));
    plan.page_limit = scenario.page_limit;
    plan.pages_per_slab = 7;
    kv = *KvStore::Create(plan, scenario.sessions, RopeSpec{32, 10000.0f, 1.0f, {}}, backend.get(),
                          nullptr, &ledger);
  }

  uint32_t heads() const { return plan.geometry.heads(); }

  /// The page of a slot, from the device's own table.
  uint32_t Page(uint32_t table, uint32_t head, uint32_t slot) const {
    const uint64_t entry =
        (uint64_t{table} * heads() + head) * plan.geometry.pages_per_head + slot / kPageRows;
    uint32_t page = 0;
    EXPECT_TRUE(backend
                    ->Download(std::as_writable_bytes(std::span<uint32_t>(&page, 1)),
                               *kv->binding().tables, entry * 4)
                    .ok());
    return page;
  }
  CachedRow Read(uint32_t table, uint32_t head, uint32_t slot) const {
    CachedRow row;
    row.head = head;
    ForEachWord(table, head, slot, row, [&](Buffer& slab, uint64_t offset, uint32_t& word) {
      EXPECT_TRUE(
          backend->Download(std::as_writable_bytes(std::span<uint32_t>(&word, 1)), slab, offset)
              .ok());
    });
    return row;
  }
  void Write(uint32_t table, uint32_t head, uint32_t slot, CachedRow row) const {
    ForEachWord(table, head, slot, row, [&](Buffer& slab, uint64_t offset, uint32_t& word) {
      EXPECT_TRUE(backend->Upload(slab, offset, std::as_bytes(std::span<uint32_t>(&word, 1))).ok());
    });
  }

  /// Sets one dimension of a row of f16 keys or values.
  void SetHalf(uint32_t table, uint32_t head, uint32_t slot, bool is_key, uint32_t dim,
               float value) const {
    const KvPageLayout layout(plan.geometry);
    const uint32_t page = Page(table, head, slot), row = slot % kPageRows;
    const uint64_t at =
        uint64_t{page % plan.pages_per_slab} * layout.page_bytes +
        (is_key ? layout.k + layout.KIndex(row, dim) * 2 : layout.v + layout.VIndex(row, dim) * 2);
    const uint16_t half = F32ToF16(value);
    EXPECT_TRUE(backend
                    ->Upload(*kv->binding().slabs[page / plan.pages_per_slab], at,
                             std::as_bytes(std::span<const uint16_t>(&half, 1)))
                    .ok());
  }

  std::unique_ptr<Backend> backend;
  StagePlan plan;
  MemoryLedger ledger{0, 0};
  std::unique_ptr<KvStore> kv;

 private:
  template <class F>
  void ForEachWord(uint32_t table, uint32_t head, uint32_t slot, CachedRow& row, F&& f) const {
    const KvPageLayout layout(plan.geometry);
    const uint32_t page = Page(table, head, slot), in_page = slot % kPageRows;
    Buffer& slab = *kv->binding().slabs[page / plan.pages_per_slab];
    const uint64_t at = uint64_t{page % plan.pages_per_slab} * layout.page_bytes;
    const uint32_t v_bytes = layout.v_type == DType::kF16 ? 2 : 1;
    f(slab, at + layout.v + layout.VIndex(in_page, 0) * v_bytes, row.id);
    f(slab, at + layout.positions + in_page * 4, row.position);
    f(slab, at + layout.last_important + in_page * 4, row.last_important);
  }
};

}  // namespace cormorant::sim
