// The emulator's matrix products: see shaders/gpu/matrix.cuh. Included by dialect.h.
//
// Sums are dealt to lanes as the instructions of devices deal them: waves of 32 as NVIDIA's mma
// m16n8 (PTX ISA, "Matrix fragments"), waves of 64 as AMD's mfma 16x16 (CDNA ISA guide); no device
// has waves of 8. Waves of 32 also multiply floats as NVIDIA's do, in TF32 and rounding to zero.
// The whole wave's work is done by the lane that comes last, and all lanes count as readers.
#pragma once
#include "tests/emulator/dialect.h"

namespace cormorant::GPU_NAMESPACE::gpu {

inline constexpr uint32_t kTileNumbers = 256 / kWave;
inline constexpr uint32_t kOperandPadding = 4;
enum Side : uint32_t { kLeft, kRight };

template <class T>
struct Tile {
  T v[kTileNumbers];
};
/// Where a fragment is loaded from, which must not change until it is used.
struct Operand {
  Shared<Quad> from;
  uint32_t at, stride, barriers;  // barriers: that were passed when it was loaded.
};
template <Side>
struct ByteFragment : std::optional<Operand> {};
template <Side>
struct FloatFragment : std::optional<Operand> {};

inline uint32_t TileRowOf(uint32_t lane, uint32_t i) {
  if (kWave == 64) return lane / 16 * 4 + i;
  return kWave == 32 ? lane / 4 + i / 2 % 2 * 8 : lane * 2 + i / 16;
}
inline uint32_t TileColumnOf(uint32_t lane, uint32_t i) {
  if (kWave == 64) return lane % 16;
  return kWave == 32 ? lane % 4 * 2 + i % 2 + i / 4 * 8 : i % 16;
}
inline uint32_t TileRow(uint32_t i) {
  return TileRowOf(Thread() % kWave, i);
}
inline uint32_t TileColumn(uint32_t i) {
  return TileColumnOf(Thread() % kWave, i);
}

/// An operand's words: [row][word].
using OperandWords = uint32_t[16][8];
inline void ReadOperand(const Operand& operand, emulator::Site site, OperandWords& words) {
  if (operand.barriers != emulator::Barriers()) {
    emulator::Fail("a fragment that was loaded before the last barrier", site);
  }
  for (uint32_t half = 0; half < 2; ++half) {
    const Quad* const quads = operand.from.At(operand.at + half * operand.stride, 16, site);
    emulator::ReadSharedByWave(reinterpret_cast<const std::byte*>(quads), 16 * sizeof(Quad), site);
    for (uint32_t r = 0; r < 16; ++r) std::memcpy(words[r] + half * 4, quads + r, sizeof(Quad));
  }
}

/// Sum of products of two rows, added to c.
inline int32_t RowProduct(const uint32_t* a, const uint32_t* b, int32_t c, bool) {
  for (uint32_t w = 0; w < 8; ++w) c = Dot4(a[w], b[w], c);
  return c;
}
inline float TowardZero(double x) {
  const float nearest = static_cast<float>(x);
  return std::fabs(double{nearest}) > std::fabs(x) ? std::nextafter(nearest, 0.0f) : nearest;
}
inline float RowProduct(const uint32_t* a, const uint32_t* b, float c, bool b_is_short) {
  if (kWave != 32) {
    for (uint32_t k = 0; k < 8; ++k) c += AsFloat(a[k]) * AsFloat(b[k]);
    return c;
  }
  constexpr uint32_t kTf32 = 0xffffe000u;
  double a_low = 0.0, b_low = 0.0, high = 0.0;
  for (uint32_t k = 0; k < 8; ++k) {
    const float x = AsFloat(a[k] & kTf32), y = AsFloat(b[k] & kTf32);
    a_low += double{AsFloat(AsWord(AsFloat(a[k]) - x) & kTf32)} * double{y};
    b_low += double{x} * double{AsFloat(AsWord(AsFloat(b[k]) - y) & kTf32)};
    high += double{x} * double{y};
  }
  c = TowardZero(double{c} + a_low);
  if (!b_is_short) c = TowardZero(double{c} + b_low);
  return TowardZero(double{c} + high);
}

/// What a lane brings to AddProducts.
template <class T>
struct Products : emulator::WaveWork {
  Tile<T>* tile;
  Operand a, b;
  bool b_is_short;
};
inline bool IsSame(const Operand& a, const Operand& b) {
  return a.from == b.from && a.at == b.at && a.stride == b.stride && a.barriers == b.barriers;
}

template <class T>
void RunProducts(emulator::WaveWork* const* lanes, uint32_t count, emulator::Site site) {
  const auto lane_of = [&](uint32_t l) { return static_cast<const Products<T>*>(lanes[l]); };
  const Products<T>& first = *lane_of(0);
  if (count != kWave) emulator::Fail("a matrix product of a wave that is not whole", site);
  for (uint32_t l = 1; l < count; ++l) {
    if (!IsSame(first.a, lane_of(l)->a) || !IsSame(first.b, lane_of(l)->b)) {
      emulator::Fail("lanes of a wave multiply different matrices", site);
    }
  }
  OperandWords a, b;
  ReadOperand(first.a, site, a);
  ReadOperand(first.b, site, b);
  for (uint32_t w = 0; w < 128 && first.b_is_short; ++w) {
    if ((b[w / 8][w % 8] & 0x1fffu) == 0) continue;
    emulator::Fail("a number of a short operand has more than 11 significant bits", site);
  }
  for (uint32_t l = 0; l < count; ++l) {
    for (uint32_t i = 0; i < kTileNumbers; ++i) {
      T* const sum = &lane_of(l)->tile->v[i];
      *sum = RowProduct(a[TileRowOf(l, i)], b[TileColumnOf(l, i)], *sum, first.b_is_short);
    }
  }
}

template <template <Side> class FragmentOf, Side kSide>
void Load(const Shared<Quad>& from, uint32_t at, uint32_t stride, FragmentOf<kSide>* fragment) {
  fragment->emplace(Operand{from, at, stride, emulator::Barriers()});
}
template <class T>
void Multiply(Tile<T>* tile, const std::optional<Operand>& a, const std::optional<Operand>& b,
              bool b_is_short, emulator::Site site) {
  if (!a.has_value() || !b.has_value()) emulator::Fail("a fragment that was not loaded", site);
  Products<T> own = {{RunProducts<T>}, tile, *a, *b, b_is_short};
  emulator::Together(&own, site);
}
inline void AddProducts(Tile<int32_t>* tile, const ByteFragment<kLeft>& a,
                        const ByteFragment<kRight>& b, emulator::Site site = EMULATOR_SITE) {
  Multiply(tile, a, b, false, site);
}
template <bool kShort>
void AddProducts(Tile<float>* tile, const FloatFragment<kLeft>& a, const FloatFragment<kRight>& b,
                 emulator::Site site = EMULATOR_SITE) {
  Multiply(tile, a, b, kShort, site);
}

}  // namespace cormorant::GPU_NAMESPACE::gpu
