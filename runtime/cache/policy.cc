// Finding a policy by name. See policy.h.
#include "runtime/cache/policy.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace cormorant {

absl::StatusOr<const PolicyDef*> FindPolicy(absl::string_view name) {
  std::vector<absl::string_view> known;
  for (const PolicyDef* def : AllPolicyDefs()) {
    if (def->name == name) return def;
    known.push_back(def->name);
  }
  return absl::NotFoundError(absl::StrCat(
      "eviction policy '", name, "' is not known; there are: ", absl::StrJoin(known, ", ")));
}

absl::StatusOr<HeadBudget> ParseHeadBudget(absl::string_view name) {
  if (name == "session") return HeadBudget::kSession;
  if (name == "layer") return HeadBudget::kLayer;
  if (name == "head") return HeadBudget::kHead;
  return absl::InvalidArgumentError(
      absl::StrCat("head budget '", name, "' is not known; expected session, layer or head"));
}

}  // namespace cormorant
