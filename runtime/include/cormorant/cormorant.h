/* Cormorant: an embedded LLM inference runtime that holds conversations of any length inside a byte
 * cap.
 *
 * Conventions
 * 1. Handles are opaque. `corm_<noun>_destroy` accepts NULL. Children keep their parents alive: an
 *    engine may be destroyed before its sessions; its memory goes with the last of them.
 * 2. Every call that can fail returns a corm_status: 0 is done. corm_last_error() then says what
 *    failed, where, and what to do; it is per thread and valid until that thread's next call.
 * 3. Option and result structs begin with `struct_size`. Call corm_<struct>_init() first: it fills
 *    the defaults. Fields are only ever appended, so an application built with an older header runs
 *    with a newer library.
 * 4. Text is UTF-8 and counted in bytes; `const char*` arguments are NUL-terminated unless a length
 *    stands beside them. Text the library returns through `char**` is freed with corm_text_free().
 * 5. Callbacks run on the thread that made the call, carry `void* user`, and cancel by returning
 *    non-zero. They may not call into the same session.
 * 6. Calls on an engine are safe from any thread. A session is used by one thread at a time: a
 *    second caller gets CORM_FAILED_PRECONDITION, not a race. corm_session_cancel() alone may be
 *    called from anywhere.
 * 7. Nothing here aborts the process, throws, prints or installs anything global, except the log
 *    sink. After an error the session is as it was before the call, or as the call's text says.
 */
#ifndef CORMORANT_CORMORANT_H_
#define CORMORANT_CORMORANT_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CORM_API __attribute__((visibility("default")))

/* ---- Status ---------------------------------------------------------------------------------- */

typedef int32_t corm_status;
enum {
  CORM_OK = 0,
  CORM_CANCELLED = 1,           /* A callback or corm_session_cancel() asked for it. */
  CORM_INTERNAL = 13,           /* A fault of the library; please report it. */
  CORM_INVALID_ARGUMENT = 3,    /* Can never work: fix the call or its options. */
  CORM_NOT_FOUND = 5,           /* A file, device, policy or backend does not exist. */
  CORM_RESOURCE_EXHAUSTED = 8,  /* A cap or the memory is used up; the message names what helps. */
  CORM_FAILED_PRECONDITION = 9, /* Not in this state: a busy session, nothing to generate from. */
  CORM_OUT_OF_RANGE = 11,       /* Past the model's context, with a policy that keeps all rows. */
  CORM_UNIMPLEMENTED = 12,      /* The file needs something this version does not compute. */
  CORM_UNAVAILABLE = 14,        /* The device is not there, or was lost. */
  CORM_DATA_LOSS = 15           /* The file is damaged; the message names offset and field. */
};

/* Why the calling thread's last failed call failed. Never NULL. */
CORM_API const char* corm_last_error(void);
/* "RESOURCE_EXHAUSTED" and so on; "UNKNOWN" for any other number. */
CORM_API const char* corm_status_name(corm_status status);
/* "0.1.0" */
CORM_API const char* corm_version(void);
/* Frees text a call returned. Accepts NULL. */
CORM_API void corm_text_free(char* text);

/* ---- Log ------------------------------------------------------------------------------------- */

enum { CORM_LOG_ERROR = 0, CORM_LOG_WARNING = 1, CORM_LOG_INFO = 2, CORM_LOG_DEBUG = 3 };
typedef void (*corm_log_fn)(void* user, int level, const char* message);
/* Sends messages up to `level` to `fn`; NULL silences. Without this call nothing is logged. May be
 * called at any time; `fn` must be thread-safe and may not call the library. */
CORM_API void corm_set_log(corm_log_fn fn, void* user, int level);

/* ---- Engine: one model on one device under one cap ------------------------------------------- */

typedef struct corm_engine corm_engine;
typedef struct corm_session corm_session;
typedef struct corm_tokenizer corm_tokenizer;
typedef struct corm_grammar corm_grammar; /* See grammar.h. */

/* Told how much of a long call is done; returns non-zero to cancel it (loading cannot be). */
typedef int (*corm_progress_fn)(void* user, uint64_t done, uint64_t total);

