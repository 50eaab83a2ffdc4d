// A session: one token stream with its cache, and what it needs to generate from it.
//
// The token log remembers every token ever read or generated (4 bytes each, on the host); the cache
// remembers what attention still needs. Tokens that were sampled but not yet read are pending: they
// are read before whatever comes next. When a device is lost, the log fills the next one's cache.
//
// One thread at a time uses a session; Cancel() alone may be called from any thread.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/cache/audit.h"
#include "runtime/cache/positions.h"
#include "runtime/cache/token_ranges.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/rollout.h"
#include "runtime/engine/sampler.h"

namespace cormorant {

class Shadow;

/// Whether replies Recall() by what they are to read.
enum class RecallWhen : int32_t {
  kNever,
  kAlways,
  kCompared,  // Always, and a draft of the answer without it tells whether it made a difference.
};

struct SessionOptions {
  std::string policy;  // Empty: corm under a cap or budget, else none.
  std::optional<uint32_t> window, recent;
  std::optional<ThresholdBasis> basis;
  std::optional<HeadBudget> budget;
  std::optional<uint32_t> reach, fade;
  uint32_t sinks = 4;
  uint32_t interval = 0;  // 0: chosen.
  std::optional<float> importance_scale;
  bool pin_system_prompt = true;
  RecallWhen recall = RecallWhen::kNever;
  uint64_t reread_most = UINT64_MAX;  // A recall does not read more tokens than that again.
  HostRows::Limits host_copies;
  bool zero_pages = false;       // Memory of rows is overwritten as soon as they leave the cache.
  uint32_t audit = 0;            // Records of what was dropped that are kept.
  uint64_t kv_budget_bytes = 0;  // Pages and tables that the session may hold; 0: no limit.
  Mode mode = Mode::kOn;
  double canary = 0.0;              // Mode::kCanary: the share of keys that are on, ...
  std::string key;                  // ... and whose session it is.
  std::vector<float> head_weights;  // Of cut.h, all layers; empty: the engine's tuning, else 1.
  PositionRule positions = PositionRule::kWindowed;
  bool follows_room = true;  // The policy's own constants follow the rows that heads may hold.
};

struct GenerateOptions {
  SamplerOptions sampler;
  uint64_t max_tokens = 0;  // 0: until the model ends its turn.
  bool ignore_end = false;  // Not with a grammar, which ends with the turn.
  std::shared_ptr<const Grammar> grammar = nullptr;  // Of the answer; null: any text.
};

/// The beginning of an answer that is taken back.
struct Draft {
  std::vector<uint32_t> ids;
  std::vector<std::vector<float>> logits;  // By which each of ids was chosen.

  /// KL(this || other) in nats of the choice of a token, the greatest up to the first token that
  /// differs; 0 where none does, or one is empty.
  double DivergenceFrom(const Draft& other) const;
};

enum class StopReason : int32_t { kEnd = 0, kLength = 1, kCancelled = 2, kCap = 3 };

struct GenerateResult {
  uint64_t prompt_tokens = 0;
  uint64_t generated_tokens = 0;
  uint64_t recalled_tokens = 0;   // Read again, by Recall().
  uint64_t recalled_rows = 0;     // That came back from copies and were needed.
  double draft_divergence = 0.0;  // Of drafts before and after the recall, in nats.
  bool returned = false;          // It is as great as when a draft lacks what was dropped.
  bool degraded = false;          // What was dropped could not come back for the question.
  double prompt_seconds = 0.0;
  double decode_seconds = 0.0;
  StopReason stop_reason = StopReason::kEnd;
};

class Session {
 public:
  /// False cancels.
  using Progress = absl::FunctionRef<bool(uint64_t done, uint64_t total)>;
  using OnLogits = absl::FunctionRef<bool(size_t index, std::span<const float> logits)>;
  using OnToken = absl::FunctionRef<bool(uint32_t id, absl::string_view text)>;

  static absl::StatusOr<std::unique_ptr<Session>> Create(std::shared_ptr<Engine> engine,
                                                         const SessionOptions& options);
  ~Session();

