// Owners of C handles and the test model, for the tests of the C API.
#pragma once
#include <cstdlib>
#include <memory>
#include <string>

#include "cormorant/cormorant.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace api_test {

struct Destroy {
  void operator()(corm_engine* engine) const { corm_engine_destroy(engine); }
  void operator()(corm_session* session) const { corm_session_destroy(session); }
  void operator()(corm_tokenizer* tokenizer) const { corm_tokenizer_destroy(tokenizer); }
};
using EnginePtr = std::unique_ptr<corm_engine, Destroy>;
using SessionPtr = std::unique_ptr<corm_session, Destroy>;
using TokenizerPtr = std::unique_ptr<corm_tokenizer, Destroy>;

/// Fails the test, with the library's message, unless `call` is CORM_OK.
#define EXPECT_CORM_OK(call) EXPECT_EQ(call, CORM_OK) << corm_last_error()
#define ASSERT_CORM_OK(call) ASSERT_EQ(call, CORM_OK) << corm_last_error()

/// The path in CORMORANT_TEST_MODEL, or "".
inline std::string ModelPath() {
  const char* path = std::getenv("CORMORANT_TEST_MODEL");
  return path == nullptr ? "" : path;
}

/// The backend that is compared with the CPU's: CORMORANT_TEST_BACKEND, or Vulkan.
inline const char* TestBackend() {
  const char* name = std::getenv("CORMORANT_TEST_BACKEND");
  return name == nullptr ? "vulkan" : name;
}

#define SKIP_WITHOUT_MODEL()                                                     \
  if (api_test::ModelPath().empty()) {                                           \
    GTEST_SKIP() << "CORMORANT_TEST_MODEL names no model (a SmolLM2 GGUF file)"; \
  }

/// The text a call returned through `char**`, freed.
inline std::string Take(char* text) {
  const std::string copy = text == nullptr ? "" : text;
  corm_text_free(text);
  return copy;
}

}  // namespace api_test
