// The emulator's side of the dialect of GPU kernels: see shaders/gpu/gpu.h, which includes this.
//
// Compiled once for each width of a wave (EMULATOR_WAVE), each in a namespace of its own. Every use
// of shared memory goes through a proxy that tells the emulator; the place in the kernel comes
// along in default arguments.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <source_location>
#include <type_traits>
#include <utility>

#include "runtime/base/half.h"
#include "shaders/gpu/kernel.h"
#include "tests/emulator/emulator.h"

#ifndef EMULATOR_WAVE
#define EMULATOR_WAVE 32
#endif

#define GPU_KERNEL(threads) static void
#define GPU_FN static inline
#define GPU_MEMBER constexpr
#define GPU_METHOD
#define GPU_UNROLL
#define EMULATOR_SITE std::source_location::current()

/// An array of the block. Its key is a static of its own, in every instance of a template.
#define GPU_SHARED(T, name, count)                         \
  const auto name = [] {                                   \
    static char key;                                       \
    return gpu::MakeShared<T>(&key, count, EMULATOR_SITE); \
  }()

#define GPU_HANDLE(name, Arguments, ...) gpu::HandleOf<Arguments, &__VA_ARGS__>(name)

namespace cormorant::GPU_NAMESPACE::gpu {

inline constexpr uint32_t kWave = EMULATOR_WAVE;

template <class Arguments, void (*kKernel)(const Arguments)>
Kernel HandleOf(const char* name) {
  static const emulator::Entry entry = {
      [](const void* arguments) { kKernel(*static_cast<const Arguments*>(arguments)); },
      EMULATOR_WAVE, sizeof(Arguments), name};
  return {name, &entry, sizeof(Arguments)};
}

inline uint32_t Thread() {
  return emulator::ThreadIndex();
}
inline uint32_t Block() {
  return emulator::BlockIndex(0);
}
inline uint32_t BlockY() {
  return emulator::BlockIndex(1);
}
inline uint32_t BlockZ() {
  return emulator::BlockIndex(2);
}
inline uint32_t Blocks() {
  return emulator::GridSize(0);
}
inline uint32_t BlocksY() {
  return emulator::GridSize(1);
}
inline uint32_t BlockThreads() {
  return emulator::ThreadCount();
}
inline void Sync(emulator::Site site = EMULATOR_SITE) {
  emulator::Sync(site);
}

template <class T>
uint64_t ToBits(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <class T>
T FromBits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}
template <class T>
T ShuffleXor(T value, uint32_t mask, emulator::Site site = EMULATOR_SITE) {
  return FromBits<T>(
      emulator::WaveCollective(emulator::WaveOp::kShuffleXor, ToBits(value), mask, site));
}
template <class T>
T Shuffle(T value, uint32_t lane, emulator::Site site = EMULATOR_SITE) {
  return FromBits<T>(
      emulator::WaveCollective(emulator::WaveOp::kShuffle, ToBits(value), lane, site));
}
inline uint64_t Ballot(bool value, emulator::Site site = EMULATOR_SITE) {
  return emulator::WaveCollective(emulator::WaveOp::kBallot, value ? 1 : 0, 0, site);
}

/// One element of shared memory: a read or a write of it is told.
template <class T>
class SharedElement {
 public:
  SharedElement(T* at, emulator::Site site) : at_(at), site_(site) {}
  SharedElement(const SharedElement&) = default;
  operator T() const {  // NOLINT: stands for the element.
    emulator::UseShared(reinterpret_cast<const std::byte*>(at_), sizeof(T), emulator::Use::kRead,
                        site_);
    return *at_;
  }
  SharedElement& operator=(T value) {
    emulator::UseShared(reinterpret_cast<const std::byte*>(at_), sizeof(T), emulator::Use::kWrite,
                        site_);
    *at_ = value;
    return *this;
  }
  SharedElement& operator=(const SharedElement& other) { return *this = static_cast<T>(other); }
  SharedElement& operator+=(T value) { return *this = static_cast<T>(*this) + value; }
  SharedElement& operator-=(T value) { return *this = static_cast<T>(*this) - value; }
  SharedElement& operator|=(T value) { return *this = static_cast<T>(*this) | value; }

 private:
  T* at_;
  emulator::Site site_;
};

/// An index that knows where it was written down.
struct SharedIndex {
  SharedIndex(uint32_t i, emulator::Site s = EMULATOR_SITE)  // NOLINT: converts.
      : index(i), site(s) {}
  uint32_t index;
  emulator::Site site;
};

template <class T>
class Shared {
 public:
  static_assert(sizeof(T) % 4 == 0, "shared memory is told word by word");
  Shared(T* data, uint32_t count) : data_(data), count_(count) {}
  SharedElement<T> operator[](SharedIndex i) const { return {At(i.index, 1, i.site), i.site}; }
  bool operator==(const Shared& other) const { return data_ == other.data_; }
  T* At(uint32_t index, uint32_t elements, emulator::Site site) const {
    if (index >= count_ || elements > count_ - index) {
      emulator::Fail("index past the end of a shared array", site);
    }
    return data_ + index;
  }

