// Dequantize() against the `gguf` Python package, bit for bit.
//
// Method: tests/golden/quant_vectors.gguf holds stored blocks and the values the package makes of
// them: all quants, under scales that are zero, subnormal, the largest, infinite and NaN
// (make_quant_vectors.py, which also says how to make it again). Any NaN equals any NaN.
#include "runtime/format/dequantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
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
  ASSERT_EQ(stored->elements(), 384u);

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
                         ::testing::Values("F16", "BF16", "Q8_0", "Q4_0", "Q4_1"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Dequantize, WritesOnlyWhatItWasAsked) {
  const std::vector<std::byte> zeros(1024);
  for (const DType type :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1}) {
    std::vector<float> to(128, 7.0f);
    Dequantize(type, zeros.data(), 0, to.data());
    EXPECT_EQ(to[0], 7.0f);
    Dequantize(type, zeros.data(), 64, to.data());
    for (size_t i = 0; i < 64; ++i) EXPECT_EQ(to[i], 0.0f);
    for (size_t i = 64; i < 128; ++i) EXPECT_EQ(to[i], 7.0f) << Info(type).name << " wrote past";
  }
}

}  // namespace
}  // namespace cormorant
