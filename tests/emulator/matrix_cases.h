// Tests of the emulator's matrix products, for one width of a wave: matrix8_test.cc and its like
// say which (EMULATOR_WAVE, GPU_NAMESPACE, MATRIX_SUITE) and include this once.
//
// Method: a kernel multiplies two matrices as matmul.cuh does, in every wave of a block; the right
// one gives the sums of plain loops in every order, and one fault at a time is found.
#pragma once
#ifndef EMULATOR_WAVE  // Of a header that is compiled alone.
#define EMULATOR_WAVE 32
#define MATRIX_SUITE EmulatorMatrix
#endif
#define GPU_DIALECT "tests/emulator/dialect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "shaders/gpu/matmul.cuh"
#include "tests/emulator/emulator.h"

namespace cormorant::GPU_NAMESPACE {
namespace {

using emulator::Schedule;
using testing::AnyOf;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Schedule kSchedules[] = {{Schedule::Order::kInOrder, 0},
                                   {Schedule::Order::kReversed, 0},
                                   {Schedule::Order::kRandom, 1},
                                   {Schedule::Order::kRandom, 2}};
constexpr uint32_t kThreads = 128, kWaves = kThreads / EMULATOR_WAVE;

enum class Fault : uint8_t {
  kNone,
  kNoBarrier,
  kBarrierAfterLoad,
  kNotLoaded,
  kOtherMatrix,
  kLaneAway,
  kLaneEnds,
  kOverwrites,
  kPastTheEnd
};

struct Arguments {
  const uint32_t* in = nullptr;  // [side][row][word]
  uint32_t* out = nullptr;       // [wave][row][column]
  uint32_t* places = nullptr;    // [thread][number]: row * 16 + column.
  Fault fault = Fault::kNone;
};

/// Multiplies, with one fault or none; sums begin at their places.
template <class T, template <gpu::Side> class Fragment>
void Multiply(const Arguments& a) {
  constexpr uint32_t kStride = 16 + gpu::kOperandPadding;
  GPU_SHARED(gpu::Quad, left, 2 * kStride);
  GPU_SHARED(gpu::Quad, right, 2 * kStride);
  const uint32_t thread = gpu::Thread();
  if (thread < 64) {
    const uint32_t row = thread % 32 / 2, half = thread % 2;
    const uint32_t* const v = a.in + thread / 32 * 128 + row * 8 + half * 4;
    (thread < 32 ? left : right)[half * kStride + row] = gpu::Quad{v[0], v[1], v[2], v[3]};
  }
  if (a.fault != Fault::kNoBarrier) gpu::Sync();
  const bool is_odd = thread == EMULATOR_WAVE + 5;  // The one that goes wrong alone.
  Fragment<gpu::kLeft> x;
  Fragment<gpu::kRight> y;
  gpu::Load(left, a.fault == Fault::kPastTheEnd ? kStride : 0, kStride, &x);
  const uint32_t stride = is_odd && a.fault == Fault::kOtherMatrix ? 16 : kStride;
  if (a.fault != Fault::kNotLoaded) gpu::Load(right, 0, stride, &y);
  if (a.fault == Fault::kBarrierAfterLoad) gpu::Sync();
  if (a.fault == Fault::kLaneEnds && is_odd) return;
  if (a.fault == Fault::kLaneAway && is_odd) gpu::Sync();
  gpu::Tile<T> sums;
  for (uint32_t i = 0; i < gpu::kTileNumbers; ++i) {
    const uint32_t place = gpu::TileRow(i) * 16 + gpu::TileColumn(i);
    sums.v[i] = static_cast<T>(place);
    a.places[thread * gpu::kTileNumbers + i] = place;
  }
  if constexpr (std::is_same_v<T, float>) {
    gpu::AddProducts<false>(&sums, x, y);
  } else {
    gpu::AddProducts(&sums, x, y);
  }
  if (a.fault == Fault::kLaneAway && !is_odd) gpu::Sync();
  if (a.fault == Fault::kOverwrites && is_odd) left[0] = gpu::Quad{0, 0, 0, 0};
  for (uint32_t i = 0; i < gpu::kTileNumbers; ++i) {
    const uint32_t place = gpu::TileRow(i) * 16 + gpu::TileColumn(i);
    a.out[thread / EMULATOR_WAVE * 256 + place] = std::bit_cast<uint32_t>(sums.v[i]);
  }
}

void MultiplyShort(const Arguments& a) {
  GPU_SHARED(gpu::Quad, numbers, 32);
  if (gpu::Thread() < 32) {
    numbers[gpu::Thread()] = gpu::Quad{a.in[0], a.in[0], a.in[0], a.in[0]};
  }
  gpu::Sync();
  gpu::FloatFragment<gpu::kLeft> x;
  gpu::FloatFragment<gpu::kRight> y;
  gpu::Load(numbers, 0, 16, &x);
  gpu::Load(numbers, 0, 16, &y);
  gpu::Tile<float> sums = {};
  gpu::AddProducts<true>(&sums, x, y);
}

template <void (*kFunction)(const Arguments&)>
std::string RunKernel(const Arguments& arguments, const Schedule& schedule) {
  emulator::Launch launch;
  launch.name = "kernel";
  launch.threads = kThreads;
  launch.entry = {[](const void* a) { kFunction(*static_cast<const Arguments*>(a)); },
                  EMULATOR_WAVE};
  launch.arguments = &arguments;
  return emulator::Run(launch, schedule);
}

/// Of each fault what is said of it; in every order.
template <void (*kFunction)(const Arguments&)>
void CheckFaults(const std::vector<uint32_t>& in) {
  const std::pair<Fault, testing::Matcher<std::string>> faults[] = {
      {Fault::kNoBarrier, AnyOf(HasSubstr("race: reads"), HasSubstr("nobody wrote"))},
      {Fault::kBarrierAfterLoad, HasSubstr("loaded before the last barrier")},
      {Fault::kNotLoaded, HasSubstr("not loaded")},
      {Fault::kOtherMatrix, HasSubstr("different matrices")},
      {Fault::kLaneAway, HasSubstr("nobody can go on")},
      {Fault::kLaneEnds, AnyOf(HasSubstr("has ended"), HasSubstr("nobody can go on"))},
      {Fault::kOverwrites, HasSubstr("race: ")},
      {Fault::kPastTheEnd, HasSubstr("past the end")}};
  for (const auto& [fault, found] : faults) {
    for (const Schedule& schedule : kSchedules) {
      std::vector<uint32_t> out(kWaves * 256), places(kWaves * 256);
      const Arguments arguments = {in.data(), out.data(), places.data(), fault};
      EXPECT_THAT(RunKernel<kFunction>(arguments, schedule), found) << static_cast<int>(fault);
    }
  }
}

#define MATRIX_TEST(name) TEST(MATRIX_SUITE, name)

MATRIX_TEST(MultipliesBytes) {
  constexpr auto kKernel = Multiply<int32_t, gpu::ByteFragment>;
  std::vector<int8_t> in(2 * 16 * 32);
  for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int8_t>(i * i * 7 + i / 3 + 128);
  std::vector<uint32_t> words(256), want;
  std::memcpy(words.data(), in.data(), in.size());
  for (uint32_t place = 0; place < 256; ++place) {
    int32_t sum = static_cast<int32_t>(place);
    for (uint32_t k = 0; k < 32; ++k) {
      sum += int32_t{in[place / 16 * 32 + k]} * int32_t{in[512 + place % 16 * 32 + k]};
    }
    want.push_back(static_cast<uint32_t>(sum));
  }
  for (const Schedule& schedule : kSchedules) {
    std::vector<uint32_t> out(kWaves * 256), places(kWaves * 256);
    EXPECT_THAT(RunKernel<kKernel>({words.data(), out.data(), places.data()}, schedule), IsEmpty());
    for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], want[i % 256]) << i;
  }
  CheckFaults<kKernel>(words);
}

