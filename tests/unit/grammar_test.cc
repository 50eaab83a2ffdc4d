// GBNF: what matches, what is refused and where, and random grammars against a plain recogniser.
//
// The recogniser knows nothing of states: of an expression and a place in a text it says at which
// places the expression may end.
#include "runtime/grammar/grammar.h"

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/grammar/automaton.h"

namespace cormorant {
namespace {

using ::testing::HasSubstr;

enum class Match { kNone, kBegin, kWhole };

Match MatchOf(Automaton& automaton, absl::string_view text) {
  const uint32_t state = automaton.Read(automaton.start(), text);
  if (state == Automaton::kDead) return Match::kNone;
  return automaton.can_end(state) ? Match::kWhole : Match::kBegin;
}

Match MatchOf(absl::string_view gbnf, absl::string_view text) {
  const auto grammar = ParseGbnf(gbnf);
  EXPECT_TRUE(grammar.ok()) << gbnf << "\n" << grammar.status();
  if (!grammar.ok()) return Match::kNone;
  Automaton automaton(*grammar);
  return MatchOf(automaton, text);
}

void ExpectWhole(absl::string_view gbnf, const std::vector<std::string>& yes,
                 const std::vector<std::string>& no) {
  for (const std::string& text : yes) EXPECT_EQ(MatchOf(gbnf, text), Match::kWhole) << gbnf << text;
  for (const std::string& text : no) EXPECT_NE(MatchOf(gbnf, text), Match::kWhole) << gbnf << text;
}

TEST(Gbnf, EachConstruct) {
  ExpectWhole("root ::= \"ab\" | \"c\"", {"ab", "c"}, {"", "a", "abc", "d"});
  ExpectWhole("root ::= [a-cx] [^a-c]", {"ad", "x\n", "cé"}, {"aa", "dd", "a"});
  ExpectWhole("root ::= .", {"a", "é", "€", "😀", "\n"}, {"", "ab", "\xff", "\xc3"});
  ExpectWhole("root ::= \"a\"* \"b\"+ \"c\"?", {"b", "aabbc"}, {"", "a", "bcc"});
  ExpectWhole("root ::= (\"a\" | \"b\"){2} [0-9]{1,} x{0,2}\nx ::= \"x\"", {"ab1", "bb123xx"},
              {"a1", "ab", "ab1xxx"});
  ExpectWhole("root ::= \"a\"{0} \"b\"{3}", {"bbb"}, {"bb", "a", "bbbb"});
  ExpectWhole("root ::= | \"a\"", {"", "a"}, {"aa"});
  ExpectWhole(R"(root ::= "\n\t\r\\\"\x41\u00e9\U0001F600" [\]\-\^\[\x30])",
              {"\n\t\r\\\"Aé😀]", "\n\t\r\\\"Aé😀-", "\n\t\r\\\"Aé😀0"}, {"\n\t\r\\\"Aé😀\\"});
  ExpectWhole("root ::= [a-] [--/]", {"-.", "a/"}, {"a0"});
  // Only one of several optional parts that begin alike.
  ExpectWhole("root ::= (\"a\" \"b\"*)? \"c\"", {"c", "abbc"}, {"bc"});
}

TEST(Gbnf, LinesAndComments) {
  ExpectWhole(
      "# first\nroot ::= # of this\n  a | # or\n  b\n  | \"z\"\n\na::=\"a\"\r\nb ::= (\n\"b\"\n)",
      {"a", "b", "z"}, {"ab"});
  ExpectWhole("root ::= a \"x\"\na ::=\n", {"x"}, {""});
  ExpectWhole("empty ::=\nroot ::= empty", {""}, {"e"});
}

TEST(Gbnf, CharactersMayBeCutAnywhere) {
  const char gbnf[] = "root ::= \"é\" [α-ω]";
  EXPECT_EQ(MatchOf(gbnf, "\xc3"), Match::kBegin);
  EXPECT_EQ(MatchOf(gbnf, "\xc3\xa8"), Match::kNone);
  EXPECT_EQ(MatchOf(gbnf, "\xc3\xa9\xce"), Match::kBegin);
  EXPECT_EQ(MatchOf(gbnf, "\xc3\xa9\xce\xb0"), Match::kNone);  // Before alpha.
  EXPECT_EQ(MatchOf(gbnf, "\xc3\xa9\xcf\x89"), Match::kWhole);
}

TEST(Gbnf, EveryRangeOfCharactersIsItsBytes) {
  std::mt19937 random(7);
  constexpr uint32_t kEdges[] = {0x1,    0x7f,   0x80,   0x7ff,   0x800,   0xfff,   0x1000,
                                 0xd7ff, 0xe000, 0xffff, 0x10000, 0x3ffff, 0x40000, 0x10ffff};
  for (int round = 0; round < 60; ++round) {
    uint32_t first = kEdges[random() % std::size(kEdges)] + random() % 3;
    uint32_t last = kEdges[random() % std::size(kEdges)] + random() % 100;
    first = std::min(first, 0x10ffffu);
    last = std::min(std::max(first, last), 0x10ffffu);
    if ((first & 0xf800) == 0xd800) first = 0xe000;
    if ((last & 0xf800) == 0xd800 || last < first) last = std::max(first, 0xe000u);
    const std::string gbnf = absl::StrCat("root ::= [\\U", absl::Hex(first, absl::kZeroPad8),
                                          "-\\U", absl::Hex(last, absl::kZeroPad8), "]");
    const auto grammar = ParseGbnf(gbnf);
    ASSERT_TRUE(grammar.ok()) << grammar.status();
    Automaton automaton(*grammar);
    for (const uint32_t code : {first - 1, first, first + 1, (first + last) / 2, last, last + 1}) {
      if (code < 0x80 || code > 0x10ffff || (code & 0x1ff800) == 0xd800) continue;
      std::string text;
      if (code >= 0x10000) {
        text += static_cast<char>(0xf0 | code >> 18);
        text += static_cast<char>(0x80 | (code >> 12 & 0x3f));
      } else if (code >= 0x800) {
        text += static_cast<char>(0xe0 | code >> 12);
      }
      text += static_cast<char>(code >= 0x800 ? 0x80 | (code >> 6 & 0x3f) : 0xc0 | code >> 6);
      text += static_cast<char>(0x80 | (code & 0x3f));
      const bool is_in = first <= code && code <= last;
      EXPECT_EQ(MatchOf(automaton, text) == Match::kWhole, is_in) << gbnf << " " << code;
    }
  }
}

TEST(Gbnf, Recursion) {
  ExpectWhole("root ::= \"(\" root \")\" | \"x\"", {"x", "((x))"}, {"(x", "x)", "()"});
  const std::string deep = absl::StrCat(std::string(900, '('), "x", std::string(900, ')'));
  ExpectWhole("root ::= \"(\" root \")\" | \"x\"", {deep}, {deep.substr(1)});
  // Recursion at the end takes no depth.
  const std::string many(100'000, 'a');
  ExpectWhole("root ::= \"a\" root | \"b\"", {many + "b"}, {many});
  // Deeper than is kept: refused like a text that does not match.
  EXPECT_EQ(MatchOf("root ::= \"(\" root \")\" | \"x\"", std::string(3000, '(')), Match::kNone);
}

TEST(Gbnf, WhatCannotGoOnIsNotBegun) {
  const char gbnf[] = "root ::= \"a\" never | \"a\" \"b\"\nnever ::= \"c\" never";
  EXPECT_EQ(MatchOf(gbnf, "ac"), Match::kNone);
  EXPECT_EQ(MatchOf(gbnf, "ab"), Match::kWhole);
}

TEST(Gbnf, ErrorsNameThePlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no rule 'root'"},
      {"a ::= \"x\"", "no rule 'root'"},
      {"root ::= x", "line 1, column 10: rule 'x' is not defined"},
      {"root ::= \"a\nb", "line 1, column 10: this literal is not closed"},
      {"\n\nroot ::= [a-", "line 3, column 10: this class is not closed"},
      {"root ::= [b-a]", "line 1, column 11: this range ends before"},
      {"root ::= (\"a\" ", "line 1, column 10: this group is not closed"},
      {"root ::= \"a\" )", "line 1, column 14: expected a literal"},
      {"root ::= \"\\q\"", "line 1, column 11: there is no such escape"},
      {"root ::= \"\\xg0\"", "column 13: expected 2 hexadecimal digits"},
      {"root ::= \"\\ud800\"", "not the code of a character"},
      {"root ::= \"\\U00110000\"", "not the code of a character"},
      {"root ::= \"a\"{2,1}", "column 13: this ends before it begins"},
      {"root ::= \"a\"{x}", "column 14: expected a number"},
      {"root ::= \"a\"{9999999}", "of 262144 at most"},
      {"root ::= \"a\"{1", "expected {m}"},
      {"root \"a\"", "column 6: expected ::="},
      {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: rule 'root' is defined above"},
      {"root ::= \"\xff\"", "column 11: this is not UTF-8"},
      {"root ::= \"a\" \x01", "column 14: expected"},
      {"root ::= root \"a\" | \"b\"", "rule 'root' begins with itself"},
      {"root ::= a\na ::= \"x\"? b\nb ::= a \"y\" | \"z\"", "begins with itself"},
      {"root ::= \"a\" root", "never comes to an end"},
      {"root ::= []", "never comes to an end"},
  };
  for (const auto& [gbnf, words] : cases) {
    const auto grammar = ParseGbnf(gbnf);
    EXPECT_EQ(grammar.status().code(), absl::StatusCode::kInvalidArgument) << gbnf;
    EXPECT_THAT(std::string(grammar.status().message()), HasSubstr(words)) << gbnf;
  }
}

TEST(Gbnf, WhatIsTooMuchIsRefused) {
  const std::string deep =
      absl::StrCat("root ::= ", std::string(100'000, '('), "\"a\"", std::string(100'000, ')'));
  EXPECT_THAT(std::string(ParseGbnf(deep).status().message()), HasSubstr("128 groups"));
  for (const char* gbnf :
       {"root ::= ((\"a\"{1000}){1000}){1000}", "root ::= (((\"\"){9999}){9999}){9999}",
        "root ::= ((([a]?){9999}){9999}){9999}"}) {
    EXPECT_EQ(ParseGbnf(gbnf).status().code(), absl::StatusCode::kResourceExhausted) << gbnf;
  }
  EXPECT_EQ(ParseGbnf(std::string(kGrammarBytesMax + 1, ' ')).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(Gbnf, TooManyReadingsEndWithAnError) {
  const auto grammar = ParseGbnf("root ::= \"a\" root \"x\" | \"a\" root \"y\" | \"b\"");
  ASSERT_TRUE(grammar.ok());
  Automaton automaton(*grammar);
  EXPECT_EQ(automaton.Read(automaton.start(), std::string(30, 'a')), Automaton::kDead);
  EXPECT_EQ(automaton.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(Automaton, AStateMovesToAnother) {
  const auto grammar = ParseGbnf("root ::= \"(\" root \")\" | \"[\" root \"]\" | \"x\"");
  ASSERT_TRUE(grammar.ok());
  Automaton one(*grammar), other(*grammar);
  other.Read(other.start(), "[[(");  // Its numbers are others.
  const uint32_t state = other.CopyState(one, one.Read(one.start(), "([(x"));
  EXPECT_EQ(other.Read(state, ")])"), other.Read(other.start(), "x"));
  EXPECT_EQ(other.Read(state, "))"), Automaton::kDead);
  EXPECT_EQ(other.CopyState(one, Automaton::kDead), Automaton::kDead);
}

// A random expression, as GBNF and as a function from where it begins to where it may end.
struct Random {
  using Ends = std::set<size_t>;
  using Reader = std::function<Ends(const std::string& text, size_t from)>;
  struct Expr {
    std::string gbnf;
    Reader ends;
  };

  Expr Literal() {
    std::string bytes(1 + random() % 2, 'a');
    for (char& c : bytes) c = static_cast<char>('a' + random() % 2);
    return {absl::StrCat("\"", bytes, "\""), [bytes](const std::string& text, size_t from) {
              return text.compare(from, bytes.size(), bytes) == 0 ? Ends{from + bytes.size()}
                                                                  : Ends{};
            }};
  }

  Expr Class() {
    const bool is_inverted = random() % 2 == 0;
    const char c = static_cast<char>('a' + random() % 2);
    return {absl::StrCat("[", is_inverted ? "^" : "", std::string(1, c), "]"),
            [=](const std::string& text, size_t from) {
              return from < text.size() && (text[from] == c) != is_inverted ? Ends{from + 1}
                                                                            : Ends{};
            }};
  }

  Expr Repeated(Expr what) {
    const size_t least = random() % 3, most = least + random() % 3;
    return {absl::StrCat("(", what.gbnf, "){", least, ",", most, "}"),
            [=](const std::string& text, size_t from) {
              Ends now = {from}, all;
              for (size_t i = 0; i <= most; ++i) {
                if (i >= least) all.insert(now.begin(), now.end());
                Ends next;
                for (const size_t at : now) next.merge(what.ends(text, at));
                now = next;
              }
              return all;
            }};
  }

  Expr Starred(Expr what) {
    return {absl::StrCat("(", what.gbnf, ")*"), [=](const std::string& text, size_t from) {
              Ends all = {from};
              std::vector<size_t> work = {from};
              while (!work.empty()) {
                const size_t at = work.back();
                work.pop_back();
                for (const size_t end : what.ends(text, at)) {
                  if (all.insert(end).second) work.push_back(end);
                }
              }
              return all;
            }};
  }

  /// A later rule, or any rule behind a character: so that none begins with itself.
  Expr RuleOf(size_t own) {
    const bool is_later = random() % 2 == 0 && own + 1 < rules.size();
    const size_t rule =
        is_later ? own + 1 + random() % (rules.size() - own - 1) : random() % rules.size();
    const Expr before = is_later ? Expr{"\"\"", nullptr} : Literal();
    return {absl::StrCat("(", before.gbnf, " r", rule, ")"),
            [this, rule, before](const std::string& text, size_t from) {
              const Ends begins = before.ends == nullptr ? Ends{from} : before.ends(text, from);
              Ends all;
              for (const size_t at : begins) all.merge(EndsOf(rule, text, at));
              return all;
            }};
  }

  Expr Any(size_t own, int depth) {
    switch (random() % (depth > 2 ? 3 : 7)) {
      case 0: return Literal();
      case 1: return Class();
      case 2: return RuleOf(own);
      case 3: return Repeated(Any(own, depth + 1));
      case 4: return Starred(Any(own, depth + 1));
    }
    std::vector<Expr> parts(2 + random() % 2);
    std::vector<std::string> texts;
    for (Expr& part : parts) texts.push_back((part = Any(own, depth + 1)).gbnf);
    if (random() % 2 == 0) {
      return {absl::StrCat("(", absl::StrJoin(texts, " | "), ")"),
              [parts](const std::string& text, size_t from) {
                Ends all;
                for (const Expr& part : parts) all.merge(part.ends(text, from));
                return all;
              }};
    }
    return {absl::StrCat("(", absl::StrJoin(texts, " "), ")"),
            [parts](const std::string& text, size_t from) {
              Ends now = {from};
              for (const Expr& part : parts) {
                Ends next;
                for (const size_t at : now) next.merge(part.ends(text, at));
                now = next;
              }
              return now;
            }};
  }

  Ends EndsOf(size_t rule, const std::string& text, size_t from) {
    const auto key = std::pair(rule, from);
    const auto known = seen.find(key);
    return known != seen.end() ? known->second : seen[key] = rules[rule].ends(text, from);
  }

  explicit Random(uint32_t seed) : random(seed), rules(1 + seed % 3) {
    for (size_t i = rules.size(); i-- > 0;) rules[i] = Any(i, 0);
  }

  std::mt19937 random;
  std::vector<Expr> rules;
  std::map<std::pair<size_t, size_t>, Ends> seen;  // Of one text.
};

TEST(Gbnf, RandomGrammarsMatchAsAPlainRecogniserSays) {
  std::vector<std::string> texts = {""};
  for (size_t i = 0; texts[i].size() < 8; ++i) {
    texts.push_back(texts[i] + "a");
    texts.push_back(texts[i] + "b");
  }
  size_t whole = 0, compared = 0;
  for (uint32_t seed = 0; seed < 300; ++seed) {
    Random grammar(seed);
    std::string gbnf = "root ::= r0\n";
    for (size_t i = 0; i < grammar.rules.size(); ++i) {
      absl::StrAppend(&gbnf, "r", i, " ::= ", grammar.rules[i].gbnf, "\n");
    }
    const auto compiled = ParseGbnf(gbnf);
    std::set<std::string> matches;
    for (const std::string& text : texts) {
      grammar.seen.clear();
      if (grammar.EndsOf(0, text, 0).contains(text.size())) matches.insert(text);
    }
    if (!compiled.ok()) {
      // A literal that is empty in one reading is none here, so no rule begins with itself.
      EXPECT_THAT(std::string(compiled.status().message()), HasSubstr("never comes to an end"));
      EXPECT_TRUE(matches.empty()) << gbnf;
      continue;
    }
    Automaton automaton(*compiled);
    for (const std::string& text : texts) {
      const Match match = MatchOf(automaton, text);
      if (!automaton.status().ok()) break;  // Too ambiguous.
      ++compared;
      ASSERT_EQ(match == Match::kWhole, matches.contains(text)) << gbnf << "'" << text << "'";
      if (match != Match::kWhole) continue;
      ++whole;
      for (size_t i = 0; i < text.size(); ++i) {
        ASSERT_NE(MatchOf(automaton, text.substr(0, i)), Match::kNone) << gbnf << text;
      }
    }
  }
  EXPECT_GT(whole, 1000u);
  EXPECT_GT(compared, 50'000u);
}

}  // namespace
}  // namespace cormorant