enum {
  CORM_EVENT_DEVICE_LOST = 0,     /* Its driver reset it, it was pulled out, ... */
  CORM_EVENT_DEVICE_RESTORED = 1, /* Opened again. Sessions read their tokens again and go on. */
  CORM_EVENT_HOST_FALLBACK = 2,   /* It stayed away: from here on the CPU computes. */
  CORM_EVENT_MEMORY_SHORT = 3,    /* Other programs have taken device memory planned with. */
  CORM_EVENT_RECALLED = 4,        /* A recall has looked through the copies on the host. */
  CORM_EVENT_READ_AGAIN = 5, /* A recall has read a session's tokens again, for want of copies. */
  CORM_EVENT_RETURNED = 6, /* An answer needs what was dropped before: without a recall it would go
                              on differently (CORM_RECALL_COMPARED). */
  /* After that, where rows leave on their own account, without a cap: */
  CORM_EVENT_FROZEN = 7,  /* They do not for the next 512 tokens. */
  CORM_EVENT_RELAXED = 8, /* It happened again in these: they stay twice as long from now on. */
  CORM_EVENT_DEGRADED = 9 /* Not all that was dropped can come back for a question: not all of it
                             has copies, and reread_most forbids to read so much again. */
};
typedef struct corm_event {
  size_t struct_size;
  int32_t kind;        /* CORM_EVENT_*; more may come. */
  const char* message; /* What happened and what follows from it. Valid during the call. */
} corm_event;
/* Called on a thread that is inside a call of the library; may not call the library. */
typedef void (*corm_event_fn)(void* user, const corm_event* event);

typedef struct corm_engine_options {
  size_t struct_size;
  const char* model_path;    /* A GGUF file. */
  const char* backend;       /* "auto" (default), "cpu", ...; corm_devices() lists them. */
  uint32_t device;           /* Index within the backend. */
  uint32_t threads;          /* CPU threads; 0: the machine's physical cores. */
  uint64_t memory_cap_bytes; /* On all device memory of this engine; 0: none. Layers that a GPU
                                cannot hold under it stay on the CPU. */
  uint64_t kv_cap_bytes;     /* On the KV store alone, pages and their metadata; 0: none. */
  const char* kv_type;       /* Of rows: "f16" (default), "q8_0", "q4_0", K:V as "q8_0:q4_0", or
                                "auto": what loses least under the cap, by the tuning's measured
                                losses; without them f16 where all rows of the context fit, else
                                q8_0. */
  uint32_t context;          /* Positions to use; 0: the model's own. More is refused. */
  uint32_t max_sessions;     /* Sessions that may exist at once; default 1. */
  uint32_t prefill_chunk;    /* Prompt tokens a step; 0: chosen for the cap. */
  uint32_t all_logits;       /* Non-zero: every step can deliver logits of each of its rows. */
  corm_progress_fn on_load;  /* May be NULL; done and total in weight bytes. */
  void* on_load_user;
  corm_event_fn on_event; /* May be NULL. */
  void* on_event_user;
  uint32_t devices; /* At most so many devices of the backend, `device` the first, may hold the
                       model together: each takes some layers where one alone has too little memory.
                       0 (default): all that there are. */
  /* What `cormorant tune` found for this model: the path of its file, "auto" for
   * MODEL_PATH.tuning.json where that is there and fits, or NULL (default) for none. A file that is
   * named and does not fit is CORM_INVALID_ARGUMENT. Sessions of its policy under a cap or budget
   * take head weights and options from it that they do not set themselves, and kv_type "auto" its
   * measured losses. */
  const char* tuning_path;
  uint32_t query_statistics; /* Non-zero: what queries are like is kept for each session, which
                                policy expected-attention needs (corm_policies() says of each). Its
                                bytes are metadata of the KV store. */
} corm_engine_options;
CORM_API void corm_engine_options_init(corm_engine_options* options);

/* Loads a model. The whole plan is made here: if weights, scratch and the smallest workable KV pool
 * do not fit the cap the call fails with CORM_RESOURCE_EXHAUSTED and names the smallest cap that
 * works; afterwards nothing grows beyond it. */
CORM_API corm_status corm_engine_create(const corm_engine_options* options, corm_engine** engine);
CORM_API void corm_engine_destroy(corm_engine* engine);

