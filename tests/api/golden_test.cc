// Logits of SmolLM2 against exact arithmetic by an independent implementation.
//
// Method: tests/golden/logits.json (make_logits.py: numpy, f64, no cache) holds the likeliest
// tokens at each place of a text with their log-probabilities; what is left is one more event. The
// KL divergence between these coarse distributions is at most the true one. Both ways through the
// runtime are taken: the text as one prompt, and one token a step. Those called "device" go through
// the backend in CORMORANT_TEST_BACKEND.
#include <cmath>
#include <cstdlib>
#include <fstream>

#include "nlohmann/json.hpp"
#include "tests/api/session_fixture.h"

namespace api_test {
namespace {

struct Likeliest {
  std::vector<uint32_t> ids;
  std::vector<double> log_p;
};

/// What the runtime's logits came to, over all places.
struct Comparison {
  std::vector<Likeliest> exact;
  size_t rows = 0, first_choices = 0;
  double divergence = 0.0;
};

int Compare(void* user, size_t index, const float* logits, size_t vocab) {
  Comparison& comparison = *static_cast<Comparison*>(user);
  const Likeliest& exact = comparison.exact[index];
  const float* best = std::max_element(logits, logits + vocab);
  double sum = 0.0;
  for (size_t i = 0; i < vocab; ++i) sum += std::exp(double{logits[i]} - double{*best});
  double rest_exact = 1.0, rest = 1.0;
  for (size_t i = 0; i < exact.ids.size(); ++i) {
    const double p = std::exp(exact.log_p[i]);
    const double log_q = double{logits[exact.ids[i]]} - double{*best} - std::log(sum);
    comparison.divergence += p * (exact.log_p[i] - log_q);
    rest_exact -= p;
    rest -= std::exp(log_q);
  }
  if (rest_exact > 1e-6) comparison.divergence += rest_exact * std::log(rest_exact / rest);
  ++comparison.rows;
  if (static_cast<uint32_t>(best - logits) == exact.ids[0]) ++comparison.first_choices;
  return 0;
}

struct Way {
  const char* name;
  const char* backend;   // Empty: TestBackend().
  const char* variable;  // Of the environment; empty: none.
  const char* value;
  const char* kv_type;
  int all_logits;
  double divergence_most;
  uint64_t memory_cap = 0;             // 0: none.
  double first_choices_least = 0.985;  // Of all.
};
void PrintTo(const Way& way, std::ostream* to) {
  *to << way.name;
}

class Golden : public ApiModel, public ::testing::WithParamInterface<Way> {
 protected:
  void TearDown() override {
    unsetenv("CORMORANT_CPU");
    unsetenv("CORMORANT_VULKAN_DISABLE");
    unsetenv("CORMORANT_VULKAN_SHUFFLE");
  }
};

TEST_P(Golden, LogitsAreThoseOfExactArithmetic) {
  const Way& way = GetParam();
  std::ifstream file(std::string(CORMORANT_TEST_DIR) + "/golden/logits.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  Comparison comparison;
  for (const auto& row : golden["rows"]) {
    comparison.exact.push_back(
        {row["ids"].get<std::vector<uint32_t>>(), row["log_p"].get<std::vector<double>>()});
  }
  const auto ids = golden["ids"].get<std::vector<uint32_t>>();
  if (*way.variable != '\0') setenv(way.variable, way.value, 1);
  options.backend = *way.backend != '\0' ? way.backend : TestBackend();
  options.kv_type = way.kv_type;
  options.all_logits = way.all_logits;
  options.memory_cap_bytes = way.memory_cap;
  if (!TryOpen()) GTEST_SKIP() << corm_last_error();
  EXPECT_EQ(Encode(golden["text"].get<std::string>()), ids);
  ASSERT_CORM_OK(corm_session_score(session.get(), ids.data(), ids.size(), Compare, &comparison));
  ASSERT_EQ(comparison.rows, ids.size());
  const double divergence = comparison.divergence / static_cast<double>(ids.size());
  std::printf("KL %.3g, first choices %zu of %zu\n", divergence, comparison.first_choices,
              comparison.rows);
  EXPECT_LE(divergence, way.divergence_most);
  EXPECT_GE(static_cast<double>(comparison.first_choices),
            way.first_choices_least * static_cast<double>(ids.size()));
}

// Rows of the cache are f16 in all of them; q8_0 rows cost 4e-4 (design figure), bounded at twice,
// and q4_0 rows cost 0.022, their values alone 0.004, bounded at twice too (docs/decisions/0013).
constexpr Way kWays[] = {
    {"reference", "reference", "", "", "f16", 1, 1e-5},
    {"portable", "cpu", "CORMORANT_CPU", "portable", "f16", 1, 1e-5},
    {"avx2", "cpu", "CORMORANT_CPU", "avx2", "f16", 1, 1e-5},
    {"avx512", "cpu", "CORMORANT_CPU", "avx512", "f16", 1, 1e-5},
    {"neon", "cpu", "CORMORANT_CPU", "neon", "f16", 1, 1e-5},
    {"step_by_step", "cpu", "", "", "f16", 0, 1e-5},
    {"q8_rows", "cpu", "", "", "q8_0", 1, 8e-4},
    {"q4_values", "cpu", "", "", "q8_0:q4_0", 1, 8e-3, 0, 0.94},
    {"q4_rows", "cpu", "", "", "q4_0", 1, 0.045, 0, 0.8},
    {"q8_rows_step_by_step", "cpu", "", "", "q8_0", 0, 8e-4},
    {"device", "", "", "", "f16", 1, 1e-5},
    {"device_step_by_step", "", "", "", "f16", 0, 1e-5},
    {"device_q8_rows", "", "", "", "q8_0", 1, 8e-4},
    {"device_q4_rows", "", "", "", "q4_0", 1, 0.045, 0, 0.8},
    {"device_and_cpu", "", "", "", "f16", 1, 1e-5, 80u << 20},
    {"vulkan_as_on_a_gpu", "vulkan", "CORMORANT_VULKAN_DISABLE", "cpu,uma,integer_dot", "f16", 1,
     1e-5},
    {"vulkan_byte_dots", "vulkan", "CORMORANT_VULKAN_DISABLE", "cpu", "f16", 1, 1e-5},
    {"vulkan_shuffled", "vulkan", "CORMORANT_VULKAN_SHUFFLE", "3", "f16", 1, 1e-5},
};
INSTANTIATE_TEST_SUITE_P(Way, Golden, ::testing::ValuesIn(kWays),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace api_test
