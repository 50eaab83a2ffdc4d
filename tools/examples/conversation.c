/* A conversation that stays inside a byte cap, in C, through cormorant.h alone.
 *
 *     conversation MODEL.gguf [KV_CAP_BYTES]
 *
 * Holds a short scripted conversation and prints it as it is made. The cap is on the cache of keys
 * and values, which without one grows with every token. When it is full the rows that matter least
 * leave, so the conversation goes on; nothing has to be cut out of it by hand. */
#include <stdio.h>
#include <stdlib.h>

#include "cormorant/cormorant.h"

/* Every call that can fail returns a status; the text says what went wrong and what helps. */
static int failed(corm_status status, const char* what) {
  if (status == CORM_OK) return 0;
  fprintf(stderr, "%s: %s: %s\n", what, corm_status_name(status), corm_last_error());
  return 1;
}

/* Called with each piece of text, which is always whole UTF-8 characters. Non-zero would stop. */
static int on_token(void* user, const corm_token_event* event) {
  fwrite(event->text, 1, event->text_bytes, (FILE*)user);
  fflush((FILE*)user);
  return 0;
}

static int converse(corm_session* session) {
  static const char* const turns[] = {
      "Hello! My name is Ada and I keep bees.",
      "What should I plant in my garden for them?",
      "And what do bees do in winter?",
      "Thank you. Say goodbye in one sentence.",
  };

  /* Options start from the defaults; the size inside lets old programs run with newer libraries. */
  corm_generate_options options;
  corm_generate_options_init(&options);
  options.max_tokens = 80;
  options.temperature = 0; /* Always the likeliest token. */

  if (failed(corm_session_add_message(session, "system", "You are a friendly gardener."), "system"))
    return 1;
  for (size_t i = 0; i < sizeof(turns) / sizeof(turns[0]); i++) {
    printf("\n> %s\n\n", turns[i]);
    if (failed(corm_session_add_message(session, "user", turns[i]), "message")) return 1;
    if (failed(corm_session_reply(session, &options, on_token, stdout, NULL), "reply")) return 1;

    corm_kv_stats stats;
    corm_kv_stats_init(&stats);
    if (failed(corm_session_get_stats(session, &stats), "stats")) return 1;
    printf("\n\n[%llu tokens in %llu bytes; uncapped they would take %llu]\n",
           (unsigned long long)stats.tokens, (unsigned long long)stats.bytes,
           (unsigned long long)stats.bytes_full_f16);
  }
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s MODEL.gguf [KV_CAP_BYTES]\n", argv[0]);
    return 2;
  }

  /* An engine is one model on one device under one cap. Everything is planned here. */
  corm_engine_options engine_options;
  corm_engine_options_init(&engine_options);
  engine_options.model_path = argv[1];
  engine_options.kv_cap_bytes = argc > 2 ? strtoull(argv[2], NULL, 10) : 8u << 20;
  engine_options.kv_type = "q8_0"; /* Half of the bytes of f16, at next to no loss. */
  corm_engine* engine = NULL;
  if (failed(corm_engine_create(&engine_options, &engine), argv[1])) return 1;

  /* A session is one conversation. NULL options: the policy "corm", since there is a cap. */
  corm_session* session = NULL;
  int result = failed(corm_session_create(engine, NULL, &session), "session");
  if (result == 0) result = converse(session);

  corm_session_destroy(session);
  corm_engine_destroy(engine);
  return result;
}
