// Strings, values and what is between them. See json_exprs.h; numbers are in json_numbers.cc.
#include "runtime/grammar/json_exprs.h"

#include <algorithm>
#include <functional>

#include "runtime/text/template/unicode.h"

namespace cormorant {
namespace {

constexpr uint32_t kIndentMax = 20;
// Beginnings that are as long as this and shared with a name are not gone on from.
constexpr size_t kNameMax = 256;

/// Inside a string these are escaped, as are all below a space.
bool IsEscaped(uint32_t code) {
  return code == '"' || code == '\\';
}

std::vector<CharRange> Unescaped() {
  return {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, 0x7e}, {0x80, kCharMax}};
}

std::vector<CharRange> HexDigits() {
  return {{'0', '9'}, {'a', 'f'}, {'A', 'F'}};
}

}  // namespace

JsonExprs::Expr JsonExprs::Space() {
  const Expr indent = builder_.Repeat(builder_.Chars({{' ', ' '}, {'\t', '\t'}}), 0, kIndentMax);
  return builder_.Optional(
      builder_.Choice({builder_.Text(" "), builder_.Sequence({builder_.Text("\n"), indent})}));
}

JsonExprs::Expr JsonExprs::Escaped() {
  GrammarBuilder& b = builder_;
  const Expr hex = b.Chars(HexDigits());
  const auto two = [&] { return b.Repeat(hex, 2, 2); };
  const Expr d = b.Chars({{'d', 'd'}, {'D', 'D'}});
  // A character of its own, below the surrogates or above them, or two of these.
  const Expr plain = b.Sequence(
      {b.Chars({{'0', '9'}, {'a', 'c'}, {'A', 'C'}, {'e', 'f'}, {'E', 'F'}}), b.Repeat(hex, 3, 3)});
  const Expr below = b.Sequence({d, b.Chars({{'0', '7'}}), two()});
  const Expr pair = b.Sequence({d, b.Chars({{'8', '9'}, {'a', 'b'}, {'A', 'B'}}), two(),
                                b.Text("\\u"), d, b.Chars({{'c', 'f'}, {'C', 'F'}}), two()});
  const Expr code = b.Sequence({b.Text("u"), b.Choice({plain, below, pair})});
  std::vector<CharRange> letters;
  for (const char c : absl::string_view("\"\\/bfnrt")) {
    letters.push_back({static_cast<uint32_t>(c), static_cast<uint32_t>(c)});
  }
  return b.Sequence({b.Text("\\"), b.Choice({b.Chars(letters), code})});
}

JsonExprs::Expr JsonExprs::Quoted(Expr inside) {
  return builder_.Sequence({builder_.Text("\""), inside, builder_.Text("\"")});
}

JsonExprs::Expr JsonExprs::String(uint32_t least, uint32_t most) {
  const auto character = [&] { return builder_.Choice({builder_.Chars(Unescaped()), Escaped()}); };
  if (least == 0 && most == GrammarBuilder::kUnlimited) {
    return Shared("string", [&] { return Quoted(builder_.Repeat(character(), 0)); });
  }
  // A rule, of which a copy takes one state.
  return Quoted(builder_.Repeat(Shared("character", character), least, most));
}

JsonExprs::Expr JsonExprs::StringBut(std::vector<std::string> names) {
  // Those with escapes cannot be written without, and need not be told apart.
  std::erase_if(names, [](const std::string& name) {
    return std::any_of(name.begin(), name.end(), [](char c) {
      return IsEscaped(static_cast<uint8_t>(c)) || static_cast<uint8_t>(c) < 0x20 || c == 0x7f;
    });
  });
  std::sort(names.begin(), names.end());
  const Expr any =
      Shared("unescaped", [&] { return builder_.Repeat(builder_.Chars(Unescaped()), 0); });
  // From the longest beginnings that names share to the shortest: what may follow each.
  const std::function<Expr(size_t, size_t, size_t)> after = [&](size_t from, size_t to,
                                                                size_t at) -> Expr {
    std::vector<Expr> choices;
    if (at >= kNameMax) return builder_.Choice({});
    std::vector<CharRange> others = Inverted(Unescaped());
    if (from < to && names[from].size() > at) choices.push_back(builder_.Text(""));
    if (from < to && names[from].size() == at) ++from;
    while (from < to) {
      size_t next = at;
      const uint32_t code = jinja::NextChar(names[from], &next);
      size_t end = from;
      while (end < to && names[end].compare(at, next - at, names[from], at, next - at) == 0) ++end;
      others.push_back({code, code});
      choices.push_back(builder_.Sequence(
          {builder_.Text(names[from].substr(at, next - at)), after(from, end, next)}));
      from = end;
    }
    choices.push_back(builder_.Sequence({builder_.Chars(Inverted(others)), any}));
    return builder_.Choice(std::move(choices));
  };
  return Quoted(names.empty() ? any : after(0, names.size(), 0));
}

JsonExprs::Expr JsonExprs::Chars(const std::vector<CharRange>& ranges) {
  const std::vector<CharRange> wanted = Normalized(ranges);
  const auto has = [&](uint32_t code) {
    return std::any_of(wanted.begin(), wanted.end(), [code](const CharRange& range) {
      return range.first <= code && code <= range.last;
    });
  };
  std::vector<Expr> choices;
  std::vector<CharRange> plain = Inverted(wanted);
  for (const CharRange& range : Inverted(Unescaped())) plain.push_back(range);
  choices.push_back(builder_.Chars(Inverted(plain)));
  constexpr std::pair<char, const char*> kShort[] = {{'"', "\\\""}, {'\\', "\\\\"}, {'\b', "\\b"},
                                                     {'\f', "\\f"}, {'\n', "\\n"},  {'\r', "\\r"},
                                                     {'\t', "\\t"}};
  for (const auto& [character, text] : kShort) {
    if (has(static_cast<uint32_t>(character))) choices.push_back(builder_.Text(text));
  }
  return builder_.Choice(std::move(choices));
}

JsonExprs::Expr JsonExprs::Member(Expr key, Expr value) {
  return builder_.Sequence({key, builder_.Text(":"), Space(), value});
}

JsonExprs::Expr JsonExprs::Braced(absl::string_view open, Expr inside, absl::string_view close) {
  return builder_.Sequence({builder_.Text(open), Space(), inside, Space(), builder_.Text(close)});
}

JsonExprs::Expr JsonExprs::List(Expr item) {
  const Expr more = builder_.Sequence({builder_.Text(","), Space(), item});
  return builder_.Sequence({item, builder_.Repeat(more, 0)});
}

JsonExprs::Expr JsonExprs::Object() {
  return Shared("object", [&] {
    const Expr member = Member(String(0, GrammarBuilder::kUnlimited), Value());
    return builder_.Choice({builder_.Text("{}"), Braced("{", List(member), "}")});
  });
}

JsonExprs::Expr JsonExprs::Array() {
  return Shared("array", [&] {
    return builder_.Choice({builder_.Text("[]"), Braced("[", List(Value()), "]")});
  });
}

JsonExprs::Expr JsonExprs::Value() {
  return Shared("value", [&] {
    return builder_.Choice({Object(), Array(), String(0, GrammarBuilder::kUnlimited),
                            Number(std::nullopt, std::nullopt), builder_.Text("true"),
                            builder_.Text("false"), builder_.Text("null")});
  });
}

}  // namespace cormorant
