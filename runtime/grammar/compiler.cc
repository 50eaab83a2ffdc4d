// From expressions to automata of rules: states and edges, without those that lead nowhere.
//
// Thompson's construction: an expression is written from a state on and says in which state it
// ends. The state in which rule r begins is r.
#include <algorithm>
#include <bitset>
#include <optional>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/format/byte_reader.h"
#include "runtime/grammar/builder.h"

namespace cormorant {

class GrammarCompiler {
 public:
  explicit GrammarCompiler(const GrammarBuilder& builder) : builder_(builder) {}
  absl::StatusOr<std::shared_ptr<const Grammar>> Run(GrammarBuilder::Rule root);

 private:
  using Node = GrammarBuilder::Node;
  using Kind = GrammarBuilder::Kind;
  using Edge = Grammar::Edge;
  using EdgeKind = Grammar::EdgeKind;
  struct From {
    uint32_t from;
    Edge edge;
  };

  uint32_t NewState();
  void Connect(uint32_t from, uint32_t to) { edges_.push_back({from, {.to = to}}); }
  uint32_t Byte(uint32_t from, uint8_t low, uint8_t high,
                std::optional<uint32_t> to = std::nullopt);
  uint32_t Emit(GrammarBuilder::Expr expr, uint32_t from);
  uint32_t EmitRepeat(const Node& node, uint32_t from);
  void EmitChars(CharRange range, uint32_t from, uint32_t to);
  /// States from which an end of their rule is reached, by reading texts, or without.
  std::vector<bool> Reaching(bool by_reading) const;
  absl::Status CheckLeftRecursion() const;
  std::vector<std::vector<uint32_t>> BeginsWith() const;
  void IndexEdges();
  void Finish(Grammar* grammar);