 private:
  T* data_;
  uint32_t count_;
};

template <class T>
using SharedPointer = Shared<T>;

template <class T>
Shared<T> MakeShared(const void* key, uint32_t count, emulator::Site site) {
  std::byte* const bytes = emulator::SharedArray(key, sizeof(T) * count, site);
  return {reinterpret_cast<T*>(bytes), count};
}

struct alignas(8) Pair {
  uint32_t x, y;
};
struct alignas(16) Quad {
  uint32_t x, y, z, w;
};
struct alignas(16) Float4 {
  float x, y, z, w;
};

/// Four neighbours, the first at a multiple of four.
template <class T>
const T* FourOf(const Shared<T>& from, uint32_t index, emulator::Site site) {
  if (index % 4 != 0) emulator::Fail("Load4 of a place that is no multiple of 4", site);
  const T* const at = from.At(index, 4, site);
  emulator::UseShared(reinterpret_cast<const std::byte*>(at), 16, emulator::Use::kRead, site);
  return at;
}
inline Float4 Load4(const Shared<float>& from, uint32_t index,
                    emulator::Site site = EMULATOR_SITE) {
  const float* const at = FourOf(from, index, site);
  return {at[0], at[1], at[2], at[3]};
}
inline Quad Load4(const Shared<uint32_t>& from, uint32_t index,
                  emulator::Site site = EMULATOR_SITE) {
  const uint32_t* const at = FourOf(from, index, site);
  return {at[0], at[1], at[2], at[3]};
}

/// A copy on its way: neither side may be touched until it ends.
struct Transit {
  const Quad* from = nullptr;
  Quad quad;
};
inline void StartCopy(const Quad* from, const Shared<Quad>& to, uint32_t index, Transit* transit,
                      emulator::Site site = EMULATOR_SITE) {
  SharedElement<Quad>(to.At(index, 1, site), site) = Quad{~0u, ~0u, ~0u, ~0u};
  *transit = {from, *from};
}
inline void EndCopy(const Shared<Quad>& to, uint32_t index, Transit* transit,
                    emulator::Site site = EMULATOR_SITE) {
  if (transit->from == nullptr) emulator::Fail("a copy ends that was not started", site);
  if (std::memcmp(transit->from, &transit->quad, sizeof(Quad)) != 0) {
    emulator::Fail("what is copied changed on its way", site);
  }
  SharedElement<Quad>(to.At(index, 1, site), site) = transit->quad;
  transit->from = nullptr;
}

inline uint32_t AtomicAdd(uint32_t* to, uint32_t value) {
  return std::exchange(*to, *to + value);
}
inline uint32_t AtomicMax(uint32_t* to, uint32_t value) {
  return std::exchange(*to, *to < value ? value : *to);
}
inline uint32_t AtomicOr(uint32_t* to, uint32_t value) {
  return std::exchange(*to, *to | value);
}
template <class F>
uint32_t AtomicShared(const Shared<uint32_t>& array, uint32_t index, emulator::Site site, F&& f) {
  uint32_t* const at = array.At(index, 1, site);
  emulator::UseShared(reinterpret_cast<const std::byte*>(at), 4, emulator::Use::kAtomic, site);
  return f(at);
}
inline uint32_t AtomicAdd(const Shared<uint32_t>& array, uint32_t index, uint32_t value,
                          emulator::Site site = EMULATOR_SITE) {
  return AtomicShared(array, index, site, [&](uint32_t* at) { return AtomicAdd(at, value); });
}
inline uint32_t AtomicMax(const Shared<uint32_t>& array, uint32_t index, uint32_t value,
                          emulator::Site site = EMULATOR_SITE) {
  return AtomicShared(array, index, site, [&](uint32_t* at) { return AtomicMax(at, value); });
}

inline float HalfToFloat(uint32_t bits) {
  return F16ToF32(static_cast<uint16_t>(bits));
}
inline uint32_t FloatToHalf(float value) {
  return F32ToF16(value);
}
inline float AsFloat(uint32_t bits) {
  return std::bit_cast<float>(bits);
}
inline uint32_t AsWord(float value) {
  return std::bit_cast<uint32_t>(value);
}
/// Sum of the products of four signed bytes, added to c.
inline int32_t Dot4(uint32_t a, uint32_t b, int32_t c) {
  for (uint32_t i = 0; i < 32; i += 8) {
    c += int32_t{static_cast<int8_t>(a >> i)} * int32_t{static_cast<int8_t>(b >> i)};
  }
  return c;
}
inline float Exp(float x) {
  return std::exp(x);
}
inline float Log(float x) {
  return std::log(x);
}
inline float Sqrt(float x) {
  return std::sqrt(x);
}
inline float RoundEven(float x) {
  return std::nearbyint(x);
}
inline float Abs(float x) {
  return std::fabs(x);
}
inline uint32_t PopCount(uint32_t x) {
  return static_cast<uint32_t>(std::popcount(x));
}
/// Of the lowest set bit; x is not 0.
inline uint32_t LowestBit(uint32_t x) {
  return static_cast<uint32_t>(std::countr_zero(x));
}
/// Of the highest set bit; x is not 0.
inline uint32_t HighestBit(uint32_t x) {
  return 31 - static_cast<uint32_t>(std::countl_zero(x));
}
inline uint32_t MultiplyHigh(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(uint64_t{a} * b >> 32);
}

}  // namespace cormorant::GPU_NAMESPACE::gpu

#include "tests/emulator/matrix.h"