typedef struct corm_engine_info {
  size_t struct_size;
  uint32_t layers;
  uint32_t kv_heads;
  uint32_t head_dim;
  uint32_t vocab;           /* Logits a token has. */
  uint32_t context;         /* Positions in use. */
  uint32_t context_trained; /* Positions the model was trained on. */
  uint32_t prefill_chunk;
  uint64_t kv_bytes_per_token; /* As f16 rows without bookkeeping, all layers and heads. */
  uint64_t kv_page_bytes;
  uint64_t kv_pages;        /* Pages the cap allows. */
  const char* architecture; /* Valid while the engine lives, like the strings below. */
  const char* model_name;
  const char* backend;
  const char* device;
  uint32_t host_layers; /* Of the layers, the last ones, on the CPU beside the device. */
  uint32_t devices;     /* That hold the other layers. */
  const char* kv_type;  /* Of rows, as "q8_0:q4_0"; what "auto" came to. */
  const char* tuning;   /* The file that tuning_path came to; "" for none. */
} corm_engine_info;
CORM_API void corm_engine_info_init(corm_engine_info* info);
CORM_API corm_status corm_engine_get_info(const corm_engine* engine, corm_engine_info* info);

/* Bytes by category on the device, as the engine's ledger has them. The cap is on their sum. */
typedef struct corm_memory_stats {
  size_t struct_size;
  uint64_t cap; /* 0: none. */
  uint64_t used;
  uint64_t peak;
  uint64_t weights;
  uint64_t kv_pages;
  uint64_t kv_metadata;
  uint64_t activations;
  uint64_t staging;
  uint64_t program; /* Compiled plans, and what the device adds to round up. */
  uint64_t kv_cap;  /* 0: none. */
  uint64_t kv_peak; /* Greatest size of the KV store so far, host_layers included. */
  uint64_t host;    /* Taken by the host_layers, all categories. */
  uint64_t host_peak;
  uint64_t device_budget; /* What the driver leaves this process, now and then asked; 0: unknown. */
  uint64_t device_used;   /* What this process uses, as the driver counts. */
  uint64_t memory_short;  /* CORM_EVENT_MEMORY_SHORT so far. */
} corm_memory_stats;
CORM_API void corm_memory_stats_init(corm_memory_stats* stats);
CORM_API corm_status corm_engine_get_memory(const corm_engine* engine, corm_memory_stats* stats);

/* ---- Tokenizer ------------------------------------------------------------------------------- */

/* Reads the vocabulary of a GGUF file; weights are not touched and may be absent. */
CORM_API corm_status corm_tokenizer_open(const char* model_path, corm_tokenizer** tokenizer);
CORM_API void corm_tokenizer_destroy(corm_tokenizer* tokenizer);
/* The engine's own. Destroy it like any other. */
CORM_API corm_status corm_engine_get_tokenizer(const corm_engine* engine,
                                               corm_tokenizer** tokenizer);
CORM_API uint32_t corm_tokenizer_size(const corm_tokenizer* tokenizer);

enum {
  CORM_ENCODE_BOS = 1,           /* Add BOS and EOS as the vocabulary asks for. */
  CORM_ENCODE_PARSE_SPECIAL = 2, /* Special-token text in the input becomes the token. */
};
/* Writes the ids of `text` and their number. With capacity too small (0 to ask), *count is the
 * number needed and the call fails with CORM_OUT_OF_RANGE. */
CORM_API corm_status corm_tokenizer_encode(const corm_tokenizer* tokenizer, const char* text,
                                           size_t text_bytes, uint32_t flags, uint32_t* ids,
                                           size_t capacity, size_t* count);
enum { CORM_DECODE_SPECIAL = 1 /* Special tokens appear as their text. */ };
/* The text of `ids`, NUL-terminated; its bytes without the NUL in *text_bytes (may be NULL). */
CORM_API corm_status corm_tokenizer_decode(const corm_tokenizer* tokenizer, const uint32_t* ids,
                                           size_t count, uint32_t flags, char** text,
                                           size_t* text_bytes);
/* The model's chat template, or "" where it has none. Valid while the tokenizer lives. */
CORM_API const char* corm_tokenizer_chat_template(const corm_tokenizer* tokenizer);
/* Text of the BOS and EOS tokens; "" where the vocabulary has none. Valid as above. */
CORM_API const char* corm_tokenizer_bos_text(const corm_tokenizer* tokenizer);
CORM_API const char* corm_tokenizer_eos_text(const corm_tokenizer* tokenizer);

