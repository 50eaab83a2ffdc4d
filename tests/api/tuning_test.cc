// Head weights, tuning files and rows of type "auto" through the C API, on a real model.
//
// Method: what a session drops shows in the logits of what it reads next and in the rows of its
// layers. The same weights must come to the same from a file and from the session's own options.
#include <cmath>
#include <cstdio>
#include <fstream>
#include <string>

#include "nlohmann/json.hpp"
#include "tests/api/session_fixture.h"

namespace api_test {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr uint32_t kLayers = 30, kKvHeads = 3;

class ApiTuning : public ApiModel {
 protected:
  void SetUp() override {
    ApiModel::SetUp();
    if (IsSkipped()) return;
    options.threads = 2;
    options.kv_type = "q8_0";
    options.kv_cap_bytes = 2 << 20;
    path_ = ::testing::TempDir() + "cormorant.tuning.json";
  }
  void TearDown() override { std::remove(path_.c_str()); }

  /// The last logits after a text that does not fit the cap.
  std::vector<float> Read() {
    Open();
    Append(Tokens(299));
    std::vector<float> last;
    const auto keep = [](void* user, size_t, const float* logits, size_t vocab) {
      static_cast<std::vector<float>*>(user)->assign(logits, logits + vocab);
      return 0;
    };
    const uint32_t id = 17;
    EXPECT_CORM_OK(corm_session_score(session.get(), &id, 1, keep, &last));
    EXPECT_GT(Stats().evicted_total, 0u);
    return last;
  }
  std::vector<double> LayerRows() {
    std::vector<double> rows(kLayers);
    EXPECT_CORM_OK(corm_session_get_layer_rows(session.get(), rows.data(), rows.size()));
    return rows;
  }
  Json Fitting() {
    char* text = nullptr;
    EXPECT_CORM_OK(corm_inspect(&options, &text));
    const Json model = Json::parse(text);
    corm_text_free(text);
    return {{"format", 1}, {"fingerprint", model.at("fingerprint")}, {"policy", "corm"}};
  }
  void Write(const Json& file) {
    std::ofstream(path_) << file.dump();
    options.tuning_path = path_.c_str();
  }

  std::string path_;
};

TEST_F(ApiTuning, HeadWeightsMoveRowsBetweenLayers) {
  const std::vector<float> without = Read();
  const std::vector<double> rows = LayerRows();
  std::vector<float> weights(kLayers * kKvHeads, 1.0f);
  session_options.head_weights = weights.data();
  session_options.head_weight_count = weights.size();
  EXPECT_EQ(Read(), without);  // To the bit.
  for (uint32_t h = 0; h < kKvHeads; ++h) weights[4 * kKvHeads + h] = 2.0f;
  for (uint32_t h = 0; h < kKvHeads; ++h) weights[25 * kKvHeads + h] = 0.5f;
  EXPECT_NE(Read(), without);
  const std::vector<double> moved = LayerRows();
  EXPECT_LT(moved[4], rows[4]);
  EXPECT_GT(moved[25], rows[25]);
}

TEST_F(ApiTuning, ATuningDoesWhatOptionsDo) {
  std::vector<float> weights(kLayers * kKvHeads);
  Json file = Fitting();
  file["options"] = {{"scale", 2.0}, {"reach", 16}, {"fade", 8}};
  for (uint32_t h = 0; h < weights.size(); ++h) {
    weights[h] = h % 2 == 0 ? 1.25f : 0.75f;
    if (h % kKvHeads == 0) file["head_weights"].push_back(Json::array());
    file["head_weights"].back().push_back(weights[h]);
  }
  const std::vector<float> untuned = Read();
  Write(file);
  const std::vector<float> tuned = Read();
  EXPECT_NE(tuned, untuned);
  corm_engine_info info;
  corm_engine_info_init(&info);
  ASSERT_CORM_OK(corm_engine_get_info(engine.get(), &info));
  EXPECT_EQ(info.tuning, path_);
  EXPECT_STREQ(info.kv_type, "q8_0");
  // What a session asks for itself goes before.
  session_options.reach = 64;
  EXPECT_NE(Read(), tuned);
  session_options.reach = -1;
  // A tuning is for its policy alone.
  session_options.policy = "window";
  const std::vector<float> window = Read();
  options.tuning_path = nullptr;
  EXPECT_EQ(Read(), window);
  session_options.policy = nullptr;
  session_options.importance_scale = 2.0f;
  session_options.reach = 16;
  session_options.fade = 8;
  session_options.head_weights = weights.data();
  session_options.head_weight_count = weights.size();
  EXPECT_EQ(Read(), tuned);
  ASSERT_CORM_OK(corm_engine_get_info(engine.get(), &info));
  EXPECT_STREQ(info.tuning, "");
}

TEST_F(ApiTuning, WrongWeightsAreRefused) {
  OpenEngine();
  std::vector<float> weights(kLayers * kKvHeads, 1.0f);
  corm_session* none = nullptr;
  const auto refused = [&](const char* words) {
    EXPECT_EQ(corm_session_create(engine.get(), &session_options, &none), CORM_INVALID_ARGUMENT);
    EXPECT_THAT(corm_last_error(), HasSubstr(words));
  };
  session_options.head_weight_count = weights.size();
  refused("NULL");
  session_options.head_weights = weights.data();
  session_options.head_weight_count = weights.size() - 1;
  refused("89 head weights");
  session_options.head_weight_count = weights.size();
  for (const float wrong : {0.0f, -1.0f, 17.0f, NAN}) {
    weights[5] = wrong;
    refused("a head weight is");
  }
  weights[5] = 1.0f;
  session_options.policy = "h2o";
  refused("h2o");
}

TEST_F(ApiTuning, AFileForAnotherModelIsRefusedWhenNamed) {
  Json file = Fitting();
  file["fingerprint"] = "0000000000000000";
  Write(file);
  corm_engine* none = nullptr;
  EXPECT_EQ(corm_engine_create(&options, &none), CORM_INVALID_ARGUMENT);
  EXPECT_THAT(corm_last_error(), HasSubstr("0000000000000000"));
  options.tuning_path = "/nonexistent/tuning.json";
  EXPECT_EQ(corm_engine_create(&options, &none), CORM_NOT_FOUND);
}

TEST_F(ApiTuning, RowsOfTypeAutoFollowTheCapAndTheMeasures) {
  options.kv_type = "auto";
  corm_engine_info info;
  const auto type = [&] {
    OpenEngine();
    corm_engine_info_init(&info);
    EXPECT_CORM_OK(corm_engine_get_info(engine.get(), &info));
    return std::string(info.kv_type);
  };
  EXPECT_EQ(type(), "q8_0");
  options.kv_cap_bytes = 0;
  EXPECT_EQ(type(), "f16");
  Json file = Fitting();
  file["row_losses"] = {{{"kv_type", "q4_0"}, {"fraction", 1.0}, {"kl", 0.1}},
                        {{"kv_type", "q8_0"}, {"fraction", 1.0}, {"kl", 0.3}},
                        {{"kv_type", "q8_0:q4_0"}, {"fraction", 1.0}, {"kl", 0.4}},
                        {{"kv_type", "f16"}, {"fraction", 1.0}, {"kl", 0.2}}};
  Write(file);
  EXPECT_EQ(type(), "q4_0");
}

}  // namespace
}  // namespace api_test