MATRIX_TEST(MultipliesFloats) {
  constexpr auto kKernel = Multiply<float, gpu::FloatFragment>;
  std::vector<float> in(2 * 16 * 8);
  std::vector<uint32_t> words;
  for (size_t i = 0; i < in.size(); ++i) {
    in[i] = std::sin(static_cast<float>(i)) * (i % 5 == 0 ? 1000.0f : 1.0f);
    words.push_back(gpu::AsWord(in[i]));
  }
  for (const Schedule& schedule : kSchedules) {
    std::vector<uint32_t> out(kWaves * 256), places(kWaves * 256);
    EXPECT_THAT(RunKernel<kKernel>({words.data(), out.data(), places.data()}, schedule), IsEmpty());
    for (uint32_t i = 0; i < out.size(); ++i) {
      const uint32_t place = i % 256;
      double sum = place, absolute = place;
      for (uint32_t k = 0; k < 8; ++k) {
        const double product =
            double{in[place / 16 * 8 + k]} * double{in[128 + place % 16 * 8 + k]};
        sum += product, absolute += std::fabs(product);
      }
      EXPECT_NEAR(double{gpu::AsFloat(out[i])}, sum, 0x1p-18 * absolute) << i;
    }
  }
  CheckFaults<kKernel>(words);
}

MATRIX_TEST(KnowsShortNumbers) {
  const uint32_t whole = gpu::AsWord(1.0f + 0x1p-10f), broken = gpu::AsWord(1.0f + 0x1p-11f);
  EXPECT_THAT(RunKernel<MultiplyShort>({&whole}, {}), IsEmpty());
  EXPECT_THAT(RunKernel<MultiplyShort>({&broken}, {}), HasSubstr("more than 11 significant bits"));
}

