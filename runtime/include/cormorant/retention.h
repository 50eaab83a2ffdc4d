/* What stays in a conversation whatever happens, what is erased, and what was dropped.
 *
 * Eviction is neither a promise to keep nor a way to erase. Here is both: tokens that are pinned,
 * retained tokens, which besides cannot be erased until they are released, and a purge that leaves
 * nothing. Part of cormorant.h, whose conventions hold.
 */
#ifndef CORMORANT_RETENTION_H_
#define CORMORANT_RETENTION_H_

#include "cormorant/cormorant.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Tokens ---------------------------------------------------------------------------------- */

/* Tokens [from, to) of the session, places counted from 0, are never dropped from now on. This is
 * done at once where their rows are all in the cache and positions were never moved (`rebased` 0);
 * else all tokens are read again, which takes as long as it says. When that is cancelled they are
 * pinned, and the next call reads the rest. CORM_RESOURCE_EXHAUSTED, with nothing changed, when
 * pinned tokens, `recent` and a step would not fit a head under the cap. CORM_INVALID_ARGUMENT when
 * they are none of the session's tokens, CORM_FAILED_PRECONDITION when some are retained on the
 * host. */
CORM_API corm_status corm_session_pin(corm_session* session, size_t from, size_t to,
                                      corm_progress_fn on_progress, void* user);
/* The opposite: they may leave again, as if they had just been read. `sinks` stay.
 * CORM_FAILED_PRECONDITION when some are retained: corm_session_release() is for those. */
CORM_API corm_status corm_session_unpin(corm_session* session, size_t from, size_t to,
                                        corm_progress_fn on_progress, void* user);

/* Tokens [from, to) are retained until they are released: text that an answer must not lose, a law
 * or a warning. `how` says where their rows are: */
enum {
  /* In the cache, as if they were pinned. CORM_RESOURCE_EXHAUSTED as corm_session_pin() says. */
  CORM_RETAIN_RESIDENT = 1,
  /* They may leave the device for room, but never without a copy on the host: one that takes the
   * bytes of the row (and of the rest of a page of 32, for each head of each layer), whatever
   * host_copy_bytes is, and stays however long the session lives. A recall brings back what a
   * question attends to, as from all copies. A quarter of the context can be retained so, for each
   * of these tokens keeps a position: else it is CORM_RESOURCE_EXHAUSTED. It is
   * CORM_FAILED_PRECONDITION with a policy that cannot recall. */
  CORM_RETAIN_ON_HOST = 2
};
/* Either way corm_session_purge(), _purge_message(), _rewind() and _unpin() of them are refused
 * with CORM_FAILED_PRECONDITION; corm_session_reset() and the end of the session end it all.
 * Retaining tokens in the other way, or pinned ones, changes what they are. This is done at once,
 * or by reading all tokens again, as corm_session_pin() says; so is what was retained when a device
 * is lost. A message is retained as a whole when the conversation is read anew. */
CORM_API corm_status corm_session_retain(corm_session* session, size_t from, size_t to, int32_t how,
                                         corm_progress_fn on_progress, void* user);
/* Retained tokens in [from, to) are ordinary ones again, as corm_session_unpin() has it; copies of
 * their rows are kept as long as those of others, or overwritten at once. */
CORM_API corm_status corm_session_release(corm_session* session, size_t from, size_t to,
                                          corm_progress_fn on_progress, void* user);
/* {"resident": [[from, to], ...], "on_host": ..., "pinned": ...}: tokens [from, to) that are
 * retained, and those that are pinned only. */
CORM_API corm_status corm_session_get_retained(const corm_session* session, char** json);

/* Forgets tokens from `to` on, so that others can follow in their place: a question put in another
 * way, an answer given once more. Takes no time as long as nothing was dropped since they were
 * read; else the tokens before are read again. Messages from there on are erased; where `to` is
 * within a message, or a token after it is retained, the call is refused with
 * CORM_FAILED_PRECONDITION. When it is cancelled, the next call reads the rest. What was dropped
 * stays dropped. */
