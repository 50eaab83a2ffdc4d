// The rules and their regular expressions. See pretokenizer.h.
//
// The expressions are those of the models' own tokenizer files, written for PCRE2.
#include <algorithm>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "runtime/text/pretokenizer.h"

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

// Words as GPT-4o has them: capitals, then small letters; a letter that has no case goes with
// either.
#define CORM_CAPITALS "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define CORM_SMALLS "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CORM_BEFORE_WORD "[^\\r\\n\\p{L}\\p{N}]?"
#define CORM_GPT4O(suffix, digits)                                                             \
  CORM_BEFORE_WORD CORM_CAPITALS "*" CORM_SMALLS "+" suffix "|" CORM_BEFORE_WORD CORM_CAPITALS \
                                 "+" CORM_SMALLS "*" suffix "|" digits "|" CORM_SYMBOLS        \
                                 "[\\r\\n/]*|" CORM_SPACES "*[\\r\\n]+|" CORM_GAP
#define CORM_SUFFIX "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

// DeepSeek's first models: letters that have case, in a list of their own, and what they take for
// punctuation and for Chinese and Korean.
#define CORM_CASED                                                                            \
  "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}"              \
  "\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}"      \
  "\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}"               \
  "\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}" \
  "\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}"              \
  "\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}"              \
  "\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}"      \
  "\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}"     \
  "\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}"              \
  "\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}"      \
  "\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}"      \
  "\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}"                \
  "\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}"               \
  "\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}"              \
  "\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}"              \
  "\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}"          \
  "\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}"      \
  "\\x{1e900}-\\x{1e943}"
#define CORM_HAN "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"

constexpr const char* kGpt2[] = {CORM_GPT2};
constexpr const char* kDigitsThenGpt2[] = {"\\p{N}", CORM_GPT2};
constexpr const char* kLlama3[] = {CORM_GPT4("\\p{N}{1,3}")};
constexpr const char* kQwen2[] = {CORM_GPT4("\\p{N}")};
constexpr const char* kQwen35[] = {
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" CORM_SPACE
    "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" CORM_SPACES "*[\\r\\n]+|" CORM_GAP};
constexpr const char* kGpt4o[] = {CORM_GPT4O(CORM_SUFFIX, "\\p{N}{1,3}")};
constexpr const char* kTekken[] = {CORM_GPT4O("", "\\p{N}")};
constexpr const char* kFalcon[] = {"[\\p{P}$+<=>^~|`]+", CORM_GPT2, "\\p{N}+", "[0-9][0-9][0-9]"};
constexpr const char* kDeepseekLlm[] = {
    "[\\r\\n]",
    CORM_SPACES "?[" CORM_CASED "]+",
    CORM_SPACES
    "?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
    "(?<!" CORM_SPACES ")" CORM_SPACES "+$",  // Looks behind so that a long run is tried once.
    CORM_HAN,
    "\\p{N}+"};
constexpr const char* kDeepseekCoder[] = {"[\\r\\n]", CORM_SPACES "?\\p{L}+",
                                          CORM_SPACES "?\\p{P}+", CORM_HAN, "\\p{N}"};
constexpr const char* kDeepseek3[] = {
    "\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
    "[!-/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]"
    "+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" CORM_SPACES "*[\\r\\n]+|" CORM_GAP};
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
    {"qwen35", kQwen35, false, false},
    {"gpt-4o", kGpt4o, false, false},
    {"llama4", kGpt4o, false, false},
    {"minimax-m2", kGpt4o, false, false},
    {"tekken", kTekken, true, true},
    {"falcon", kFalcon, false, false},
    {"deepseek-llm", kDeepseekLlm, false, false},
    {"deepseek-coder", kDeepseekCoder, false, false},
    {"deepseek-v3", kDeepseek3, false, false},
    {"hunyuan-dense", kDeepseek3, false, false},
    {"chatglm-bpe", kLlama3, false, false},
    {"glm4", kLlama3, false, false},
    {"solar-open", kQwen2, false, false},
    {"grok-2", kQwen2, false, false},
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

}  // namespace cormorant
