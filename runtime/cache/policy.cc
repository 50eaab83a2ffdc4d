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

}  // namespace cormorant