typedef struct corm_template_options {
  size_t struct_size;
  const char* source;        /* Jinja chat template. */
  const char* messages_json; /* As in the OpenAI API. */
  const char* tools_json;    /* NULL: none. */
  const char* bos_text;      /* NULL: "". */
  const char* eos_text;      /* NULL: "". */
  int add_generation_prompt; /* Default 1. */
} corm_template_options;
CORM_API void corm_template_options_init(corm_template_options* options);
/* Renders a chat template as Python's jinja2 with transformers' settings does. */
CORM_API corm_status corm_template_render(const corm_template_options* options, char** text);

/* ---- Sessions -------------------------------------------------------------------------------- */

enum { CORM_BASIS_STEP = 0, CORM_BASIS_RESIDENT = 1 };

enum {
  CORM_RECALL_NEVER = 0,
  CORM_RECALL_ALWAYS = 1, /* corm_session_reply() begins with corm_session_recall() of what it
                             reads. */
  /* The same, and tells whether it made a difference: the first 16 tokens of the answer are drafted
   * before and after, and taken back. Where the drafts part and are far apart there is a
   * CORM_EVENT_RETURNED, and `returned` in the result, and the second draft is recalled by as well.
   * Takes the time of the drafts besides, in each of which what is new is read. None are made where
   * there is not room for it at once. */
  CORM_RECALL_COMPARED = 2
};
typedef struct corm_session_options {
  size_t struct_size;
  const char* policy;     /* NULL: "corm" when the engine has a cap, else "none". */
  uint32_t corm_window;   /* w: queries for which a key must be minor to leave on its own account.
                             0: 256 without a cap; with one, rows leave under pressure only. */
  uint32_t recent;        /* r: newest rows that are never dropped. UINT32_MAX: the policy's own
                             default (256, less under a very small cap). */
  uint32_t sinks;         /* First tokens that are never dropped; default 4. */
  uint32_t interval;      /* Tokens between evictions; 0: chosen. */
  int32_t basis;          /* CORM_BASIS_*; -1 (default): the policy's own. */
  float importance_scale; /* c: a key is important at a share of c/t or more; 0 (default): the
                             policy's own. */
  int pin_system_prompt;  /* Default 1: a system message at the start is never dropped. */
  int32_t reach;          /* Steps for which each doubling of a share past c/t is remembered longer;
                             -1 (default): the policy's own. Below 4096. */
  const char* head_budget;  /* Heads that share room: "session", "layer", "head"; NULL: the policy's
                               own. */
  int32_t fade;             /* Steps of being remembered that each position of distance from an
                               important row costs its neighbours; 0: neighbours have nothing of it;
                               -1 (default): the policy's own. Below 4096. */
  int recall;               /* CORM_RECALL_*; default CORM_RECALL_NEVER. */
  uint64_t host_copy_bytes; /* Host memory for copies of dropped rows, which a recall then need not
                               compute again; 0 (default): none are made. The oldest go first. */
  double host_copy_seconds; /* A copy is overwritten and freed after so long, when the session is
                               next used; 0: never. Default 3600. */
  int zero_pages;           /* Non-zero: memory of rows is overwritten with zeros on the device as
                               soon as they leave the cache, for whatever reason; default 0. */
  uint32_t audit;           /* Records that corm_session_get_audit() keeps, the newest, at most
                               2^20; 0 (default): none. */

  /* KV pages and metadata that this session may hold, inside the engine's cap; 0 (default): no
   * limit of its own. It counts like a cap: "corm" is the default policy, "none" refuses what does
   * not fit. A budget too small is CORM_RESOURCE_EXHAUSTED, which names the smallest that works. */
  uint64_t kv_budget_bytes;
  /* "on" or NULL: rows are dropped. "off": nothing is dropped, as with policy "none" and no budget.
   * "observe": nothing is dropped, but a second cache is kept as "on" would keep it, and
   * corm_session_get_observed() says what that would have cost; it takes twice the compute, the
   * bytes of the budget, and two of the engine's max_sessions. "canary": "on" for a share of keys,
   * "off" for the others. Policy and budget are checked in every mode. */
  const char* mode;
  /* The share of keys that a canary is on for, in [0, 1]; default 0. As it grows, who is on stays
   * on. */
  double canary;
  /* Names the user or the conversation of a canary. It is on when the upper 53 bits of
   * fmix64(FNV-1a-64(key)), over 2^53, are below `canary`: the same on every machine and in every
   * version. */
  const char* key;
  /* A recall for want of copies reads no more tokens again than this; default UINT64_MAX. Where it
   * would have to, it looks through what copies there are, of retained rows at least, and says so
   * (`degraded`). */
  uint64_t reread_most;
  /* What becomes of positions when the next would pass the context. "rebased": each head is cut to
   * at most half of the context, and the rows that are left become neighbours. "windowed": the
   * same, but the newest rows keep their distances, and only the others become neighbours; as many
   * do as leaves a quarter of the context free. "original": positions go on, up to 2^20, which most
   * models do not stand; to compare with. With policy "none" a session ends at the context, in any
   * case. NULL: "windowed". */
  const char* positions;
  /* Of each KV head of each layer, [layers][kv_heads], in [1/16, 16]; NULL (default): those of the
   * engine's tuning, else all 1. Where heads share room by the age of their rows (policies corm,
   * corm-values, protected-lru and window), rows of a head count as so many times older: above 1
   * the head gives up more of them. The order within a head stays. Copied by the call. */
  const float* head_weights;
  size_t head_weight_count; /* layers * kv_heads, or 0. */
  /* Non-zero (default): under a cap, what the policy sets by itself (`recent`, `reach`,
   * `importance_scale`) is set anew when the rows that a head may hold, on average, become fewer by
   * a factor of 1.4, or are more by as much for 256 tokens: other sessions take room and leave it.
   * 0: it is set once, for an equal share of the room among max_sessions. */
  int controller;
} corm_session_options;
CORM_API void corm_session_options_init(corm_session_options* options);

