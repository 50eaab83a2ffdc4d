// The KV cache of one session: its rows, its positions, and when and what it drops.
//
// It has a part in the KV store of each stage (stage.h), with the heads of the stage's layers; rows
// are ranked among those of their own part, since no part can use the memory of another. When a
// device is lost the cache is detached from it and empty; attached to other stores it is filled
// anew by its session.
//
// Before a step, MakeRoom() makes sure that the step's rows have pages and positions: it drops rows
// by the session's policy when the pool is short, and moves positions back when the next would pass
// the trained context. After the step, Commit() counts the rows in. The cap holds because rows are
// dropped before new ones are written.
//
// A session may have a budget of its own, inside the engine's cap: bytes of pages and metadata that
// it never passes, shared among stages as their heads are.
//
// Past the trained context: positions advance until the next row would pass it; then each head is
// cut to at most half of it by the policy's own ranking, and what stays is re-rotated to positions
// closer together, as positions.h says. With original positions they go on, and heads are cut when
// they hold as many rows. With policy "none" it is an OUT_OF_RANGE error instead.
//
// Where the settings ask for it, dropped rows are copied to the host before their pages go. A
// question can then look back at them: they come to the device again, some of each head at a time,
// a probe judges them, and what it finds important stays (session_host.cc). Rows that are retained
// on the host have a copy whenever they are not resident, whatever the settings; when positions
// move, the device turns the keys of such copies to theirs, in front of all other rows.
//
// Not thread-safe: touched only by the thread that runs the engine's step.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/cache/audit.h"
#include "runtime/cache/controller.h"
#include "runtime/cache/host_rows.h"
#include "runtime/cache/policy.h"
#include "runtime/cache/positions.h"
#include "runtime/cache/sequence.h"
#include "runtime/engine/kv_store.h"
#include "runtime/ops/step.h"

namespace cormorant {

/// What becomes of the rows of a step.
enum class RowUse : uint8_t {
  kKeep,
  kPin,           // Kept, and never dropped.
  kRetain,        // As kPin; and the session refuses to let go of their tokens, as of the next.
  kRetainOnHost,  // May leave, for the host: there are copies as long as they are not resident.
  kProbe,  // Judge what they see, and are gone with the step: EndProbe() in place of Commit().
};

/// What was done so that less is dropped.
enum class Easing : uint8_t {
  kNone,  // Nothing leaves but for room, and room there is no more of.
  kFrozen,
  kRelaxed,
};

class SessionCache {
 public:
  static constexpr uint32_t kFreezeTokens = 512, kRelaxMost = 3;

  /// A policy's rules for heads that can hold so many rows on average.
  using RulesFor = std::function<EvictionRules(uint32_t rows_per_head)>;

  struct Settings {
    EvictionRules rules;
    uint32_t context = 0;        // Positions the model was trained on.
    uint32_t interval = 0;       // Tokens to make room for at once, and between natural evictions.
    uint32_t floor = 0;          // Rows a head keeps whatever happens.
    uint64_t budget_bytes = 0;   // Pages and metadata; 0: as the pools allow.
    HostRows::Limits host = {};  // Of copies of dropped rows; none where bytes_most is 0.
    bool zeroes = false;         // Slots are overwritten when their rows leave.
    Audit* audit = nullptr;      // Told what is dropped, if any; outlives the cache.
    PositionRule positions = PositionRule::kWindowed;  // Past the context.
    std::vector<float> weights = {};  // Of each head's ages (cut.h), all layers; empty: all 1.
    RulesFor rules_for = nullptr;     // As heads hold more or fewer rows; none: they stay.
    uint32_t rows_per_head = kNever;  // That `rules` are for.
  };
  /// Stores in the order of their layers.
  static absl::StatusOr<std::unique_ptr<SessionCache>> Create(const Settings& settings,
                                                              std::span<KvStore* const> stores);
  ~SessionCache();

  /// Forgets all rows and gives pages and tables back; the device is not asked.
  void Detach();
  /// Takes part in these stores. Each has a free set of tables for it.
  void Attach(std::span<KvStore* const> stores);

