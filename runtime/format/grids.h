// The points that IQ types choose from: facts of the format. Made by tools/dev/make_grids.py.
//
// A point is a word of coordinates, the first in the low bits: eight of two bits, or four of four
// bits of which three are used. quants_grid.cc says what a coordinate stands for.
#pragma once
#include <cstdint>

namespace cormorant {

extern const uint16_t kGridIQ2_XXS[256];
extern const uint16_t kGridIQ2_XS[512];
extern const uint16_t kGridIQ2_S[1024];
extern const uint16_t kGridIQ3_XXS[256];
extern const uint16_t kGridIQ3_S[512];
extern const uint16_t kGridIQ1[2048];

}  // namespace cormorant
