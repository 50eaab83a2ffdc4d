// What the simulations of the engine share: opening it, and what must hold between any two steps.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "runtime/engine/engine.h"
#include "runtime/engine/session.h"
#include "tests/golden/tiny_model.h"

namespace cormorant::sim {

using testing::TinyModel;
using testing::TinyModelOptions;

/// One thread: more only wait for each other where tests run side by side.
EngineOptions Options(const TinyModel& model, const std::string& backend);
/// An engine, or null and a test failure.
std::shared_ptr<Engine> Open(const EngineOptions& options);
absl::StatusOr<std::shared_ptr<Engine>> TryOpen(const EngineOptions& options);
/// A session, or null and a test failure.
std::unique_ptr<Session> MakeSession(const std::shared_ptr<Engine>& engine,
                                     const SessionOptions& options);
std::unique_ptr<Session> MakeSession(const std::shared_ptr<Engine>& engine,
                                     const std::string& policy);

/// A cap on the KV store that leaves `pages_per_head` pages a head, metadata on top.
uint64_t KvCap(const TinyModel& model, const EngineOptions& options, uint32_t pages_per_head);

std::vector<uint32_t> RandomIds(std::mt19937& random, size_t count, uint32_t vocab);
GenerateOptions Greedy(uint64_t max_tokens);
/// The same tokens, by a sampler that must see all logits: a penalty that lifts, on no token.
GenerateOptions GreedyOverAll(uint64_t max_tokens);

absl::Status Append(Session& session, std::span<const uint32_t> ids, bool pin = false);
/// The ids that generation adds; greedy unless options say otherwise.
std::vector<uint32_t> Continue(Session& session, const GenerateOptions& options);
std::vector<uint32_t> Continue(Session& session, uint64_t max_tokens);
/// Logits after every token of ids.
std::vector<float> Score(Session& session, std::span<const uint32_t> ids);

bool AllFinite(std::span<const float> values);

/// Caps, ledger, pages and counts of an engine and of all its sessions. Null sessions are skipped.
void CheckInvariants(const Engine& engine, std::span<const Session* const> sessions);
/// Positions that each head of a session holds.
std::vector<std::vector<uint32_t>> RowsOf(const Session& session);
/// Pages a session holds, by its own statistics.
uint64_t PagesOf(const Session& session);

/// Runs a suite on both backends of the build.
#define CORM_ON_BACKENDS(Suite)                                              \
  INSTANTIATE_TEST_SUITE_P(On, Suite, ::testing::Values("cpu", "reference"), \
                           [](const auto& info) { return std::string(info.param); })

}  // namespace cormorant::sim