  /// Reads tokens. Refused as a whole when they cannot all fit and nothing may be dropped.
  /// Where they are to be retained, that must be possible, as for Retain().
  absl::Status Append(std::span<const uint32_t> ids, RowUse use, Progress progress);
  /// Append, with the logits after every token.
  absl::Status Score(std::span<const uint32_t> ids, OnLogits on_logits);
  /// What a recall did.
  struct Recalled {
    bool from_copies = false;
    bool degraded = false;      // Not all has copies, and the log is too long to be read.
    uint64_t tokens_read = 0;   // Of the log, again.
    SessionCache::Found found;  // In copies.
  };
  /// Brings back to the cache what `ids`, a question that is to be read next, attends to among what
  /// was dropped. Its last tokens look at copies on the host, where all dropped rows have some;
  /// else the log is read again, and after every few hundred tokens they look at the cache, so that
  /// what they need stays: that takes what reading all tokens takes, and somewhat more; when it
  /// ends early, the next call reads the rest first. Does nothing as long as nothing was dropped.
  /// FAILED_PRECONDITION when attention has no say in what the policy drops. Where that is more
  /// than options().reread_most tokens, the copies that there are are looked at, and the result
  /// says so.
  absl::StatusOr<Recalled> Recall(std::span<const uint32_t> ids, Progress progress);
  /// Append, with the logits that are wanted of them: kNone, kLast or, given all_logits, kAll.
  absl::Status Read(std::span<const uint32_t> ids, RowUse use, WantLogits want, OnLogits on_logits);
  /// Goes on from the last token. `result` is filled even on an error.
  absl::Status Generate(const GenerateOptions& options, OnToken on_token, GenerateResult* result);
  /// Begins an answer that is to be taken back: at most `tokens` tokens, as Generate() would give
  /// them. Hold() first, and Rewind() after, on an error too.
  absl::StatusOr<Draft> Begin(const GenerateOptions& options, uint32_t tokens);
  /// The conversation has returned to what was dropped, by so many nats: the application is told,
  /// and less is dropped on its own account from now on.
  void Returned(double divergence);
  /// So many tokens can be read next and taken back at no cost, until Rewind(). RESOURCE_EXHAUSTED
  /// when there is no room for all of them at once.
  absl::Status Hold(uint32_t tokens);
  /// Forgets tokens from `to` on. At once when their rows have not moved since; else the rest is
  /// read again, by the next call if not by ReadRest(), which must come before Generate() where
  /// nothing is read in their place. What was dropped for them stays dropped.
  absl::Status Rewind(size_t to);
  /// Reads what the cache is behind the log. When it ends early, the next call goes on.
  absl::Status ReadRest(Progress progress);
  /// Forgets everything but the audit.
  void Reset();
  /// Forgets all tokens, to read others in their place; what was observed stays.
  void Restart();

  /// Tokens [from, to) of the log are never dropped from now on. Where their rows are all resident
  /// and where they were read, this is done at once; else the log is read again, and when that ends
  /// early the next call reads the rest. An error, with nothing changed, as CanStay() says;
  /// FAILED_PRECONDITION where tokens are retained on the host.
  absl::Status Pin(size_t from, size_t to, Progress progress);
  /// They may leave again, as if they had just been read; sinks stay. Otherwise as Pin(), but
  /// refused as MayGo() says.
  absl::Status Unpin(size_t from, size_t to, Progress progress);
  /// Tokens [from, to) are kRetain or kRetainOnHost from now on, whatever they were before.
  /// Otherwise as Pin().
  absl::Status Retain(size_t from, size_t to, RowUse how, Progress progress);
  /// Retained tokens in [from, to) are ordinary ones again. Otherwise as Unpin().
  absl::Status Release(size_t from, size_t to, Progress progress);
  /// Whether tokens [from, to), to be read or not, may stay as `use` says. RESOURCE_EXHAUSTED when
  /// they would leave a head no room for its newest rows and a step beside what stays already, or
  /// no positions; FAILED_PRECONDITION when what leaves for the host could not come back.
  absl::Status CanStay(size_t from, size_t to, RowUse use) const;
  /// FAILED_PRECONDITION, and a record for the audit, when tokens of [from, to) are retained.
  absl::Status MayGo(size_t from, size_t to);
  /// Never dropped: pinned, or retained where they are.
  const TokenRanges& pins() const { return pins_; }
  /// Retained where they are, and on the host.
  const TokenRanges& retained() const { return retained_; }
  const TokenRanges& retained_on_host() const { return on_host_; }
  /// What tokens [from, to) are: kKeep, or what some of them are, kRetain before all.
  RowUse UseOf(size_t from, size_t to) const;
  /// Erases tokens [from, to): from the log, where later ones move down, and with zeros wherever
  /// the host or a device holds anything of them or of what was read after them. The rest of the
  /// log is then read again; when that ends early, everything is erased, and the next call reads
  /// the rest. Retained ones go with the others: MayGo() is the caller's to ask.
  absl::Status Purge(size_t from, size_t to, Progress progress);
  /// OK when [from, to) are tokens of the log and not none.
  absl::Status CheckRange(size_t from, size_t to) const;
  /// Shows what was dropped, while no step runs.
  void ReadAudit(absl::FunctionRef<void(const Audit& audit)> read) const;

  void Cancel() { cancelled_.store(true); }
  /// Called when a call on the session begins, so that an old Cancel() does not end it.
  void ClearCancel() { cancelled_.store(false); }