CORM_API corm_status corm_session_rewind(corm_session* session, size_t to,
                                         corm_progress_fn on_progress, void* user);
/* Erases tokens [from, to) of the session, and all that came of them. Later tokens move down in the
 * session; overwritten are its tokens, logits and copies of rows on the host, and on the device its
 * pages, free pages and the working memory. The other tokens are then read again, for their rows
 * had seen those that are gone: afterwards the session is one that never read them. When it is
 * cancelled or fails on the way, everything is erased and the next call reads the rest; after
 * CORM_UNAVAILABLE bytes may be left in a device that was lost. Messages whose tokens are all in
 * the range are erased too; the call is refused with CORM_FAILED_PRECONDITION where a message is in
 * it by a part, for its text would stay, and where a token is retained; the error names the range.
 * Out of reach are memory that the process or a driver freed before (zero_pages leaves nothing of
 * the device's in it), what the application holds, and text that was generated with them in view.
 */
CORM_API corm_status corm_session_purge(corm_session* session, size_t from, size_t to,
                                        corm_progress_fn on_progress, void* user);

/* ---- Messages -------------------------------------------------------------------------------- */

enum {
  CORM_MESSAGE_PIN = 1,           /* The tokens it becomes are never dropped, ... */
  CORM_MESSAGE_RETAIN = 2,        /* ... are retained, resident, ... */
  CORM_MESSAGE_RETAIN_ON_HOST = 4 /* ... or on the host (corm_session_retain()). */
};
/* As corm_session_add_message(); `flags` is one of CORM_MESSAGE_* or 0. It holds as well when the
 * conversation is read again from the start. corm_session_reply() fails with
 * CORM_RESOURCE_EXHAUSTED or CORM_FAILED_PRECONDITION when the message cannot be pinned or
 * retained, as corm_session_pin() and corm_session_retain() say; then corm_session_purge_message()
 * takes it back, for what is not read yet is not retained either. */
CORM_API corm_status corm_session_add_message_with(corm_session* session, const char* role,
                                                   const char* content, uint32_t flags);
/* Tokens [*from, *to) that message `index`, counted from 0 as in corm_session_get_messages(),
 * became with what the chat template puts around it. CORM_FAILED_PRECONDITION while it is not read,
 * and where the template renders it in one piece with another. */
CORM_API corm_status corm_session_get_message_range(const corm_session* session, size_t index,
                                                    size_t* from, size_t* to);
/* Erases a message and its tokens, as corm_session_purge() does; messages after it move down. Where
 * the template renders those that are left in another way than they were read, all tokens are
 * erased and the next reply reads the messages anew, unless retained ones are of no message: then
 * that reply is CORM_FAILED_PRECONDITION until they are released. */
CORM_API corm_status corm_session_purge_message(corm_session* session, size_t index,
                                                corm_progress_fn on_progress, void* user);

/* ---- What was done --------------------------------------------------------------------------- */

/* What was dropped, when and why, oldest first; never text:
 * {"capacity": ..., "forgotten": records that had to make room for newer ones,
 *  "records": [{"step": tokens seen by then, "layer": ..., "kv_head": ..., "cause": ...,
 *               "rebased": times positions had been moved, "positions": [[first, last], ...]}]}
 * Without layer and kv_head a record is about all heads. Positions are as in
 * corm_session_get_positions(). Causes: "natural", "forced" (by the cap), "rebase"; and of whole
 * caches that were read again, "recall", "pin" (what stays has changed), "lost" (with the device);
 * "purge", whose positions are places of tokens in the session before it; "reset", "rewind".
 * Nothing was dropped by "retain", "release" and "refused" (to let go of what is retained), whose
 * positions are places of the tokens. */
CORM_API corm_status corm_session_get_audit(const corm_session* session, char** json);

#ifdef __cplusplus
}
#endif

#endif /* CORMORANT_RETENTION_H_ */
