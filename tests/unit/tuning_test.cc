// Tuning files, and the type of rows that is chosen with and without one.
//
// Method: files are written by the test for a tiny model, one field wrong at a time; every refusal
// must name the file and the field. Types of rows are chosen under caps for which the answer is
// known: all rows fit, some do, only those of the fewest bits do.
#include "runtime/engine/tuning.h"

#include <cstdio>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "runtime/engine/engine.h"
#include "runtime/engine/row_type.h"
#include "tests/golden/tiny_model.h"

namespace cormorant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TinyModel;
using testing::TinyModelOptions;
using Json = nlohmann::json;

class TuningFile : public ::testing::Test {
 protected:
  TuningFile() : path_(TuningPathOf(tiny_.path())) {
    model_ = *ModelFile::Open(tiny_.path());
    good_ = {{"format", 1},
             {"fingerprint", FingerprintOf(model_->gguf())},
             {"policy", "corm"},
             {"beats_untuned", true},
             {"options", {{"scale", 2.0}, {"reach", 32}}},
             {"head_weights", {{1.0, 2.0}, {0.5, 1.5}}},
             {"row_losses", Json::array()}};
  }
  ~TuningFile() override { std::remove(path_.c_str()); }

  void Write(const Json& file) { std::ofstream(path_) << file.dump(); }
  absl::StatusOr<std::optional<Tuning>> Open(const std::string& choice) {
    return OpenTuning(choice, tiny_.path(), *model_);
  }
  /// Refused by name with these words; with "auto" as good as none.
  void ExpectRefused(const std::string& words) {
    const absl::Status status = Open(path_).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(words));
    EXPECT_THAT(std::string(status.message()), HasSubstr(path_));
    const auto by_itself = Open("auto");
    ASSERT_TRUE(by_itself.ok()) << by_itself.status();
    EXPECT_FALSE(by_itself->has_value());
  }

  const TinyModel tiny_;
  const std::string path_;
  std::unique_ptr<ModelFile> model_;
  Json good_;
};

TEST_F(TuningFile, IsReadByNameAndBesideTheModel) {
  Write(good_);
  for (const std::string& choice : {path_, std::string("auto")}) {
    const auto tuning = Open(choice);
    ASSERT_TRUE(tuning.ok()) << tuning.status();
    ASSERT_TRUE(tuning->has_value());
    EXPECT_EQ((*tuning)->path, path_);
    EXPECT_EQ((*tuning)->policy, "corm");
    EXPECT_TRUE((*tuning)->beats_untuned);
    EXPECT_EQ((*tuning)->importance_scale, 2.0f);
    EXPECT_EQ((*tuning)->reach, 32u);
    EXPECT_FALSE((*tuning)->fade.has_value());
    EXPECT_THAT((*tuning)->head_weights, ElementsAre(1.0f, 2.0f, 0.5f, 1.5f));
  }
  EXPECT_FALSE(Open("")->has_value());
}

TEST_F(TuningFile, ThatIsNotThereIsAnErrorOnlyWhenNamed) {
  EXPECT_TRUE(absl::IsNotFound(Open(path_).status()));
  ASSERT_TRUE(Open("auto").ok());
  EXPECT_FALSE(Open("auto")->has_value());
}

TEST_F(TuningFile, ThatDoesNotFitIsRefusedByField) {
  const auto with = [&](const char* field, const Json& value) {
    Json file = good_;
    file[field] = value;
    Write(file);
  };
  std::ofstream(path_) << "{\"format\": 1,";
  ExpectRefused("no JSON object");
  with("format", 2);
  ExpectRefused("format 1");
  with("fingerprint", "0123456789abcdef");
  ExpectRefused("0123456789abcdef");
  with("policy", "dodo");
  ExpectRefused("dodo");
  with("head_weights", {{1.0, 2.0}});
  ExpectRefused("head_weights");
  with("head_weights", {{1.0, 2.0}, {1.0}});
  ExpectRefused("head_weights");
  with("head_weights", {{1.0, 2.0}, {1.0, "2"}});
  ExpectRefused("head_weights");
  with("head_weights", {{1.0, 2.0}, {1.0, 17.0}});
  ExpectRefused("17");
  with("options", {{"reach", 5000}});
  ExpectRefused("reach");
  with("options", {{"scale", 0}});
  ExpectRefused("scale");
  with("row_losses", {{{"kv_type", "f16"}, {"fraction", 0.5}}});
  ExpectRefused("kl");
  with("row_losses", 7);
  ExpectRefused("row_losses");
}

