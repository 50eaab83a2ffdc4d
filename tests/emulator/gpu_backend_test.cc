// What backends/gpu does when memory ends or the device is lost: a status, and nothing is left.
//
// Method: a small step (embedding, norm, matmul, output) is loaded, compiled and replayed on an
// emulator whose runtime fails at one call, for every call in turn; and under every cap of memory
// between none and enough.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <vector>

#include "backends/backend.h"
#include "runtime/base/status.h"
#include "runtime/ops/step.h"
#include "runtime/ops/tape.h"
#include "tests/emulator/api.h"
#include "tests/emulator/backends.h"

namespace cormorant {
namespace {

constexpr uint32_t kWidth = 64, kVocabulary = 40;

/// y = w * norm(table[1]); with all numbers 1 each element is the width.
struct SmallStep {
  SmallStep() : numbers(kWidth * kVocabulary, 1.0f), step({}) {
    TapeBuilder builder(1, 1);
    const auto weight = [&](std::array<uint32_t, 3> shape) {
      Tensor tensor;
      tensor.region = Region::kWeights;
      tensor.shape = shape;
      tensor.offset = weights.size();
      HostTensor& host = weights.emplace_back();
      host.shape = shape;
      host.data = reinterpret_cast<const std::byte*>(numbers.data());
      return tensor;
    };
    const Tensor x = builder.Temp({1, kWidth, 1}), n = builder.Temp({1, kWidth, 1});
    y = builder.Out(DType::kF32, {1, kVocabulary, 1});
    builder.Add(EmbedOp{x, weight({kVocabulary, kWidth, 1})});
    builder.Add(RmsNormOp{n, x, weight({kWidth, 1, 1}), 1e-8f});
    builder.Add(MatMulOp{y, n, weight({kVocabulary, kWidth, 1})});
    tape = std::move(builder).Finish();
    step.header().rows = step.header().out_rows = 1;
    step.ids()[0] = 1;
  }

  absl::Status Run(const BackendDef& def) {
    CORM_ASSIGN_OR_RETURN(const auto backend, def.open({}));
    CORM_ASSIGN_OR_RETURN(const auto arena, backend->Allocate(tape.arena_bytes));
    CORM_ASSIGN_OR_RETURN(const auto out, backend->Allocate(tape.out_bytes));
    CORM_ASSIGN_OR_RETURN(const auto loaded, backend->LoadWeights(weights, tape, nullptr));
    const Bindings bindings{loaded.get(), arena.get(), out.get(), nullptr, step.bytes().size()};
    CORM_ASSIGN_OR_RETURN(const auto plan, backend->Compile(tape, bindings));
    for (int i = 0; i < 2; ++i) {
      CORM_ASSIGN_OR_RETURN(const Tick tick, backend->Submit(*plan, step.bytes()));
      CORM_RETURN_IF_ERROR(backend->Wait(tick));
    }
    std::vector<float> got(kVocabulary);
    CORM_RETURN_IF_ERROR(backend->Download(std::as_writable_bytes(std::span(got)), *out, y.offset));
    for (const float number : got) EXPECT_NEAR(number, kWidth, 1e-4);
    return absl::OkStatus();
  }

  std::vector<float> numbers;
  std::vector<HostTensor> weights;
  Tape tape;
  Tensor y;
  StepBuffer step;
};

const BackendDef& Emulator() {
  return *emulator::BackendDefs()[1];
}

TEST(GpuBackend, SurvivesALossAtEveryCall) {
  SmallStep small;
  ASSERT_TRUE(small.Run(Emulator()).ok());
  bool was_lost = true;
  for (uint64_t calls = 1; was_lost; ++calls) {
    ASSERT_LT(calls, 1000u);
    emulator::api::LoseAfter(calls);
    const absl::Status status = small.Run(Emulator());
    was_lost = emulator::api::LoseAfter(0);
    // A loss while things are given back is nobody's any more.
    EXPECT_TRUE(status.ok() || absl::IsUnavailable(status)) << calls << ": " << status;
    EXPECT_EQ(emulator::api::HeldBytes(), 0u) << calls;
  }
}

TEST(GpuBackend, SaysWhenMemoryEnds) {
  SmallStep small;
  bool was_enough = false;
  for (size_t cap = 256; !was_enough; cap += 1024) {
    ASSERT_LT(cap, 1u << 20);
    emulator::api::SetMemoryCap(cap);
    const absl::Status status = small.Run(Emulator());
    was_enough = status.ok();
    EXPECT_TRUE(status.ok() || absl::IsResourceExhausted(status)) << status;
    EXPECT_EQ(emulator::api::HeldBytes(), 0u);
  }
  emulator::api::SetMemoryCap(0);
}

}  // namespace
}  // namespace cormorant