  const Engine& engine() const { return *engine_; }
  /// What the session does: its mode is what a canary came to, and when it is not on there is
  /// neither policy nor budget.
  const SessionOptions& options() const { return options_; }
  const SessionPlan& plan() const { return plan_; }
  /// What it would be if it dropped rows; null but in Mode::kObserve.
  const Shadow* shadow() const { return shadow_.get(); }
  /// Whether rows leave by their age or for a budget, whatever other sessions hold.
  bool drops_by_itself() const;
  /// Logits after the last token; empty where they are not known.
  std::span<const float> logits() const { return logits_; }
  /// All tokens so far, pending ones included.
  const std::vector<uint32_t>& tokens() const { return tokens_; }
  std::optional<uint32_t> LastToken() const {
    return tokens_.empty() ? std::nullopt : std::optional(tokens_.back());
  }
  // These wait for a running step: it may drop rows of this session for another's sake.
  SessionCache::Stats stats() const;
  std::vector<uint32_t> row_counts() const;
  uint32_t next_position() const;
  /// Positions of the rows that a head (layer * G + KV head) holds, ascending. Until positions are
  /// first moved back into the context, a token's position is its place in tokens().
  absl::StatusOr<std::vector<uint32_t>> ResidentPositions(uint32_t head) const;

 private:
  Session(std::shared_ptr<Engine> engine, const SessionOptions& options, const SessionPlan& plan);
  absl::Status CheckIds(std::span<const uint32_t> ids) const;
  /// Whether `tokens` more than the pending ones can be read without dropping, or rows may drop.
  absl::Status CheckRoom(uint64_t tokens) const;
  /// Engine::Run on this session's cache; the shadow follows.
  absl::Status Run(Request& request, absl::FunctionRef<bool()> after_step);
  /// Without the shadow. A cache that was lost with its device is filled again.
  absl::Status RunAlone(Request& request, absl::FunctionRef<bool()> after_step);
  /// Run, and what was read becomes part of the log.
  absl::Status Extend(Request& request, absl::FunctionRef<bool()> after_step);
  /// Reads what the cache held before and `done`, the part of a request that it had taken, until it
  /// holds them again. Which rows were dropped may differ from before.
  absl::Status Refill(std::span<const uint32_t> done, RowUse use);
  /// A part of a session's log to read, from where the cache ends.
  struct Reading {
    std::span<const uint32_t> log;
    const TokenRanges& pins;
    const TokenRanges& on_host;
    std::span<const uint32_t> question = {};  // Looks at the cache after every `piece` tokens.
    size_t piece = SIZE_MAX;
  };
  absl::Status ReadLog(const Reading& reading, Progress progress);
  /// Rows of the question judge what the cache holds, and are gone.
  absl::Status Probe(std::span<const uint32_t> question, absl::FunctionRef<bool()> after_step);
  absl::StatusOr<Recalled> LookBack(std::span<const uint32_t> question, Progress progress);
  absl::StatusOr<Recalled> ReadAgain(std::span<const uint32_t> question, Progress progress);
  /// Reads what was sampled but not yet read.
  absl::Status ReadPending(WantLogits want);
  /// What an answer that goes on from here may be; null for anything.
  std::unique_ptr<TokenFilter> MakeFilter(const GenerateOptions& options) const;
  /// Samples from what is known of the logits, which is then forgotten, and adds the token to the
  /// log. Nothing where the filter, which may be null, allows nothing and the text may end.
  absl::StatusOr<std::optional<uint32_t>> Choose(Sampler* sampler, TokenFilter* filter);
  /// Remembers the logits after the last token of a request that has them.
  void KeepLogits(Request& request);
  void ForgetLogits();
  /// Tokens [from, to) of the log are what `use` says, and nothing else.
  void Set(size_t from, size_t to, RowUse use);
  /// What tokens are has changed: `in_place` tells the cache. Where it cannot, the log is read
  /// again.
  absl::Status TellCache(absl::FunctionRef<absl::StatusOr<bool>()> in_place, Progress progress);
  /// As SessionCache::SetPinned(), of several ranges.
  absl::StatusOr<bool> SetPinned(std::span<const TokenRanges::Range> ranges, bool is_pinned);
  /// For the audit: something is done to tokens [from, to).
  void Note(DropCause cause, size_t from, size_t to);
  void ForgetTokens(DropCause cause);
  /// Empties the cache; ReadRest() or the next call fills it.
  void ForgetCache(DropCause cause);
  /// Leaves the last token pending, so that there is something to go on from when reading ends
  /// early.
  void GoOnFromLastToken();

  const std::shared_ptr<Engine> engine_;
  const SessionOptions options_;
  std::unique_ptr<Audit> audit_;  // Null: none is kept.
  const SessionPlan plan_;
  std::unique_ptr<SessionCache> cache_;
  std::unique_ptr<Shadow> shadow_;
  std::vector<uint32_t> tokens_;
  std::vector<uint32_t> pending_;
  // Of tokens_: those that are never dropped, those of them that are retained, and those that may
  // leave for the host only.
  TokenRanges pins_, retained_, on_host_;
  // After the last token, all of them or the greatest alone; both empty when there are none.
  std::vector<float> logits_;
  std::vector<TokenLogit> top_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace cormorant
