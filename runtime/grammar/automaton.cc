// Places, stacks and the states that are made of them. See automaton.h.
#include "runtime/grammar/automaton.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cormorant {

Automaton::Automaton(std::shared_ptr<const Grammar> grammar)
    : grammar_(std::move(grammar)), class_count_(grammar_->class_count()) {
  stacks_.push_back({});
  Intern({});  // kDead: no places, and no end.
  std::fill(next_.begin(), next_.end(), kDead);
  start_ = Close({{grammar_->root(), kBottom}});
}

uint32_t Automaton::Read(uint32_t state, absl::string_view text) {
  for (const char byte : text) {
    state = Next(state, static_cast<uint8_t>(byte));
    if (state == kDead) break;
  }
  return state;
}

uint32_t Automaton::Push(uint32_t at, uint32_t below) {
  const auto [it, is_new] =
      stack_ids_.try_emplace(uint64_t{at} << 32 | below, static_cast<uint32_t>(stacks_.size()));
  if (is_new) {
    stacks_.push_back({at, below, stacks_[below].depth + 1});
    cells_ += 8;
  }
  return it->second;
}

uint32_t Automaton::Close(std::vector<Place> work) {
  State state;
  seen_.clear();
  const auto add = [&](uint32_t at, uint32_t stack) {
    if (seen_.size() <= kReadingsMax) work.push_back({at, stack});
  };
  while (!work.empty()) {
    const Place place = work.back();
    work.pop_back();
    if (!seen_.insert(place).second) continue;
    if (grammar_->ends(place.at)) {
      const Stack top = stacks_[place.stack];
      if (place.stack == kBottom) {
        state.can_end = true;
      } else {
        add(top.at, top.below);
      }
    }
    bool reads = false;
    for (const Grammar::Edge& edge : grammar_->edges(place.at)) {
      switch (edge.kind) {
        case Grammar::EdgeKind::kBytes: reads = true; break;
        case Grammar::EdgeKind::kNothing: add(edge.to, place.stack); break;
        case Grammar::EdgeKind::kRule:
          // What only ends afterwards needs no place to come back to: right recursion takes no
          // stack.
          if (grammar_->only_ends(edge.to)) {
            add(edge.rule, place.stack);
          } else if (stacks_[place.stack].depth < kDepthMax) {
            add(edge.rule, Push(edge.to, place.stack));
          }
          break;
      }
    }
    if (reads) state.places.push_back(place);
  }
  if (seen_.size() > kReadingsMax) {
    status_ = absl::ResourceExhaustedError(
        absl::StrCat("the grammar can read the text in more than ", kReadingsMax,
                     " ways; alternatives that begin alike should share what is alike"));
    return kDead;
  }
  std::sort(state.places.begin(), state.places.end());
  return Intern(std::move(state));
}

uint32_t Automaton::Intern(State state) {
  if (cells_ > kCellsMax) {
    status_ = absl::ResourceExhaustedError(
        "one step of the grammar has too many states; make it smaller");
    return kDead;
  }
  const auto [it, is_new] =
      state_ids_.try_emplace({state.places, state.can_end}, static_cast<uint32_t>(states_.size()));
  if (is_new) {
    cells_ += 16 + class_count_ + 4 * state.places.size();
    states_.push_back(std::move(state));
    next_.resize(next_.size() + class_count_, kUnknown);
  }
  return it->second;
}

uint32_t Automaton::Make(uint32_t state, uint32_t byte_class) {
  const uint8_t byte = grammar_->byte_of(byte_class);
  std::vector<Place> places;
  for (const Place& place : states_[state].places) {
    for (const Grammar::Edge& edge : grammar_->edges(place.at)) {
      const bool reads = edge.kind == Grammar::EdgeKind::kBytes;
      if (reads && edge.low <= byte && byte <= edge.high) places.push_back({edge.to, place.stack});
    }
  }
  const uint32_t next = places.empty() ? kDead : Close(std::move(places));
  next_[size_t{state} * class_count_ + byte_class] = next;
  return next;
}

uint32_t Automaton::CopyState(const Automaton& from, uint32_t state) {
  State copy = from.states_[state];
  if (state == kDead) return kDead;
  for (Place& place : copy.places) {
    std::vector<uint32_t> path;  // From the top down.
    for (uint32_t at = place.stack; at != kBottom; at = from.stacks_[at].below) path.push_back(at);
    place.stack = kBottom;
    for (auto it = path.rbegin(); it != path.rend(); ++it) {
      place.stack = Push(from.stacks_[*it].at, place.stack);
    }
  }
  std::sort(copy.places.begin(), copy.places.end());
  return Intern(std::move(copy));
}

}  // namespace cormorant
