// At once down, with patience up. See controller.h.
#include "runtime/cache/controller.h"

namespace cormorant {

bool Controller::Observe(uint32_t clock, uint32_t rows) {
  const double ratio = static_cast<double>(rows) / rows_;
  const bool is_more = ratio > kBand, is_less = ratio * kBand < 1;
  if (is_more && !is_waiting_) since_ = clock;
  is_waiting_ = is_more;
  if (!is_less && !(is_more && clock - since_ >= kDwell)) return false;
  rows_ = rows;
  is_waiting_ = false;
  return true;
}

}  // namespace cormorant
