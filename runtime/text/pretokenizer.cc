// Regular expressions over text. See pretokenizer.h.
#include "runtime/text/pretokenizer.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "absl/strings/str_cat.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace cormorant {
namespace {

// Every expression of a rule takes time linear in the text. The limits say so to PCRE2: a text that
// exceeds them met a mistake, not a long text. An interpreted match counts about one a character.
constexpr uint64_t kMatchLimitBase = 10'000;
constexpr uint64_t kMatchLimitPerByte = 16;

std::string PcreMessage(int code) {
  PCRE2_UCHAR text[256];
  if (pcre2_get_error_message(code, text, sizeof(text)) < 0) return absl::StrCat("error ", code);
  return reinterpret_cast<const char*>(text);
}

template <auto Free>
struct FreeWith {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};

}  // namespace

struct PreTokenizer::Scratch::Buffers {
  std::unique_ptr<pcre2_match_data, FreeWith<pcre2_match_data_free>> match{
      pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, FreeWith<pcre2_match_context_free>> context{
      pcre2_match_context_create(nullptr)};
  std::vector<absl::string_view> pieces;
};

PreTokenizer::Scratch::Scratch() : buffers_(std::make_unique<Buffers>()) {}
PreTokenizer::Scratch::~Scratch() = default;

class PreTokenizer::Regex {
 public:
  static absl::StatusOr<std::unique_ptr<const Regex>> Compile(const char* pattern, Jit jit) {
    int error = 0;
    size_t at = 0;
    auto regex = std::make_unique<Regex>();
    regex->code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_UCP, &error, &at, nullptr));
    if (regex->code_ == nullptr) {
      return absl::InternalError(absl::StrCat("PCRE2 does not compile a pre-tokenizer, at ", at,
                                              ": ", PcreMessage(error)));
    }
    // Where it fails (no such CPU, no executable memory), pcre2_match() interprets.
    if (jit == Jit::kWhereAllowed) pcre2_jit_compile(regex->code_.get(), PCRE2_JIT_COMPLETE);
    return std::unique_ptr<const Regex>(std::move(regex));
  }

  /// Appends the matches in `text` and what lies between them.
  absl::Status Cut(absl::string_view text, Scratch::Buffers* buffers,
                   std::vector<absl::string_view>* pieces) const {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const size_t* match = pcre2_get_ovector_pointer(buffers->match.get());
    size_t at = 0;
    while (at < text.size()) {
      const int found = pcre2_match(code_.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK,
                                    buffers->match.get(), buffers->context.get());
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found < 0) {
        return absl::ResourceExhaustedError(absl::StrCat(
            "splitting ", text.size(), " bytes of text into words: ", PcreMessage(found),
            "; give the text in smaller parts"));
      }
      CORM_CHECK(match[0] >= at && match[1] > match[0]);  // No expression matches nothing.
      if (match[0] > at) pieces->push_back(text.substr(at, match[0] - at));
      pieces->push_back(text.substr(match[0], match[1] - match[0]));
      at = match[1];
    }
    if (at < text.size()) pieces->push_back(text.substr(at));
    return absl::OkStatus();
  }

 private:
  std::unique_ptr<pcre2_code, FreeWith<pcre2_code_free>> code_;
};

PreTokenizer::PreTokenizer() = default;
PreTokenizer::~PreTokenizer() = default;

absl::StatusOr<std::unique_ptr<const PreTokenizer>> PreTokenizer::Create(
    const PreTokenizerRule& rule, Jit jit) {
  std::unique_ptr<PreTokenizer> made(new PreTokenizer());
  for (const char* pattern : rule.patterns) {
    CORM_ASSIGN_OR_RETURN(auto regex, Regex::Compile(pattern, jit));
    made->regexes_.push_back(std::move(regex));
  }
  return std::unique_ptr<const PreTokenizer>(std::move(made));
}

absl::Status PreTokenizer::Split(absl::string_view text, Scratch* scratch,
                                 std::vector<absl::string_view>* pieces) const {
  Scratch::Buffers* buffers = scratch->buffers_.get();
  if (buffers->match == nullptr || buffers->context == nullptr) {
    return absl::ResourceExhaustedError("PCRE2 has no memory for a match");
  }
  const uint64_t limit = kMatchLimitBase + kMatchLimitPerByte * text.size();
  pcre2_set_match_limit(buffers->context.get(), static_cast<uint32_t>(std::min<uint64_t>(
                                                    limit, std::numeric_limits<uint32_t>::max())));
  pieces->clear();
  if (text.empty()) return absl::OkStatus();
  pieces->push_back(text);
  for (const auto& regex : regexes_) {
    buffers->pieces.clear();
    for (const absl::string_view piece : *pieces) {
      CORM_RETURN_IF_ERROR(regex->Cut(piece, buffers, &buffers->pieces));
    }
    pieces->swap(buffers->pieces);
  }
  return absl::OkStatus();
}

}  // namespace cormorant
