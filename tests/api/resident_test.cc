// Which rows stay: over a whole conversation under a cap, another backend keeps what the CPU keeps.
//
// Method: the README as a conversation, turns read at once and answers token by token, on the CPU
// and on CORMORANT_TEST_BACKEND with the real model under a cap that holds a third of it. Given the
// same scores CORM leaves the same rows (conformance tests); here scores differ in their last bits,
// stamps at the threshold with them, and what follows from those.
#include <algorithm>
#include <fstream>
#include <iterator>

#include "tests/api/session_fixture.h"

namespace api_test {
namespace {

constexpr uint32_t kTurns = 5, kPromptTokens = 120, kAnswerTokens = 6;

class Resident : public ApiModel {
 protected:
  /// Positions each head is left with, [layer * kv_heads + kv_head]; none without the backend.
  std::vector<std::vector<uint32_t>> Converse(const char* backend) {
    options.backend = backend;
    options.kv_cap_bytes = 6u << 20;
    if (!TryOpen()) return {};
    std::ifstream file(std::string(CORMORANT_TEST_DIR) + "/../README.md");
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    const std::vector<uint32_t> ids = Encode(text);
    EXPECT_GE(ids.size(), kTurns * (kPromptTokens + kAnswerTokens));
    auto next = ids.begin();
    for (uint32_t turn = 0; turn < kTurns; ++turn) {
      Append({next, next + kPromptTokens});
      next += kPromptTokens;
      for (uint32_t i = 0; i < kAnswerTokens; ++i) Append({*next++});
    }
    EXPECT_GT(Stats().evicted_total, 0u);
    return Positions();
  }

  std::vector<std::vector<uint32_t>> Positions() {
    corm_engine_info info;
    corm_engine_info_init(&info);
    EXPECT_CORM_OK(corm_engine_get_info(engine.get(), &info));
    std::vector<std::vector<uint32_t>> heads;
    for (uint32_t head = 0; head < info.layers * info.kv_heads; ++head) {
      const uint32_t layer = head / info.kv_heads, kv_head = head % info.kv_heads;
      size_t count = 0;
      EXPECT_CORM_OK(corm_session_get_positions(session.get(), layer, kv_head, nullptr, 0, &count));
      std::vector<uint32_t>& positions = heads.emplace_back(count);
      EXPECT_CORM_OK(corm_session_get_positions(session.get(), layer, kv_head, positions.data(),
                                                count, &count));
      EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end()));
    }
    return heads;
  }
};

TEST_F(Resident, TheDeviceKeepsTheRowsOfTheCpu) {
  const std::vector<std::vector<uint32_t>> want = Converse("cpu"), got = Converse(TestBackend());
  if (got.empty()) GTEST_SKIP() << corm_last_error();
  ASSERT_EQ(got.size(), want.size());
  size_t rows = 0, shared = 0, full = 0;
  for (size_t head = 0; head < want.size(); ++head) {
    std::vector<uint32_t> both;
    std::set_intersection(want[head].begin(), want[head].end(), got[head].begin(), got[head].end(),
                          std::back_inserter(both));
    rows += std::max(want[head].size(), got[head].size());
    shared += both.size();
    full += kTurns * (kPromptTokens + kAnswerTokens);
  }
  const double agreement = static_cast<double>(shared) / static_cast<double>(rows);
  RecordProperty("agreement", std::to_string(agreement));
  std::printf("%zu of %zu rows agree, of %zu tokens x heads\n", shared, rows, full);
  EXPECT_GE(agreement, 0.97);
  EXPECT_LT(rows, full / 2);
}

TEST_F(Resident, PositionsAreWhatIsAskedForAndWrongHeadsAreErrors) {
  ASSERT_NO_FATAL_FAILURE(Open());
  Append(Tokens(10));
  uint32_t positions[4] = {99, 99, 99, 99};
  size_t count = 0;
  ASSERT_CORM_OK(corm_session_get_positions(session.get(), 1, 2, positions, 3, &count));
  EXPECT_EQ(count, 10u);
  EXPECT_EQ(std::vector<uint32_t>(positions, positions + 4), (std::vector<uint32_t>{0, 1, 2, 99}));
  EXPECT_EQ(corm_session_get_positions(session.get(), 0, 3, positions, 3, &count),
            CORM_OUT_OF_RANGE);
  EXPECT_EQ(corm_session_get_positions(session.get(), 30, 0, positions, 3, &count),
            CORM_OUT_OF_RANGE);
  EXPECT_EQ(corm_session_get_positions(session.get(), 0, 0, positions, 3, nullptr),
            CORM_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace api_test