  const GrammarBuilder& builder_;
  std::vector<From> edges_;      // By `from`, once they are indexed.
  std::vector<uint32_t> first_;  // In edges_, by state, and one more.
  std::vector<bool> ends_;
  uint64_t emitted_ = 0;
  bool is_too_great_ = false;
};

uint32_t GrammarCompiler::NewState() {
  if (ends_.size() >= kGrammarStatesMax) {
    is_too_great_ = true;  // Emitting ends soon; until then states are used again.
    return kGrammarStatesMax - 1;
  }
  ends_.push_back(false);
  return static_cast<uint32_t>(ends_.size() - 1);
}

uint32_t GrammarCompiler::Byte(uint32_t from, uint8_t low, uint8_t high,
                               std::optional<uint32_t> to) {
  if (!to) to = NewState();
  edges_.push_back({from, {.kind = EdgeKind::kBytes, .low = low, .high = high, .to = *to}});
  return *to;
}

uint32_t GrammarCompiler::Emit(GrammarBuilder::Expr expr, uint32_t from) {
  // Copies of what has no states are work as well.
  if (++emitted_ > uint64_t{4} * kGrammarStatesMax) is_too_great_ = true;
  if (is_too_great_) return from;
  const Node& node = builder_.nodes_[expr];
  switch (node.kind) {
    case Kind::kText:
      for (const char c : node.text) {
        from = Byte(from, static_cast<uint8_t>(c), static_cast<uint8_t>(c));
        if (is_too_great_) break;
      }
      return from;
    case Kind::kChars: {
      const uint32_t to = NewState();
      for (const CharRange& range : node.chars) EmitChars(range, from, to);
      return to;
    }
    case Kind::kSequence:
      for (const GrammarBuilder::Expr part : node.parts) from = Emit(part, from);
      return from;
    case Kind::kChoice: {
      const uint32_t to = NewState();
      for (const GrammarBuilder::Expr part : node.parts) Connect(Emit(part, from), to);
      return to;
    }
    case Kind::kRepeat: return EmitRepeat(node, from);
    case Kind::kRule: {
      const uint32_t to = NewState();
      edges_.push_back({from, {.kind = EdgeKind::kRule, .rule = node.rule, .to = to}});
      return to;
    }
  }
  return from;
}

uint32_t GrammarCompiler::EmitRepeat(const Node& node, uint32_t from) {
  const GrammarBuilder::Expr what = node.parts[0];
  const bool is_unlimited = node.most == GrammarBuilder::kUnlimited;
  const uint32_t copies = is_unlimited && node.least > 0 ? node.least - 1 : node.least;
  for (uint32_t i = 0; i < copies && !is_too_great_; ++i) from = Emit(what, from);
  const uint32_t to = NewState();
  if (is_unlimited) {
    // A state of its own: what led to `from` may be repeated alone.
    const uint32_t again = NewState();
    Connect(from, again);
    if (node.least == 0) Connect(again, to);
    const uint32_t end = Emit(what, again);
    Connect(end, again);
    if (node.least > 0) Connect(end, to);
    return to;
  }
  for (uint32_t i = node.least; i < node.most && !is_too_great_; ++i) {
    Connect(from, to);
    from = Emit(what, from);
  }
  Connect(from, to);
  return to;
}

/// Characters of one length, whose bytes may be chosen one by one, are a path; others are halved.
void GrammarCompiler::EmitChars(CharRange range, uint32_t from, uint32_t to) {
  for (const uint32_t most : {0x7fu, 0x7ffu, 0xffffu}) {
    if (range.first <= most && range.last > most) {
      EmitChars({range.first, most}, from, to);
      return EmitChars({most + 1, range.last}, from, to);
    }
  }
  if (range.last < 0x80) {
    Byte(from, static_cast<uint8_t>(range.first), static_cast<uint8_t>(range.last), to);
    return;
  }
  const uint32_t following = range.last < 0x800 ? 1 : range.last < 0x10000 ? 2 : 3;
  for (uint32_t i = 1; i <= following; ++i) {
    const uint32_t low_bits = (1u << (6 * i)) - 1;
    if ((range.first & ~low_bits) == (range.last & ~low_bits)) continue;
    if ((range.first & low_bits) != 0) {
      EmitChars({range.first, range.first | low_bits}, from, to);
      return EmitChars({(range.first | low_bits) + 1, range.last}, from, to);
    }
    if ((range.last & low_bits) != low_bits) {
      EmitChars({range.first, (range.last & ~low_bits) - 1}, from, to);
      return EmitChars({range.last & ~low_bits, range.last}, from, to);
    }
  }
  const uint32_t lead = following == 1 ? 0xc0 : following == 2 ? 0xe0 : 0xf0;
  for (uint32_t i = following + 1; i-- > 0;) {
    const uint32_t mark = i == following ? lead : 0x80, mask = i == following ? 0x1f : 0x3f;
    const auto low = static_cast<uint8_t>(mark | (range.first >> (6 * i) & mask));
    const auto high = static_cast<uint8_t>(mark | (range.last >> (6 * i) & mask));
    from = i > 0 ? Byte(from, low, high) : Byte(from, low, high, to);
  }
}

std::vector<bool> GrammarCompiler::Reaching(bool by_reading) const {
  const size_t states = ends_.size();
  // Edges by the state they lead to, and those of rules by the rule as well.
  std::vector<uint32_t> into(edges_.size()), calls(edges_.size()), first_into(states + 1),
      first_call(states + 1);
  for (const auto& [from, edge] : edges_) {
    ++first_into[edge.to + 1];
    if (edge.kind == EdgeKind::kRule) ++first_call[edge.rule + 1];
  }
  for (size_t s = 0; s < states; ++s) {
    first_into[s + 1] += first_into[s];
    first_call[s + 1] += first_call[s];
  }
  std::vector<uint32_t> next_into(first_into), next_call(first_call);
  for (uint32_t e = 0; e < edges_.size(); ++e) {
    const Edge& edge = edges_[e].edge;
    into[next_into[edge.to]++] = e;
    if (edge.kind == EdgeKind::kRule) calls[next_call[edge.rule]++] = e;
  }
  std::vector<bool> reaches = ends_;
  std::vector<uint32_t> work;
  for (uint32_t s = 0; s < states; ++s) {
    if (reaches[s]) work.push_back(s);
  }
  const auto look_at = [&](uint32_t e) {
    const auto& [from, edge] = edges_[e];
    if (reaches[from] || !reaches[edge.to]) return;
    if (edge.kind == EdgeKind::kBytes && !by_reading) return;
    if (edge.kind == EdgeKind::kRule && !reaches[edge.rule]) return;
    reaches[from] = true;
    work.push_back(from);
  };
  while (!work.empty()) {
    const uint32_t state = work.back();
    work.pop_back();
    for (uint32_t i = first_into[state]; i < first_into[state + 1]; ++i) look_at(into[i]);
    for (uint32_t i = first_call[state]; i < first_call[state + 1]; ++i) look_at(calls[i]);
  }
  return reaches;
}

void GrammarCompiler::IndexEdges() {
  std::stable_sort(edges_.begin(), edges_.end(),
                   [](const From& a, const From& b) { return a.from < b.from; });
  first_.assign(ends_.size() + 1, 0);
  for (const auto& [from, edge] : edges_) ++first_[from + 1];
  for (size_t s = 0; s < ends_.size(); ++s) first_[s + 1] += first_[s];
}

/// By rule, the rules with which its texts may begin, where that rule has read nothing before.
std::vector<std::vector<uint32_t>> GrammarCompiler::BeginsWith() const {
  const std::vector<bool> is_nullable = Reaching(false);
  const size_t rules = builder_.rules_.size();
  std::vector<std::vector<uint32_t>> begins(rules);
  std::vector<bool> seen(ends_.size());
  std::vector<uint32_t> work;
  for (uint32_t rule = 0; rule < rules; ++rule) {
    const auto visit = [&](uint32_t state) {
      if (seen[state]) return;
      seen[state] = true;  // A state is of one rule.
      work.push_back(state);
    };
    visit(rule);
    while (!work.empty()) {
      const uint32_t state = work.back();
      work.pop_back();
      for (uint32_t e = first_[state]; e < first_[state + 1]; ++e) {
        const Edge& edge = edges_[e].edge;
        if (edge.kind == EdgeKind::kBytes) continue;
        if (edge.kind == EdgeKind::kRule) begins[rule].push_back(edge.rule);
        if (edge.kind == EdgeKind::kNothing || is_nullable[edge.rule]) visit(edge.to);
      }
    }
  }
  return begins;
}

absl::Status GrammarCompiler::CheckLeftRecursion() const {
  const std::vector<std::vector<uint32_t>> begins = BeginsWith();
  enum : uint8_t { kNew, kOpen, kDone };
  std::vector<uint8_t> marks(begins.size(), kNew);
  std::vector<std::pair<uint32_t, size_t>> path;  // A rule, and how many of its own were followed.
  for (uint32_t rule = 0; rule < begins.size(); ++rule) {
    if (marks[rule] != kNew) continue;
    marks[rule] = kOpen;
    path.push_back({rule, 0});
    while (!path.empty()) {
      auto& [at, followed] = path.back();
      if (followed == begins[at].size()) {
        marks[at] = kDone;
        path.pop_back();
        continue;
      }
      const uint32_t next = begins[at][followed++];
      if (marks[next] == kOpen) {
        return absl::InvalidArgumentError(
            absl::StrCat("rule ", Quoted(builder_.name(next)), " begins with itself, through ",
                         Quoted(builder_.name(path.back().first)),
                         "; write the repetition with * or +, or put the rule at the end"));
      }
      if (marks[next] == kNew) {
        marks[next] = kOpen;
        path.push_back({next, 0});
      }
    }
  }
  return absl::OkStatus();
}

void GrammarCompiler::Finish(Grammar* grammar) {
  const size_t states = ends_.size();
  grammar->first_edge_ = first_;
  for (const auto& [from, edge] : edges_) grammar->edges_.push_back(edge);
  grammar->ends_ = ends_;
  grammar->only_ends_.assign(states, false);
  for (uint32_t s = 0; s < states; ++s) {
    // A state that is one of a chain to the end; chains are short, and none is a ring.
    uint32_t at = s;
    for (uint32_t steps = 0; steps < kGrammarDepthMax; ++steps) {
      const std::span<const Edge> edges = grammar->edges(at);
      if (ends_[at] || edges.size() != 1 || edges[0].kind != EdgeKind::kNothing) break;
      at = edges[0].to;
    }
    grammar->only_ends_[s] = ends_[at] && grammar->edges(at).empty();
  }
  std::bitset<257> begins;  // Bytes that some state tells from the one before.
  begins[0] = true;
  for (const Edge& edge : grammar->edges_) {
    if (edge.kind != EdgeKind::kBytes) continue;
    begins[edge.low] = begins[size_t{edge.high} + 1] = true;
  }
  for (uint32_t byte = 0; byte < 256; ++byte) {
    if (begins[byte]) grammar->class_bytes_[grammar->class_count_++] = static_cast<uint8_t>(byte);
    grammar->classes_[byte] = static_cast<uint8_t>(grammar->class_count_ - 1);
  }
}

absl::StatusOr<std::shared_ptr<const Grammar>> GrammarCompiler::Run(GrammarBuilder::Rule root) {
  const size_t rules = builder_.rules_.size();
  for (uint32_t rule = 0; rule < rules; ++rule) NewState();
  for (uint32_t rule = 0; rule < rules && !is_too_great_; ++rule) {
    if (!builder_.is_defined(rule)) {
      return absl::InvalidArgumentError(
          absl::StrCat("rule ", Quoted(builder_.name(rule)), " is used and not defined"));
    }
    ends_[Emit(builder_.rules_[rule].expr, rule)] = true;
  }
  if (is_too_great_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the grammar has more than ", kGrammarStatesMax,
                     " states when it is compiled; each repetition {m,n} takes n copies of what is "
                     "repeated: use smaller numbers, or * and +"));
  }
  std::vector<bool> reaches = Reaching(true);
  if (!reaches[root]) {
    return absl::InvalidArgumentError(absl::StrCat(
        "no text matches the grammar: ", Quoted(builder_.name(root)), " never comes to an end"));
  }
  std::erase_if(edges_, [&](const From& from) {
    const Edge& edge = from.edge;
    return !reaches[edge.to] || (edge.kind == EdgeKind::kRule && !reaches[edge.rule]);
  });
  IndexEdges();
  CORM_RETURN_IF_ERROR(CheckLeftRecursion());
  const std::shared_ptr<Grammar> grammar(new Grammar());
  grammar->root_ = root;
  Finish(grammar.get());
  return grammar;
}

absl::StatusOr<std::shared_ptr<const Grammar>> GrammarBuilder::Build(Rule root) const {
  return GrammarCompiler(*this).Run(root);
}

}  // namespace cormorant
