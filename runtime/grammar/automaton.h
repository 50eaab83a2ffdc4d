// Runs a grammar over bytes: states are made when they are first reached, and then looked up.
//
// A state is all that the text so far may mean: a set of places in the grammar, each with a stack
// of the places to go on from when its rule ends. Stacks share their lower parts and are equal when
// they are the same number, so that a text within the same constructs comes back to the same state
// and the next one is an entry of a table. Nesting deeper than kDepthMax is refused like any other
// text that does not match. What is kept is bounded: is_full() says when it is time to go on with
// another Automaton, and a grammar with too many readings of one text ends with status().
//
// Not thread-safe.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/grammar/grammar.h"

namespace cormorant {

class Automaton {
 public:
  static constexpr uint32_t kDead = 0;  // The state of a text that nothing can complete.
  static constexpr uint32_t kDepthMax = 1024;
  static constexpr size_t kReadingsMax = 4096;  // Places of one state.

  explicit Automaton(std::shared_ptr<const Grammar> grammar);

  /// The state of no text.
  uint32_t start() const { return start_; }
  uint32_t Next(uint32_t state, uint8_t byte) {
    const uint32_t next = next_[size_t{state} * class_count_ + grammar_->class_of(byte)];
    return next != kUnknown ? next : Make(state, grammar_->class_of(byte));
  }
  /// The state after more text.
  uint32_t Read(uint32_t state, absl::string_view text);
  /// The text may end here.
  bool can_end(uint32_t state) const { return states_[state].can_end; }
  /// Too many states are kept, or status() is an error: CopyState() into a new Automaton.
  bool is_full() const { return cells_ > kCellsMax / 2 || !status_.ok(); }
  /// The same state of another automaton of the same grammar, here.
  uint32_t CopyState(const Automaton& from, uint32_t state);
  /// RESOURCE_EXHAUSTED once a state had more than kReadingsMax places, or more states were made
  /// since is_full() than are kept; such states are dead.
  const absl::Status& status() const { return status_; }

 private:
  static constexpr uint32_t kUnknown = ~0u;
  static constexpr uint32_t kBottom = 0;  // The stack of the root rule.
  static constexpr size_t kCellsMax = size_t{1} << 22;

  struct Place {
    uint32_t at = 0;     // State of the grammar.
    uint32_t stack = 0;  // In stacks_.
    bool operator==(const Place&) const = default;
    bool operator<(const Place& other) const {
      return at != other.at ? at < other.at : stack < other.stack;
    }
    template <class H>
    friend H AbslHashValue(H hash, const Place& place) {
      return H::combine(std::move(hash), place.at, place.stack);
    }
  };
  /// Where to go on when a rule ends, and with which stack then.
  struct Stack {
    uint32_t at = 0, below = 0, depth = 0;
  };
  struct State {
    std::vector<Place> places;  // From which bytes are read, ascending.
    bool can_end = false;
  };

  uint32_t Make(uint32_t state, uint32_t byte_class);
  /// The state of these places and all that are reached from them without reading.
  uint32_t Close(std::vector<Place> places);
  uint32_t Intern(State state);
  uint32_t Push(uint32_t at, uint32_t below);

  const std::shared_ptr<const Grammar> grammar_;
  const uint32_t class_count_;
  uint32_t start_ = kDead;
  std::vector<State> states_;
  std::vector<uint32_t> next_;  // By state and class of the byte.
  std::vector<Stack> stacks_;
  absl::flat_hash_map<uint64_t, uint32_t> stack_ids_;
  absl::flat_hash_map<std::pair<std::vector<Place>, bool>, uint32_t> state_ids_;
  absl::flat_hash_set<Place> seen_;  // For Close().
  size_t cells_ = 0;                 // What is kept, roughly in numbers of 4 bytes.
  absl::Status status_;
};

}  // namespace cormorant