TEST(Tuning, LossesAreInterpolatedInTheLogarithmOfTheFraction) {
  Tuning tuning;
  tuning.row_losses = {{"f16", 0.25, 0.3}, {"f16", 1.0, 0.1}, {"q8_0", 0.5, 0.7}};
  EXPECT_DOUBLE_EQ(*tuning.LossOf("f16", 0.5), 0.2);  // Half-way from 1/4 to 1.
  EXPECT_DOUBLE_EQ(*tuning.LossOf("f16", 0.25), 0.3);
  EXPECT_FALSE(tuning.LossOf("f16", 0.24).has_value());
  EXPECT_DOUBLE_EQ(*tuning.LossOf("f16", 2.0), 0.1);
  EXPECT_DOUBLE_EQ(*tuning.LossOf("q8_0", 0.6), 0.7);
  EXPECT_FALSE(tuning.LossOf("q4_0", 0.5).has_value());
}

class RowType : public ::testing::Test {
 protected:
  RowType() { Load({}); }

  void Load(const TinyModelOptions& model) {
    tiny_ = std::make_unique<TinyModel>(model);
    options.model_path = tiny_->path();
    options.backend = "cpu";
    options.threads = 1;
    options.kv_type = "auto";
    model_ = *ModelFile::Open(tiny_->path());
  }
  absl::StatusOr<EnginePlan> Plan() {
    return PlanOnThisMachine(options, *model_, tuning.row_losses.empty() ? nullptr : &tuning);
  }
  std::string Chosen() {
    const absl::StatusOr<EnginePlan> plan = Plan();
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() ? plan->kv_type : "";
  }
  /// A cap at this share of what all rows of the context take as f16.
  void CapAt(double fraction) {
    options.kv_cap_bytes = static_cast<uint64_t>(
        fraction * static_cast<double>(uint64_t{tiny_->kv_head_total()} * F16RowBytes(32) * 512));
  }

  EngineOptions options;
  Tuning tuning;

 private:
  std::unique_ptr<TinyModel> tiny_;
  std::unique_ptr<ModelFile> model_;
};

TEST_F(RowType, WithoutMeasuresIsF16WhereAllRowsFitElseQ8) {
  EXPECT_EQ(Chosen(), "f16");
  CapAt(2.0);
  EXPECT_EQ(Chosen(), "f16");
  CapAt(0.9);
  EXPECT_EQ(Chosen(), "q8_0");
  EXPECT_EQ(Plan()->geometry.k_type, DType::kQ8_0);
  // Sessions share the cap.
  CapAt(2.0);
  options.max_sessions = 2;
  EXPECT_EQ(Chosen(), "q8_0");
}

TEST_F(RowType, OfFewerBitsIsTakenWhereNothingElseFits) {
  options.prefill_chunk = 256;
  std::string last = "q8_0";
  std::vector<std::string> seen = {last};
  for (double fraction = 1.0;; fraction -= 0.01) {
    CapAt(fraction);
    const absl::StatusOr<EnginePlan> plan = Plan();
    if (!plan.ok()) {
      EXPECT_TRUE(absl::IsResourceExhausted(plan.status())) << plan.status();
      break;
    }
    if (plan->kv_type != last) seen.push_back(last = plan->kv_type);
  }
  EXPECT_THAT(seen, ElementsAre("q8_0", "q8_0:q4_0", "q4_0"));
}

TEST_F(RowType, OfNarrowHeadsIsF16) {
  Load({.head_dim = 20});
  CapAt(0.5);
  EXPECT_EQ(Chosen(), "f16");
}

TEST_F(RowType, IsTheOneThatLostLeastAtTheCapsFraction) {
  tuning.row_losses = {{"f16", 0.25, 0.4},      {"f16", 1.0, 0.0},   {"q8_0", 0.25, 0.2},
                       {"q8_0", 1.0, 0.1},      {"q4_0", 0.25, 0.1}, {"q4_0", 1.0, 0.3},
                       {"q8_0:q4_0", 0.25, 0.5}};
  EXPECT_EQ(Chosen(), "f16");
  CapAt(0.7);  // f16 0.10, q8_0 0.13, q4_0 0.25.
  EXPECT_EQ(Chosen(), "f16");
  CapAt(0.45);  // f16 0.23, q8_0 0.16, q4_0 0.18.
  EXPECT_EQ(Chosen(), "q8_0");
  CapAt(0.3);  // f16 0.35, q8_0 0.19, q4_0 0.13.
  EXPECT_EQ(Chosen(), "q4_0");
  // With a type that was measured with more room alone, as without measures.
  tuning.row_losses.back().fraction = 0.35;
  EXPECT_EQ(Chosen(), "q8_0");
}

}  // namespace
}  // namespace cormorant
