// Grammars of the C API. See grammar.h of the includes.
#include "runtime/api/api.h"
#include "runtime/base/status.h"
#include "runtime/grammar/automaton.h"

using cormorant::Automaton;
using cormorant::Grammar;
using cormorant::api::Guard;

namespace {

using Parse = absl::StatusOr<std::shared_ptr<const Grammar>> (*)(absl::string_view text);

corm_status Create(Parse parse, const char* text, corm_grammar** grammar) {
  return Guard([&]() -> absl::Status {
    if (text == nullptr || grammar == nullptr) {
      return absl::InvalidArgumentError("the text and the place for the grammar may not be NULL");
    }
    *grammar = nullptr;
    auto handle = std::make_unique<corm_grammar>();
    CORM_ASSIGN_OR_RETURN(handle->grammar, parse(text));
    *grammar = handle.release();
    return absl::OkStatus();
  });
}

}  // namespace

corm_status corm_grammar_create_gbnf(const char* text, corm_grammar** grammar) {
  return Create(&cormorant::ParseGbnf, text, grammar);
}

corm_status corm_grammar_create_json_schema(const char* schema, corm_grammar** grammar) {
  return Create(&cormorant::ParseJsonSchema, schema, grammar);
}

void corm_grammar_destroy(corm_grammar* grammar) {
  delete grammar;
}

corm_status corm_grammar_match(const corm_grammar* grammar, const char* text, size_t text_bytes,
                               int32_t* match) {
  return Guard([&]() -> absl::Status {
    if (grammar == nullptr || match == nullptr || (text == nullptr && text_bytes != 0)) {
      return absl::InvalidArgumentError("grammar, text and match may not be NULL");
    }
    auto automaton = std::make_unique<Automaton>(grammar->grammar);
    uint32_t state = automaton->start();
    for (size_t i = 0; i < text_bytes && state != Automaton::kDead; ++i) {
      state = automaton->Next(state, static_cast<uint8_t>(text[i]));
      CORM_RETURN_IF_ERROR(automaton->status());
      if (!automaton->is_full()) continue;
      auto fresh = std::make_unique<Automaton>(grammar->grammar);
      state = fresh->CopyState(*automaton, state);
      automaton = std::move(fresh);
    }
    CORM_RETURN_IF_ERROR(automaton->status());
    *match = state == Automaton::kDead   ? CORM_MATCH_NONE
             : automaton->can_end(state) ? CORM_MATCH_WHOLE
                                         : CORM_MATCH_BEGIN;
    return absl::OkStatus();
  });
}
