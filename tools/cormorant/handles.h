// Owners of cormorant.h handles, and the one exception the command line throws.
//
// Every library call goes through Check(): a status that is not CORM_OK becomes a Failure with the
// library's own message, and main() turns that into a line on stderr and an exit code. The library
// itself knows neither exceptions nor exit codes.
#pragma once
#include <memory>
#include <stdexcept>
#include <string>

#include "cormorant/cormorant.h"

namespace cli {

/// What the process ends with; fixed in the documentation of the command line.
enum ExitCode { kDone = 0, kFailed = 1, kBadUsage = 2, kCapTooSmall = 3, kInterrupted = 130 };

/// Ends the command with a message and an exit code.
class Failure : public std::runtime_error {
 public:
  Failure(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// Throws a Failure with the library's message unless `status` is CORM_OK.
inline void Check(corm_status status) {
  if (status == CORM_OK) return;
  const ExitCode code = status == CORM_CANCELLED ? kInterrupted : kFailed;
  const std::string message = corm_last_error();
  throw Failure(code, message.empty() ? corm_status_name(status) : message);
}

struct HandleDeleter {
  void operator()(corm_engine* engine) const { corm_engine_destroy(engine); }
  void operator()(corm_session* session) const { corm_session_destroy(session); }
  void operator()(corm_tokenizer* tokenizer) const { corm_tokenizer_destroy(tokenizer); }
  void operator()(corm_grammar* grammar) const { corm_grammar_destroy(grammar); }
  void operator()(char* text) const { corm_text_free(text); }
};
using EnginePtr = std::unique_ptr<corm_engine, HandleDeleter>;
using SessionPtr = std::unique_ptr<corm_session, HandleDeleter>;
using TokenizerPtr = std::unique_ptr<corm_tokenizer, HandleDeleter>;
using GrammarPtr = std::unique_ptr<corm_grammar, HandleDeleter>;
using TextPtr = std::unique_ptr<char, HandleDeleter>;

}  // namespace cli