CORM_API corm_status corm_session_create(corm_engine* engine, const corm_session_options* options,
                                         corm_session** session);
CORM_API void corm_session_destroy(corm_session* session);
/* Forgets everything but the audit, retained tokens too: an empty session with the same options. */
CORM_API corm_status corm_session_reset(corm_session* session);
/* Makes a running call on this session end with CORM_CANCELLED after its current step. */
CORM_API void corm_session_cancel(corm_session* session);

enum {
  CORM_APPEND_PIN = 1,           /* These tokens are never dropped. */
  CORM_APPEND_RETAIN = 2,        /* They are retained, resident, ... */
  CORM_APPEND_RETAIN_ON_HOST = 4 /* ... or on the host (corm_session_retain()). */
};
/* Reads tokens into the session. With policy "none", tokens that do not fit are refused before any
 * is read. A cancelled call keeps the tokens of the steps that were done. `flags` is one of
 * CORM_APPEND_* or 0; what cannot be retained is refused, as corm_session_retain() does. */
CORM_API corm_status corm_session_append(corm_session* session, const uint32_t* ids, size_t count,
                                         uint32_t flags, corm_progress_fn on_progress, void* user);

/* Logits after token `index` of the call: `vocab` floats, valid during the callback. */
typedef int (*corm_logits_fn)(void* user, size_t index, const float* logits, size_t vocab);
/* As append, and delivers the logits of every token in order. Needs all_logits for speed; works
 * without it one token a step. */
CORM_API corm_status corm_session_score(corm_session* session, const uint32_t* ids, size_t count,
                                        corm_logits_fn on_logits, void* user);

typedef struct corm_recall_result {
  size_t struct_size;
  int32_t from_copies;  /* Non-zero: copies were looked through, nothing was computed again. */
  uint64_t tokens_read; /* Else: tokens of the session that were read again. */
  uint64_t copied_rows; /* Rows from copies that the question gave their share of attention. */
  double copied_share;  /* What they had of its attention in the head where it was most; can be
                           above 1 where several queries of the question look. */
  int32_t degraded;     /* Non-zero: not all has copies, and it could not be read (reread_most);
                           from_copies says whether those that there are were looked through. */
} corm_recall_result;
CORM_API void corm_recall_result_init(corm_recall_result* result);
/* Brings back to the cache what `ids`, a question about to be appended, attends to among what was
 * dropped before it was asked. The last 128 of them look. Where all dropped rows have copies on the
 * host (host_copy_bytes), these are looked through; else all tokens of the session are read again
 * with the question in view, which takes as long as reading everything, and somewhat more. Does
 * nothing as long as nothing was dropped. When it is cancelled, the next call reads the rest.
 * `result` may be NULL. CORM_FAILED_PRECONDITION with a policy that does not judge rows by
 * attention. In mode "observe" it is the second cache that recalls. */
CORM_API corm_status corm_session_recall(corm_session* session, const uint32_t* ids, size_t count,
                                         corm_progress_fn on_progress, void* user,
                                         corm_recall_result* result);

