/* The public header compiled as C11 with -pedantic, and every struct used the way C callers do. */
#include "cormorant/cormorant.h"

_Static_assert(sizeof(corm_status) == 4, "a status is four bytes everywhere");
_Static_assert(offsetof(corm_engine_options, struct_size) == 0, "the size comes first");
_Static_assert(offsetof(corm_session_options, struct_size) == 0, "the size comes first");
_Static_assert(offsetof(corm_generate_options, struct_size) == 0, "the size comes first");
_Static_assert(offsetof(corm_token_event, struct_size) == 0, "the size comes first");

/* Called by a test, so that the object is not left out: 1 when C sees the same defaults as C++. */
int cormorant_defaults_from_c(void);
int cormorant_defaults_from_c(void) {
  corm_generate_options options;
  corm_generate_options_init(&options);
  return options.struct_size == sizeof(options) && options.top_k == 40u && options.grammar == NULL;
}