  /// OK when `tokens` more can be read without dropping, or the policy may drop.
  absl::Status CanRead(uint64_t tokens) const;
  /// Pages this session must take from a stage's pool, or free by dropping, before `rows` more;
  /// what is past its budget it frees itself.
  uint32_t PagesMissing(uint32_t stage, uint32_t rows) const;
  /// Rows of a step get positions and pages. On an error the session can go on with fewer rows.
  absl::Status MakeRoom(uint32_t rows);
  /// Drops rows until the session holds at most `pages` pages of a stage, if its policy may drop.
  absl::Status ShrinkTo(uint32_t stage, uint32_t pages);
  /// Describes this session's share of a step, rows from `first_row` on.
  StepSequence Describe(uint32_t stage, uint32_t first_row, uint32_t rows, RowUse use) const;
  /// The step has run: its rows are resident.
  absl::Status Commit(uint32_t rows, RowUse use = RowUse::kKeep);
  absl::Status EndProbe();
  /// Room for `rows` is made now, and no row leaves on its own account until Release(): so what is
  /// read next can be taken back.
  absl::Status Hold(uint32_t rows);
  void Release() { holds_ = false; }
  /// The conversation has returned to what was dropped: rows stop leaving on their own account for
  /// kFreezeTokens, and when that happens again before their end, they may be twice as old from
  /// then on, at most kRelaxMost times.
  Easing Ease();
  void EndEasing() { frozen_until_ = relaxed_ = 0; }
  /// Forgets the newest `rows` of every head as if they had never been read, but for what their
  /// queries found important. False, with nothing changed, when rows moved since they were read.
  absl::StatusOr<bool> TakeBack(uint32_t rows);
  void Clear();

  /// Whether all rows that were dropped have copies on the host, and a probe of `rows` can look at
  /// them without moving positions.
  bool CanLookBack(uint32_t rows);
  /// Whether there are any copies to look at, once positions were moved if they must be.
  absl::StatusOr<bool> CanLookBackAtSome(uint32_t rows);
  /// From here on BringBack() goes through the copies there are now.
  void BeginLook();
  /// Brings the next copies to the device, at most `rows` of each head, fewer where there is not
  /// room for so many, with room left for a probe of `probe` rows; they are important until `lead`
  /// steps past the clock at least, or as they were. Returns how many copies the head with most of
  /// them has left, or nothing when there were none to bring.
  absl::StatusOr<std::optional<uint32_t>> BringBack(uint32_t rows, uint32_t probe,
                                                    uint32_t lead = 0);
  /// What a probe found among the rows that were brought last.
  struct Found {
    uint64_t rows = 0;        // That it gave their share of attention.
    double share_sum = 0.0;   // Of its attention, summed over heads.
    double share_most = 0.0;  // Of the head that gave them most.
  };
  absl::StatusOr<Found> FoundByProbe();
  /// Brings copies of what stands around the places where heads together found most to every head,
  /// as if found there too: a head that needs a row for a later word does not find it by the
  /// question. Nothing where positions have moved, which then differ from head to head.
  absl::Status BringBackAround(uint32_t probe);
  /// Copies that were not brought back stay where they are.
  void EndLook();
  /// Makes rows of tokens [from, to) ones that are never dropped, or as any others. False, with
  /// nothing changed, when some are not resident or positions were moved: then the log must be read
  /// again.
  absl::StatusOr<bool> SetPinned(uint32_t from, uint32_t to, bool is_pinned);
  /// The same for rows that may leave for the host only; those that have left must have copies.
  absl::StatusOr<bool> SetRetained(uint32_t from, uint32_t to, bool is_retained);
  /// Overwrites pages on the device: all of them, with what is known of queries, or the slots that
  /// hold no row.
  enum class Erase : uint8_t { kAll, kUnused };
  absl::Status Zero(Erase what);
  /// For the audit: all rows are about to be forgotten.
  void NoteForgotten(DropCause cause);

  /// Rows of each head of a stage.
  std::span<const uint32_t> counts(uint32_t stage) const { return parts_[stage]->kv.counts(); }
  /// Rows of each head, all layers; empty while detached.
  std::vector<uint32_t> counts() const;
  /// Positions of the rows of a head, of all layers', ascending; none while detached.
  absl::StatusOr<std::vector<uint32_t>> Positions(uint32_t head) const;
  uint32_t next_position() const { return next_position_; }
  uint32_t clock() const { return clock_; }
  uint32_t page_total(uint32_t stage) const { return parts_[stage]->kv.page_total(); }
  bool evicts() const { return rules_.evicts; }
  /// Whether rows leave though there is room.
  bool drops_by_age() const { return rules_.natural_age != kNever; }
  /// Whether what queries see decides about what stays.
  bool judges() const { return rules_.judges; }
  /// Newest rows that never leave, where the session has no more room than it was made for.
  uint32_t recent() const { return settings_.rules.recent; }

  struct Stats {
    uint64_t rows = 0;  // Resident, all heads.
    uint64_t bytes = 0;
    uint64_t evicted_total = 0, evicted_forced = 0, rebased = 0;
    uint64_t host_rows = 0, host_bytes = 0;          // Copies, ...
    uint64_t retained_rows = 0, retained_bytes = 0;  // ... and those of them that are retained.
    uint64_t returned_total = 0;                     // Rows that came back from copies.
    bool is_frozen = false;                          // By Ease().
    uint32_t relaxed = 0;                            // Doublings of the age at which rows leave.
    uint32_t adjusted = 0;                           // Times the rules were made anew.
  };
  Stats stats() const;