typedef struct corm_generate_options {
  size_t struct_size;
  uint32_t max_tokens;        /* 0: until the model ends its turn. */
  float temperature;          /* 0: greedy. Default 0.7. */
  uint32_t top_k;             /* 0: off. Default 40. */
  float top_p;                /* 1: off. Default 0.95. */
  float min_p;                /* 0: off. Default 0.05. */
  float repetition_penalty;   /* 1: off (default). Divides positive logits of tokens seen lately. */
  uint32_t repetition_window; /* Tokens that "lately" means. Default 64. */
  uint64_t seed;              /* Same seed, same text on the same device. Default 0. */
  int ignore_end;             /* Non-zero: goes on past the model's end of turn. */
  corm_progress_fn on_prompt; /* Progress over prompt tokens; may be NULL. */
  /* What the answer matches; where max_tokens or a callback ends it, it is the beginning of such
   * a text. NULL (default): any text. The turn ends where the grammar may, whatever ignore_end
   * says. CORM_FAILED_PRECONDITION where no token goes on, CORM_RESOURCE_EXHAUSTED where the text
   * can be read in too many ways. */
  const corm_grammar* grammar;
} corm_generate_options;
CORM_API void corm_generate_options_init(corm_generate_options* options);

typedef struct corm_token_event {
  size_t struct_size;
  uint32_t id;
  const char* text; /* Complete UTF-8 characters that this token finished; may be empty. */
  size_t text_bytes;
} corm_token_event;
/* Called for every generated token; for the one that ends the turn only where half a character is
 * left before it, which then comes as U+FFFD. Non-zero ends generation; what was generated stays in
 * the session. */
typedef int (*corm_token_fn)(void* user, const corm_token_event* event);

enum {
  CORM_STOP_END = 0,       /* The model ended its turn. */
  CORM_STOP_LENGTH = 1,    /* max_tokens. */
  CORM_STOP_CANCELLED = 2, /* The callback or corm_session_cancel(). */
  CORM_STOP_CAP = 3        /* Policy "none" reached the cap or the context: see the status. */
};

typedef struct corm_generate_result {
  size_t struct_size;
  uint64_t prompt_tokens;    /* Read by this call. */
  uint64_t generated_tokens; /* The end-of-turn token is not counted. */
  double prompt_seconds;
  double decode_seconds;
  int32_t stop_reason;
  uint64_t recalled_tokens; /* Read again for this answer (recall); in prompt_seconds as well. */
  uint64_t recalled_rows;   /* That came back from copies and that the question attended to. */
  double draft_divergence;  /* CORM_RECALL_COMPARED: KL(draft after || draft before) in nats, the
                               greatest up to the first token that differs; 0 where both drafts say
                               the same. */
  int32_t returned;         /* Non-zero: it is 0.06 or more: the answer needs what was dropped. */
  int32_t degraded;         /* Non-zero: a recall was wanted and could not be (CORM_EVENT_DEGRADED);
                               the answer may lack what was said before. */
} corm_generate_result;
CORM_API void corm_generate_result_init(corm_generate_result* result);

/* Goes on from the last token. `result` may be NULL; it is filled even when the call fails on the
 * way, and what was generated until then stays in the session. */
CORM_API corm_status corm_session_generate(corm_session* session,
                                           const corm_generate_options* options,
                                           corm_token_fn on_token, void* user,
                                           corm_generate_result* result);

/* Adds a message ("system", "user", "assistant", ...) to the conversation; corm_session_reply()
 * reads it. */
CORM_API corm_status corm_session_add_message(corm_session* session, const char* role,
                                              const char* content);
/* Reads the messages added since the last reply through the model's chat template, then generates
 * the assistant's answer and adds it to the conversation. When the call fails before the first
 * token the messages stay pending. */
CORM_API corm_status corm_session_reply(corm_session* session, const corm_generate_options* options,
                                        corm_token_fn on_token, void* user,
                                        corm_generate_result* result);
/* The conversation as JSON: [{"role": ..., "content": ...}, ...]. */
CORM_API corm_status corm_session_get_messages(const corm_session* session, char** json);

