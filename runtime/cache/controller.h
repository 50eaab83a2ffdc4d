// Keeps what a policy derives from the rows that a head can hold in step with those it may hold.
//
// When a session is made its share of the room is a guess: that of one of as many sessions as the
// engine allows. What it may really hold is known whenever rows must leave. Fewer than the rules
// are for, by kBand, and they are made anew at once, for rows that the rules protect would not fit.
// More, and they wait until it has been so for kDwell tokens: sessions come and go. Pure.
#pragma once
#include <cstdint>

namespace cormorant {

class Controller {
 public:
  static constexpr double kBand = 1.4;
  static constexpr uint32_t kDwell = 256;

  /// `rows` of a head, on average, are what the rules are for.
  explicit Controller(uint32_t rows) : rows_(rows) {}

  /// Heads may hold `rows` on average, at this clock in tokens. True when the rules are to be made
  /// anew, for rows().
  bool Observe(uint32_t clock, uint32_t rows);
  uint32_t rows() const { return rows_; }
  /// The clock begins anew.
  void Restart() { is_waiting_ = false; }

 private:
  uint32_t rows_;
  bool is_waiting_ = false;  // There is room for more, ...
  uint32_t since_ = 0;       // ... since this clock.
};

}  // namespace cormorant