 private:
  /// The rows of one stage's heads.
  struct Part final : TableWriter {
    Part(KvStore* in, uint32_t table_of_it, const HostRows::Limits& limits);
    ~Part() override;
    absl::Status WriteTable(uint32_t head, uint32_t first, std::span<const PageId> pages) override;

    KvStore* const store;
    const uint32_t table;
    KvSequence kv;
    HostRows host;
    std::optional<HostRows::Drained> look;
    std::vector<uint32_t> brought;  // Rows of each head that came back last, its last slots; empty
                                    // once rows were dropped since.
  };
  struct Drop {
    uint32_t room;
    std::span<const uint32_t> more = {};  // Room of each head besides.
    uint32_t page_limit = kNever;
    uint32_t row_limit = kNever;  // Rows a head is cut to, room included, where rows may leave.
    uint32_t row_most = kNever;   // Refused, with nothing dropped, when a head would hold more.
    bool natural = false;
    DropCause cause = DropCause::kForced;
  };
  explicit SessionCache(const Settings& settings)
      : settings_(settings), rules_(settings.rules), controller_(settings.rows_per_head) {}
  /// Makes the rules anew where heads may hold many more or fewer rows than they are for.
  void FollowRoom(const Part& part, uint32_t page_limit);
  /// Pages that the session may hold of a stage: by its budget, and by the pool as well.
  uint32_t PageBudget(const Part& part) const;
  uint32_t PageLimit(const Part& part) const;
  StepSequence Describe(const Part& part, uint32_t first_row, uint32_t rows, RowUse use) const;
  /// Age at which rows leave on their own account, where they do.
  uint32_t NaturalAge() const;
  /// Queries at the end of a step of `rows` whose attention counts.
  uint32_t Judged(uint32_t rows) const;
  /// Whether sums of attention start again with a step of `rows`.
  bool BeginsAnew(uint32_t rows) const;
  std::unique_ptr<Part> MakePart(KvStore* store, uint32_t table, size_t stages) const;
  /// The place of a part's first head among those of all layers.
  uint32_t FirstHead(const Part& part) const;
  absl::Status DropRows(Part& part, const Drop& drop);
  /// Copies the rows that a compaction dropped, while their slots still hold them.
  absl::Status CopyDropped(Part& part, std::span<const uint32_t> evict);
  absl::Status BringBack(Part& part, uint32_t rows, uint32_t probe, uint32_t lead);
  /// Positions around those where the look found most, few enough to leave room for the rest.
  TokenRanges AroundFound() const;
  /// Whether `rows` more would pass the context, or the rows that a head may hold.
  bool HasPassed(uint32_t rows) const;
  /// Cuts heads to half of the context, and moves their positions back into it.
  absl::Status ReturnToContext(uint32_t rows);
  /// Heads of a part that retain copies have a page for TurnCopies().
  absl::Status LendPages(Part& part);
  /// Resident rows of a part, of these positions before, have moved: so has what it retains, copies
  /// to the front of all rows.
  absl::Status MoveRetained(Part& part, const PositionMove& move,
                            std::span<const std::vector<uint32_t>> rows);
  /// The device turns the keys of copies to positions from 0 on, a page of each head at a time, in
  /// pages that the heads lend, since there may be no others.
  absl::Status TurnCopies(Part& part);
  /// Rows have just left a part's heads on the device, evict[h] of each.
  absl::Status Leave(const Part& part, std::span<const uint32_t> evict,
                     std::span<const uint32_t> ages, DropCause cause);

  const Settings settings_;
  EvictionRules rules_;
  Controller controller_;
  std::vector<std::unique_ptr<Part>> parts_;  // By stage.
  std::map<uint32_t, double> found_;          // Attention that a look found, by position.
  uint32_t clock_ = 0;                        // Tokens seen.
  uint32_t next_position_ = 0;                // RoPE position of the next token.
  uint32_t last_natural_ = 0;                 // Clock of the last natural eviction.
  uint32_t observed_ = 0;                     // Judged queries in the sums of attention.
  uint32_t in_order_ = 0;                     // Newest rows that are the last slots of every head.
  bool holds_ = false;                        // Natural evictions wait, ...
  uint32_t frozen_until_ = 0;                 // ... or do until this clock.
  uint32_t relaxed_ = 0;                      // Doublings of the natural age.
  uint32_t adjusted_ = 0;                     // Times the rules were made anew.
  uint64_t evicted_total_ = 0, evicted_forced_ = 0, rebased_ = 0, returned_total_ = 0;
};

}  // namespace cormorant
