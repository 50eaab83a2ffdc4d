// The rules and their regular expressions. See pretokenizer.h.
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

// White space as the models' own engines see it: Unicode's White_Space. PCRE2's \s also takes
// U+180E, so this stands for \s, and [^...] for \S.
#define CORM_SPACE "\\p{Z}\\t-\\r\\x{85}"
#define CORM_SPACES "[" CORM_SPACE "]"
// White space without the last one before something else.
#define CORM_GAP CORM_SPACES "+(?![^" CORM_SPACE "])|" CORM_SPACES "+"
// What is no word, number or white space, with the space before it.
#define CORM_SYMBOLS " ?[^" CORM_SPACE "\\p{L}\\p{N}]+"

#define CORM_GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|" CORM_SYMBOLS "|" CORM_GAP

// GPT-4 and its heirs, which differ in how many digits they take at a time.
#define CORM_GPT4(digits)                                                               \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "|" CORM_SYMBOLS \
  "[\\r\\n]*|" CORM_SPACES "*[\\r\\n]+|" CORM_GAP

constexpr const char* kGpt2[] = {CORM_GPT2};
constexpr const char* kDigitsThenGpt2[] = {"\\p{N}", CORM_GPT2};
constexpr const char* kLlama3[] = {CORM_GPT4("\\p{N}{1,3}")};
constexpr const char* kQwen2[] = {CORM_GPT4("\\p{N}")};
// What GGUF calls "default", for files from before the key existed.
constexpr const char* kDefault[] = {"[\\p{P}$+<=>^~|]+", CORM_GPT2, "\\p{N}+", "[0-9][0-9][0-9]"};

constexpr PreTokenizerRule kRules[] = {
    {"default", kDefault, false, false},
    {"gpt-2", kGpt2, false, false},
    {"phi-2", kGpt2, false, false},
    {"mpt", kGpt2, false, false},
    {"olmo", kGpt2, false, false},
    {"jais", kGpt2, false, false},
    {"gigachat", kGpt2, false, false},
    {"exaone4", kGpt2, false, false},
    {"trillion", kGpt2, false, false},
    {"granite-docling", kGpt2, false, false},
    {"smollm", kDigitsThenGpt2, false, false},
    {"starcoder", kDigitsThenGpt2, false, false},
    {"refact", kDigitsThenGpt2, false, false},
    {"command-r", kDigitsThenGpt2, false, false},
    {"codeshell", kDigitsThenGpt2, false, false},
    {"exaone", kDigitsThenGpt2, false, false},
    {"minerva-7b", kDigitsThenGpt2, false, false},
    {"llama-bpe", kLlama3, true, true},
    {"llama3", kLlama3, true, true},
    {"llama-v3", kLlama3, true, true},
    {"falcon3", kLlama3, true, true},
    {"falcon-h1", kLlama3, true, true},
    {"pixtral", kLlama3, true, true},
    {"midm-2.0", kLlama3, true, true},
    {"lfm2", kLlama3, true, true},
    {"smaug-bpe", kLlama3, false, false},
    {"dbrx", kLlama3, false, false},
    {"qwen2", kQwen2, false, false},
    {"deepseek-r1-qwen", kQwen2, false, false},
    {"stablelm2", kQwen2, false, false},
    {"hunyuan", kQwen2, false, false},
    {"megrez", kQwen2, false, false},
};

// Every expression above takes time linear in the text. The limits say so to PCRE2: a text that
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

const PreTokenizerRule* FindPreTokenizerRule(absl::string_view name) {
  const auto* found = std::find_if(std::begin(kRules), std::end(kRules),
                                   [&](const PreTokenizerRule& rule) { return rule.name == name; });
  return found == std::end(kRules) ? nullptr : found;
}

std::string PreTokenizerRuleNames() {
  std::string names;
  for (const PreTokenizerRule& rule : kRules) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", rule.name);
  }
  return names;
}

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
