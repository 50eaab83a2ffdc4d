// Dequantize() against the `gguf` Python package, bit for bit.
//
// Method: tests/golden/quant_vectors.gguf holds stored blocks and the values the package makes of
// them: all quants, under scales that are zero, subnormal, the largest, infinite and NaN
// (make_quant_vectors.py, which also says how to make it again). Any NaN equals any NaN.
#include "runtime/format/dequantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/format/gguf.h"

namespace cormorant {
namespace {

class DequantizeTest : public ::testing::TestWithParam<const char*> {};

/// Compares element by element; says which differs.
void ExpectSameBits(const std::vector<float>& got, const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) && std::isnan(want[i])) continue;
    EXPECT_EQ(std::bit_cast<uint32_t>(got[i]), std::bit_cast<uint32_t>(want[i]))
        << "element " << i << ": got " << got[i] << ", want " << want[i];
  }
}

TEST_P(DequantizeTest, AgreesWithThePackage) {
  const auto opened = GgufFile::Open(CORMORANT_TEST_DIR "/golden/quant_vectors.gguf");
  ASSERT_TRUE(opened.ok()) << opened.status();
  const GgufFile& file = **opened;
  const std::string name = GetParam();
  const GgufTensor* stored = file.FindTensor(name);
  const GgufTensor* expected = file.FindTensor(name + ".f32");
  ASSERT_TRUE(stored != nullptr && expected != nullptr);
  const std::optional<DType> type = ComputeType(stored->type);
  ASSERT_TRUE(type.has_value());
  ASSERT_EQ(stored->elements(), 12 * std::max(Info(*type).block, 32u));

  std::vector<float> want(expected->elements());
  Dequantize(DType::kF32, file.Data(*expected).data(), want.size(), want.data());
  size_t finite = 0;
  for (const float value : want) finite += std::isfinite(value);
  EXPECT_GE(finite, want.size() / 2);  // The cases are hard, not hopeless.

  std::vector<float> got(want.size());
  Dequantize(*type, file.Data(*stored).data(), got.size(), got.data());
  ExpectSameBits(got, want);

  // The same from an odd address.
  std::vector<std::byte> shifted(stored->bytes + 1);
  std::copy_n(file.Data(*stored).data(), stored->bytes, shifted.data() + 1);
  std::fill(got.begin(), got.end(), -1.0f);
  Dequantize(*type, shifted.data() + 1, got.size(), got.data());
  ExpectSameBits(got, want);
}

INSTANTIATE_TEST_SUITE_P(Types, DequantizeTest,
                         ::testing::Values("F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1",
                                           "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ1_S", "IQ1_M",
                                           "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S",
                                           "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Dequantize, WritesOnlyWhatItWasAsked) {
  const std::vector<std::byte> zeros(4096);
  for (uint32_t i = 0; i < kDTypes; ++i) {
    const DType type = static_cast<DType>(i);
    if (type == DType::kU32) continue;  // No weight type.
    std::vector<float> to(640, 7.0f);
    Dequantize(type, zeros.data(), 0, to.data());
    EXPECT_EQ(to[0], 7.0f);
    Dequantize(type, zeros.data(), 512, to.data());
    EXPECT_EQ(std::count(to.begin() + 512, to.end(), 7.0f), 128)
        << Info(type).name << " wrote past";
    EXPECT_EQ(std::count(to.begin(), to.begin() + 512, 7.0f), 0) << Info(type).name;
  }
}

/// A block of each kind by hand, from the layouts in blocks.h.
TEST(Dequantize, HandComputedBlocks) {
  const auto value = [](const auto& block, DType type, uint32_t i) {
    float to[kBlockElementsMost];
    Dequantize(type, reinterpret_cast<const std::byte*>(&block), Info(type).block, to);
    return to[i];
  };
  constexpr uint16_t kOne = 0x3c00, kTwo = 0x4000;
  BlockQ5_1 q5_1{kTwo, kOne, {}, {}};
  q5_1.high[2] = 8;  // Element 19.
  q5_1.q[3] = 0x50;
  EXPECT_EQ(value(q5_1, DType::kQ5_1, 19), (16 + 5) * 2.0f + 1.0f);
  BlockQ4_K q4_k{kTwo, kOne, {}, {}};
  q4_k.scales[1] = 0xc0;  // Part 5: 4 bits in byte 9, 2 bits here.
  q4_k.scales[9] = 0x23;
  q4_k.q[64 + 7] = 0xb0;  // The third run of 64: high nibbles are part 5.
  EXPECT_EQ(value(q4_k, DType::kQ4_K, 5 * 32 + 7), 11 * 2.0f * (3 + 48) - 2.0f);
  BlockQ6_K q6_k{};
  q6_k.d = kTwo;
  q6_k.scales[14] = -3;
  q6_k.low[64 + 32 + 5] = 0x90;  // Element 128 + 64 + 32 + 5.
  q6_k.high[32 + 5] = 0x40;      // Its two bits are the highest.
  EXPECT_EQ(value(q6_k, DType::kQ6_K, 229), (9 + 16 - 32) * 2.0f * -3);
  BlockMXFP4 mxfp4{129, {}};
  mxfp4.q[4] = 0x0f;
  EXPECT_EQ(value(mxfp4, DType::kMXFP4, 4), -6.0f * 4.0f);
  BlockTQ1_0 tq1_0{};
  tq1_0.d = kTwo;
  tq1_0.rest[1] = 200;  // 200 / 256 is 0.2100.. in base 3.
  EXPECT_EQ(value(tq1_0, DType::kTQ1_0, 241), 2.0f);
  EXPECT_EQ(value(tq1_0, DType::kTQ1_0, 245), 0.0f);
  EXPECT_EQ(value(tq1_0, DType::kTQ1_0, 249), -2.0f);
  BlockIQ2_XXS iq2{};
  iq2.d = kTwo;
  iq2.groups[1].index[2] = 1;  // The point 1: coordinates 2 0 0 0 0 0 0 0.
  const uint32_t word = 3u << 28 | 1u << 14;
  std::memcpy(iq2.groups[1].signs, &word, 4);
  EXPECT_EQ(value(iq2, DType::kIQ2_XXS, 48), -43 * 2.0f * 3.5f / 4);
  EXPECT_EQ(value(iq2, DType::kIQ2_XXS, 55), -8 * 2.0f * 3.5f / 4);  // The eighth sign: two in all.
}

}  // namespace
}  // namespace cormorant