typedef struct corm_kv_stats {
  size_t struct_size;
  uint64_t tokens;         /* Tokens read and generated so far. */
  double rows_kept;        /* Mean rows a head holds. */
  uint64_t rows_full;      /* Rows a head would hold with nothing dropped. */
  uint64_t bytes;          /* Pages in use and this session's metadata. */
  uint64_t bytes_full_f16; /* What rows_full rows take as f16 without bookkeeping. */
  uint64_t evicted_total;  /* Rows, summed over layers and heads. */
  uint64_t evicted_forced; /* Of these, dropped because of the cap alone. */
  uint64_t rebased;        /* Times positions were moved back into the trained context. */
  uint64_t next_position;  /* That the next token will have, for the model. */
  uint64_t host_rows;      /* Copies of dropped rows on the host, ... */
  uint64_t host_bytes;     /* ... and what they take. */
  uint64_t returned_total; /* Rows that came back from copies; rows that are resident are those
                              read, less evicted_total, plus these. */
  const char* mode;        /* "off", "observe" or "on": what "canary" came to. Always valid. */
  int32_t frozen;         /* Non-zero: rows leave for room only, for a while (CORM_EVENT_FROZEN). */
  uint32_t relaxed;       /* Doublings of the age at which rows leave (CORM_EVENT_RELAXED). */
  uint64_t retained_rows; /* Of host_rows and host_bytes, what is retained there, beside the */
  uint64_t retained_bytes; /* limits of host_copy_bytes and host_copy_seconds. */
  uint32_t adjusted;       /* Times the controller set the policy's options anew. */
} corm_kv_stats;
CORM_API void corm_kv_stats_init(corm_kv_stats* stats);
CORM_API corm_status corm_session_get_stats(const corm_session* session, corm_kv_stats* stats);
/* Mean rows a head of each layer holds; writes min(capacity, layers) values. */
CORM_API corm_status corm_session_get_layer_rows(const corm_session* session, double* rows,
                                                 size_t capacity);

/* Positions of the rows that a KV head of a layer holds, ascending. Until `rebased` is above 0, a
 * token's position is its place in the session. Writes min(capacity, *count) of them; *count is
 * how many there are. */
CORM_API corm_status corm_session_get_positions(const corm_session* session, uint32_t layer,
                                                uint32_t kv_head, uint32_t* positions,
                                                size_t capacity, size_t* count);

/* What dropping rows would have done to a session in mode "observe". "Full" is the session itself,
 * "kept" the cache that drops. Their next-token distributions are compared after every generated
 * token; of tokens that are read, after each with the engine's all_logits, else after the last of
 * each call. */
typedef struct corm_observed {
  size_t struct_size;
  uint64_t tokens;   /* That the kept cache has read. */
  uint64_t compared; /* Tokens after which the two were compared. */
  double kl_mean;    /* KL(full || kept) in nats. */
  double kl_p99;     /* 99 % of comparisons do not exceed it. */
  double kl_max;
  double top1_agreement;  /* Share, in [0, 1], that found the same token likeliest. */
  double perplexity_full; /* Of the tokens that then came, where they are known. */
  double perplexity_kept;
  double rows_kept; /* Of the kept cache, as in corm_kv_stats, like what follows. */
  uint64_t bytes;
  uint64_t bytes_peak; /* Greatest so far, after a step. */
  uint64_t evicted_total;
  uint64_t evicted_forced;
  uint64_t rebased;
  const char* ended; /* NULL while it goes on. Else why the kept cache is no more; the figures
                        are those until then. Valid until the next call on the session. */
} corm_observed;
CORM_API void corm_observed_init(corm_observed* observed);
/* CORM_FAILED_PRECONDITION in another mode. The session is never harmed by what is observed: when
 * the kept cache fails, or stands in the way of the session itself, it ends and says so here. */
CORM_API corm_status corm_session_get_observed(const corm_session* session,
                                               corm_observed* observed);

/* ---- Descriptions, as JSON ------------------------------------------------------------------- */

/* What a GGUF file is, what will run on this machine under `options`, and what is wrong with it.
 * Weights are not loaded. Fails only where the file cannot be read at all. */
CORM_API corm_status corm_inspect(const corm_engine_options* options, char** json);
/* Every backend compiled in: devices found, usable or why not. */
CORM_API corm_status corm_devices(char** json);
/* Eviction policies with their options, and whether they need an engine's query_statistics. */
CORM_API corm_status corm_policies(char** json);

#ifdef __cplusplus
}
#endif

/* What an answer may be. */
#include "cormorant/grammar.h"
/* What stays whatever happens, what is erased, and what was dropped. */
#include "cormorant/retention.h"

#endif /* CORMORANT_CORMORANT_H_ */
