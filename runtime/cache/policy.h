// What an eviction policy is: a declaration of which rows a session can do without.
//
// A policy names the statistic by which a head's rows are ordered, the age at which rows leave even
// when there is room, and what is protected. It is data, not code: the device orders rows (KvAges,
// KvCompact), the cache decides how many of each head must go (cut.h), and the cap is enforced by
// the ledger. So a wrong policy costs quality, never memory safety or the cap.
//
// A policy is one file, runtime/eviction/<name>.cc, with a `const PolicyDef kPolicy_<name>`.
#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/ops/step.h"

namespace cormorant {

constexpr uint32_t kNever = std::numeric_limits<uint32_t>::max();

/// Among which heads rows are ranked for the room there is.
enum class HeadBudget : uint8_t {
  kSession,  // All of the session's: a head that needs more takes from those that need less.
  kLayer,    // Each layer's, layers having the same room.
  kHead,     // Each head for itself, all having the same room.
};
/// "session", "layer" or "head"; INVALID_ARGUMENT for another name.
absl::StatusOr<HeadBudget> ParseHeadBudget(absl::string_view name);

/// What the application asked for; absent means the policy's own choice.
struct PolicyOptions {
  std::optional<uint32_t> window;  // w
  std::optional<uint32_t> recent;  // r
  std::optional<ThresholdBasis> basis;
  std::optional<HeadBudget> budget;
  std::optional<uint32_t> reach, fade;
  uint32_t sinks = 4;
  std::optional<float> importance_scale;  // c
  bool capped = false;                    // The session lives under a byte cap.
  uint32_t rows_per_head = kNever;        // Mean rows a head can hold: by cap and re-basing.
};

struct EvictionRules {
  bool evicts = false;  // False: rows never leave; a full cache is an error.
  bool judges = false;  // Attention marks rows (last_important).
  MarkBy mark_by = MarkBy::kStep;
  RankBy rank_by = RankBy::kPosition;
  uint32_t natural_age = kNever;  // Rows this old leave even when there is room.
  uint32_t recent = 0;            // Newest rows that never leave.
  uint32_t sinks = 0;             // First rows of the session that never leave.
  uint32_t judged_rows = 0;       // Queries at the end of a prefill chunk whose attention counts.
  uint32_t observed = kNever;     // Judged queries after which sums of attention begin anew.
  HeadBudget budget = HeadBudget::kSession;
  ThresholdBasis basis = ThresholdBasis::kStep;
  float importance_scale = 1.0f;
  uint32_t reach = 0;  // Steps that each doubling of a share past the threshold counts for.
  uint32_t fade = 0;   // Steps that a position of distance from an important row costs; 0: all.
  ScoreBy score_by = ScoreBy::kNone;
  uint32_t value_reach = 0;  // Steps that each doubling of the size of a row's value counts for.
  bool observes_queries = false;  // Needs EngineOptions::query_statistics.
};

struct PolicyOption {
  absl::string_view name;  // As on the command line.
  absl::string_view meaning;
};

struct PolicyDef {
  absl::string_view name;
  absl::string_view summary;
  std::span<const PolicyOption> options;
  EvictionRules (*rules)(const PolicyOptions& options);
};

/// Every policy compiled in; generated from file names.
std::span<const PolicyDef* const> AllPolicyDefs();

/// The policy of this name, or NOT_FOUND with the list of known ones.
absl::StatusOr<const PolicyDef*> FindPolicy(absl::string_view name);

}  // namespace cormorant