/// Every place has one lane, and the one that it has on devices.
MATRIX_TEST(DealsTilesAsDevicesDo) {
  std::vector<uint32_t> words(256), out(kWaves * 256), places(kWaves * 256);
  const Arguments arguments = {words.data(), out.data(), places.data()};
  EXPECT_THAT((RunKernel<Multiply<int32_t, gpu::ByteFragment>>(arguments, {})), IsEmpty());
  std::vector<uint32_t> count(256);
  for (const uint32_t place : places) ++count[place];
  EXPECT_THAT(count, testing::Each(kWaves));
  const auto place_of = [&](uint32_t lane, uint32_t i) {
    return std::pair(places[lane * gpu::kTileNumbers + i] / 16,
                     places[lane * gpu::kTileNumbers + i] % 16);
  };
  if (EMULATOR_WAVE == 32) {  // PTX ISA, accumulators of mma.m16n8k32, and the eight columns after.
    EXPECT_EQ(place_of(5, 1), std::pair(1u, 3u));
    EXPECT_EQ(place_of(5, 2), std::pair(9u, 2u));
    EXPECT_EQ(place_of(31, 7), std::pair(15u, 15u));
  }
  if (EMULATOR_WAVE == 64) {  // CDNA 2 ISA, output of V_MFMA_I32_16X16X16I8.
    EXPECT_EQ(place_of(37, 2), std::pair(10u, 5u));
    EXPECT_EQ(place_of(63, 3), std::pair(15u, 15u));
  }
}

/// Operands of a product that fills no tile, for floats and for bytes.
struct Operands {
  static constexpr uint32_t kRows = 70, kColumns = 90, kBlocks = 3, kTiles = 3;
  Operands() {
    for (uint32_t& word : quants) word = Next();
    for (uint32_t& word : quads) word = Next();
    for (uint32_t& word : scales) word = (Next() & 0x83ff83ffu) | 0x30003000u;  // Near 1 / 8.
    for (float& v : x) v = NextFloat();
    for (float& v : x_scales) v = NextFloat();
    for (uint32_t& word : floats) word = gpu::AsWord(NextFloat());
  }
  uint32_t Next() { return state = state * 1664525u + 1013904223u; }
  float NextFloat() { return static_cast<float>(static_cast<int32_t>(Next())) * 0x1p-31f; }

  uint32_t state = 5;
  std::vector<float> x = std::vector<float>(kRows * kColumns);
  std::vector<float> x_scales = std::vector<float>(kRows * kBlocks * 2);
  std::vector<uint32_t> quants = std::vector<uint32_t>(kRows * kBlocks * 16);
  std::vector<uint32_t> floats = std::vector<uint32_t>(kTiles * kBlocks * 32 * 32);
  std::vector<uint32_t> quads = std::vector<uint32_t>(kTiles * kBlocks * 32 * 4);
  std::vector<uint32_t> scales = std::vector<uint32_t>(kTiles * kBlocks * 32);
};

/// The product of `operands` in blocks of one size.
template <uint32_t kSize, bool kOfBytes>
std::vector<float> ProductBy(const Operands& operands) {
  constexpr uint32_t kOuter = 75, kRows = Operands::kRows;
  const MatMulTile& tile = kOfBytes ? kMatMulDotTiles[kSize] : kMatMulTiles[kSize];
  std::vector<float> y(kRows * kOuter, -1.0f);
  const uint32_t step[] = {kRows};
  const MatMulArguments arguments = {y.data(),
                                     operands.x.data(),
                                     (kOfBytes ? operands.quads : operands.floats).data(),
                                     operands.scales.data(),
                                     step,
                                     kOuter,
                                     Operands::kColumns,
                                     Operands::kBlocks,
                                     Operands::kTiles,
                                     0,
                                     0,
                                     operands.quants.data(),
                                     operands.x_scales.data()};
  emulator::Launch launch;
  launch.name = "matmul";
  launch.grid = {(kOuter + tile.columns - 1) / tile.columns, (kRows + tile.rows - 1) / tile.rows,
                 1};
  launch.threads = tile.threads;
  launch.entry = {[](const void* a) {
                    const auto& own = *static_cast<const MatMulArguments*>(a);
                    kOfBytes ? kernels::MatMulDot<kQ4_1, kSize>(own)
                             : kernels::MatMul<kF32, kSize>(own);
                  },
                  EMULATOR_WAVE};
  launch.arguments = &arguments;
  EXPECT_THAT(emulator::Run(launch, kSchedules[2]), IsEmpty());
  return y;
}

/// A row's result does not depend on how many rows there are, which choose the size of blocks.
MATRIX_TEST(BlocksOfAllSizesLeaveTheSameBits) {
  const Operands operands;
  const std::vector<float> bytes = ProductBy<0, true>(operands);
  EXPECT_EQ((ProductBy<1, true>(operands)), bytes);
  EXPECT_EQ((ProductBy<2, true>(operands)), bytes);
  const std::vector<float> floats = ProductBy<0, false>(operands);
  EXPECT_EQ((ProductBy<1, false>(operands)), floats);
  EXPECT_EQ((ProductBy<2, false>(operands)), floats);
  EXPECT_THAT(bytes, testing::Not(testing::Contains(-1.0f)));
}

}  // namespace
}  // namespace cormorant::GPU_NAMESPACE
