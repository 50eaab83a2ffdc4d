/* Grammars: what an answer may be, token by token.
 *
 * A grammar is given to corm_session_generate() or corm_session_reply() in their options; each
 * token is then chosen among those that lead on to a text that matches, and the turn ends where the
 * grammar may end. Part of cormorant.h, whose conventions hold.
 */
#ifndef CORMORANT_GRAMMAR_H_
#define CORMORANT_GRAMMAR_H_

#include "cormorant/cormorant.h"

#ifdef __cplusplus
extern "C" {
#endif

/* From GBNF, the notation of llama.cpp: rules `name ::= ...`, texts begin in `root`. A rule that
 * begins with itself is refused, and a grammar that can never end. CORM_INVALID_ARGUMENT names line
 * and column, CORM_RESOURCE_EXHAUSTED what is too much. */
CORM_API corm_status corm_grammar_create_gbnf(const char* text, corm_grammar** grammar);
/* From a JSON Schema: JSON texts that are valid by it, with properties in its order, and others
 * only where additionalProperties is given (or no properties are). "{}" is any JSON value,
 * {"type": "object"} any object. Errors name the keyword and its place, as #/properties/a:
 * CORM_INVALID_ARGUMENT, or CORM_UNIMPLEMENTED for a keyword that is not supported; none is passed
 * over but those that say nothing about values, as title and description. */
CORM_API corm_status corm_grammar_create_json_schema(const char* schema, corm_grammar** grammar);
/* Calls that use it keep what they need. */
CORM_API void corm_grammar_destroy(corm_grammar* grammar);

enum {
  CORM_MATCH_NONE = 0,  /* No text that begins so matches. */
  CORM_MATCH_BEGIN = 1, /* It does not match, but one that goes on from it does. */
  CORM_MATCH_WHOLE = 2  /* It matches; another that goes on from it may as well. */
};
/* How a text matches, without a model: CORM_MATCH_*. The bytes may end within a character. */
CORM_API corm_status corm_grammar_match(const corm_grammar* grammar, const char* text,
                                        size_t text_bytes, int32_t* match);

#ifdef __cplusplus
}
#endif

#endif /* CORMORANT_GRAMMAR_H_ */
