// Cuts text into the pieces that BPE works on: words, numbers, punctuation, white space.
//
// A rule is a list of regular expressions. The first cuts the text into its matches and what lies
// between them; each next one cuts every piece so far, as if it were a text of its own. The names
// are those of `tokenizer.ggml.pre` in GGUF files; the expressions are those the models were
// trained with.
//
// PCRE2 compiles them to machine code where the system allows it and interprets them elsewhere.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cormorant {

struct PreTokenizerRule {
  absl::string_view name;
  std::span<const char* const> patterns;
  bool ignore_merges;  // A piece that is a token in whole is that token, whatever merges say.
  bool add_bos;        // Unless the file says otherwise.
};

/// nullptr when there is none of that name.
const PreTokenizerRule* FindPreTokenizerRule(absl::string_view name);
/// All names, "default, gpt-2, …".
std::string PreTokenizerRuleNames();

class PreTokenizer {
 public:
  enum class Jit { kWhereAllowed, kOff };
  static absl::StatusOr<std::unique_ptr<const PreTokenizer>> Create(const PreTokenizerRule& rule,
                                                                    Jit jit = Jit::kWhereAllowed);
  ~PreTokenizer();

  /// What one thread needs to split; as many as there are threads may share a PreTokenizer.
  class Scratch {
   public:
    Scratch();
    ~Scratch();

   private:
    friend class PreTokenizer;
    struct Buffers;
    std::unique_ptr<Buffers> buffers_;
  };

  /// Sets `pieces` to those of `text`, which is UTF-8: in order, none empty, together the text.
  /// RESOURCE_EXHAUSTED when an expression exceeds a limit that is linear in the text.
  absl::Status Split(absl::string_view text, Scratch* scratch,
                     std::vector<absl::string_view>* pieces) const;

 private:
  class Regex;
  PreTokenizer();

  std::vector<std::unique_ptr<const Regex>> regexes_;
};

}  // namespace cormorant
