// none: nothing is ever dropped. Reaching the cap or the trained context is an error that loses
// nothing.
#include "runtime/cache/policy.h"

namespace cormorant {

extern const PolicyDef kPolicy_none;
const PolicyDef kPolicy_none = {"none",
                                "keeps every row; a full cache is an error that loses nothing",
                                {},
                                [](const PolicyOptions&) { return EvictionRules{}; }};

}  // namespace cormorant
