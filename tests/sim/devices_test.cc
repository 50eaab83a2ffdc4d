// One model over several devices: it computes what it computes on one, inside the memory of each
// and the cap on all, and is lost and found as a whole.
//
// Method: devices are the CPU's backend under another name with little memory each, or those of the
// emulator, whose host code is that of CUDA and HIP: copies between them go from device to device.
#include <algorithm>
#include <utility>

#include "gmock/gmock.h"
#include "runtime/base/status.h"
#include "tests/sim/driver.h"
#include "tests/sim/faulty_backend.h"
#if defined(CORMORANT_EMULATORS)
#include "tests/emulator/api.h"
#include "tests/emulator/backends.h"
#endif

namespace cormorant::sim {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Gt;
using ::testing::HasSubstr;

constexpr TinyModelOptions kSevenLayers = {.layers = 7};

/// An engine on devices of the CPU's backend that have so much memory each.
struct World {
  World(const TinyModel& model, std::span<const uint64_t> memory) : options(Options(model, "cpu")) {
    // Else a device with little memory would make do with a smaller one.
    options.prefill_chunk = 32;
    for (const uint64_t bytes : memory) {
      Faults& device = *faults.emplace_back(std::make_shared<Faults>());
      device.is_host = false;
      device.may_join = true;
      device.memory_free = bytes;
    }
  }
  absl::StatusOr<std::unique_ptr<Backend>> OpenOne(size_t index) {
    ++faults[index]->openings;
    CORM_ASSIGN_OR_RETURN(std::unique_ptr<Backend> inner, OpenBackend(options));
    return std::make_unique<FaultyBackend>(std::move(inner), faults[index]);
  }
  absl::Status Open(bool has_host) {
    DeviceOpeners openers;
    openers.device = [this] { return OpenOne(0); };
    openers.others = [this] {
      std::vector<std::unique_ptr<Backend>> others;
      for (size_t i = 1; i < faults.size(); ++i) others.push_back(*OpenOne(i));
      return others;
    };
    if (has_host) openers.host = [this] { return OpenBackend(options); };
    auto made = Engine::CreateOn(
        openers, options, [](uint64_t, uint64_t) { return true; },
        [this](EngineEvent event, const std::string&) { events.push_back(event); });
    if (made.ok()) engine = *std::move(made);
    return made.status();
  }
  std::vector<uint32_t> layers() const { return engine->plan().stage_layers(); }

  EngineOptions options;
  std::vector<std::shared_ptr<Faults>> faults;
  std::vector<EngineEvent> events;
  std::shared_ptr<Engine> engine;
};

/// What the model and full sessions take on one device.
uint64_t WholeBytes(const TinyModel& model) {
  const uint64_t plenty[] = {uint64_t{1} << 30};
  World world(model, plenty);
  EXPECT_TRUE(world.Open(false).ok());
  return world.engine->plan().device().memory.total();
}

void ExpectSameAsWhole(const TinyModel& model, World& split) {
  World whole(model, std::vector<uint64_t>{uint64_t{1} << 30});
  ASSERT_TRUE(whole.Open(false).ok());
  std::mt19937 random(1);
  const std::vector<uint32_t> ids = RandomIds(random, 60, model.vocab());
  const auto a = MakeSession(whole.engine, "corm"), b = MakeSession(split.engine, "corm");
  EXPECT_EQ(Score(*a, ids), Score(*b, ids));
  EXPECT_EQ(Continue(*a, 20), Continue(*b, 20));
  const Session* const sessions[] = {b.get()};
  CheckInvariants(*split.engine, sessions);
}

/// A device that lacks a type of weights: `auto` leaves it for the CPU, a choice by name is refused
/// with what lacks and what to do.
TEST(Devices, ThatLackATypeAreLeftToTheirName) {
  const TinyModel model({.heads = 8, .width = 256, .type = GgufType::kQ4_K});
  const uint64_t plenty[] = {uint64_t{1} << 30};
  World by_name(model, plenty);
  by_name.faults[0]->lacks_k_types = true;
  const absl::Status refused = by_name.Open(true);
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("cannot compute"), HasSubstr("q4_k"), HasSubstr("--backend cpu")));

  World by_choice(model, plenty);
  by_choice.options.backend = "auto";
  by_choice.faults[0]->lacks_k_types = true;
  ASSERT_TRUE(by_choice.Open(true).ok());
  EXPECT_TRUE(by_choice.faults[0]->compiled.empty());

  World able(model, plenty);
  able.options.backend = "auto";
  ASSERT_TRUE(able.Open(true).ok());
  EXPECT_FALSE(able.faults[0]->compiled.empty());
}

TEST(Devices, OneThatIsEnoughStaysAlone) {
  const TinyModel model(kSevenLayers);
  World world(model, std::vector<uint64_t>(3, 2 * WholeBytes(model)));
  ASSERT_TRUE(world.Open(true).ok());
  EXPECT_THAT(world.layers(), ElementsAre(7));
  EXPECT_EQ(world.faults[1]->openings, 0u);  // Opening a device takes memory of it.
}

TEST(Devices, AsManyAsAreNeededShareTheLayers) {
  const TinyModel model(kSevenLayers);
  const uint64_t whole = WholeBytes(model);
  for (const auto& [memory, stages] :
       {std::pair(std::vector<uint64_t>(3, whole * 3 / 4), 2u),
        std::pair(std::vector<uint64_t>(4, whole * 55 / 100), 3u),
        std::pair(std::vector<uint64_t>{whole * 5 / 10, whole * 95 / 100}, 2u)}) {
    World world(model, memory);
    ASSERT_TRUE(world.Open(true).ok());
    const EnginePlan& plan = world.engine->plan();
    ASSERT_EQ(plan.stages.size(), stages);
    EXPECT_THAT(world.layers(), Each(Gt(0u)));
    EXPECT_FALSE(plan.capped) << stages << " of " << memory.size();
    for (size_t i = 0; i < plan.stages.size(); ++i) {
      EXPECT_EQ(plan.stages[i].place, MemoryPlace::kDevice);
      EXPECT_LE(plan.stages[i].memory.total(), memory[i]);
    }
    EXPECT_EQ(world.engine->memory().host_used, 0u);
    ExpectSameAsWhole(model, world);
  }
}

TEST(Devices, LayersFollowMemory) {
  const TinyModel model(kSevenLayers);
  const uint64_t whole = WholeBytes(model);
  World world(model, std::vector<uint64_t>{whole * 9 / 10, whole * 4 / 10});
  ASSERT_TRUE(world.Open(true).ok());
  ASSERT_EQ(world.layers().size(), 2u);
  EXPECT_GT(world.layers()[0], world.layers()[1]);
}

TEST(Devices, NoMoreThanTheCapLeavesWorkFor) {
  const TinyModel model(kSevenLayers);
  const uint64_t whole = WholeBytes(model);
  World world(model, std::vector<uint64_t>(3, whole));
  world.options.memory_cap_bytes = whole * 3 / 4;
  ASSERT_TRUE(world.Open(true).ok());
  EXPECT_EQ(world.engine->plan().stages.front().place, MemoryPlace::kDevice);
  EXPECT_EQ(std::count_if(world.engine->plan().stages.begin(), world.engine->plan().stages.end(),
                          [](const auto& s) { return s.place == MemoryPlace::kDevice; }),
            1);
}

TEST(Devices, TheCapIsOnAllOfThem) {
  const TinyModel model(kSevenLayers);
  const uint64_t whole = WholeBytes(model);
  World world(model, std::vector<uint64_t>(2, whole * 6 / 10));
  world.options.memory_cap_bytes = whole * 9 / 10;
  ASSERT_TRUE(world.Open(true).ok());
  ASSERT_EQ(world.engine->plan().stages.size(), 2u);
  EXPECT_LE(world.engine->plan().device_memory().total(), world.options.memory_cap_bytes);
  const auto session = MakeSession(world.engine, "corm");
  std::mt19937 random(2);
  for (uint32_t turn = 0; turn < 12; ++turn) {
    ASSERT_TRUE(Append(*session, RandomIds(random, 90, model.vocab())).ok());
    Continue(*session, 10);
    const Session* const sessions[] = {session.get()};
    ASSERT_NO_FATAL_FAILURE(CheckInvariants(*world.engine, sessions));
  }
  EXPECT_LE(world.engine->memory().peak, world.options.memory_cap_bytes);
}

TEST(Devices, TheCpuTakesWhatAllOfThemCannotHold) {
  const TinyModel model(kSevenLayers);
  World world(model, std::vector<uint64_t>(2, WholeBytes(model) * 35 / 100));
  EXPECT_TRUE(world.Open(true).ok());
  const std::vector<StagePlan>& stages = world.engine->plan().stages;
  ASSERT_GE(stages.size(), 2u);
  for (size_t i = 0; i < stages.size(); ++i) {
    if (stages[i].place == MemoryPlace::kDevice) {
      EXPECT_LE(stages[i].memory.total(), world.faults[i]->memory_free);
    }
  }
  ExpectSameAsWhole(model, world);
}

TEST(Devices, OneThatIsLostCostsNoToken) {
  const TinyModel model(kSevenLayers);
  World world(model, std::vector<uint64_t>(2, WholeBytes(model) * 3 / 4));
  ASSERT_TRUE(world.Open(false).ok());
  ASSERT_EQ(world.layers().size(), 2u);
  std::mt19937 random(3);
  const std::vector<uint32_t> prompt = RandomIds(random, 30, model.vocab());
  const auto never = MakeSession(world.engine, "corm");
  ASSERT_TRUE(Append(*never, prompt).ok());
  const std::vector<uint32_t> want = Continue(*never, 12);
  for (size_t lost : {size_t{0}, size_t{1}}) {
    World again(model, std::vector<uint64_t>(2, world.faults[0]->memory_free));
    ASSERT_TRUE(again.Open(false).ok());
    const auto session = MakeSession(again.engine, "corm");
    ASSERT_TRUE(Append(*session, prompt).ok());
    again.faults[lost]->fail_in = 7;
    EXPECT_EQ(Continue(*session, 12), want);
    EXPECT_THAT(again.events, ElementsAre(EngineEvent::kDeviceLost, EngineEvent::kDeviceRestored));
  }
}

#if defined(CORMORANT_EMULATORS)
/// Sets the emulator back as it was.
class EmulatedDevices : public ::testing::Test {
 protected:
  void TearDown() override {
    emulator::api::SetDeviceCount(1);
    emulator::api::SetGranularity(1);
    for (int i = 0; i < 2; ++i) emulator::api::SetMemoryCap(0, i);
  }
  static absl::StatusOr<std::shared_ptr<Engine>> Open(const EngineOptions& options) {
    const BackendDef& def = *emulator::BackendDefs()[1];
    DeviceOpeners openers;
    openers.device = [&] { return def.open({0, 1}); };
    openers.others = [&] {
      std::vector<std::unique_ptr<Backend>> others;
      auto other = def.open({1, 1});
      if (other.ok()) others.push_back(*std::move(other));
      return others;
    };
    return Engine::CreateOn(openers, options, [](uint64_t, uint64_t) { return true; });
  }
};

TEST_F(EmulatedDevices, CopyToEachOther) {
  const TinyModel model(kSevenLayers);
  const EngineOptions options = Options(model, "cpu");
  std::mt19937 random(1);
  const std::vector<uint32_t> ids = RandomIds(random, 40, model.vocab());
  std::vector<float> want;
  uint64_t each = 0;
  {
    const auto alone = Open(options);
    ASSERT_TRUE(alone.ok()) << alone.status();
    each = (*alone)->plan().device().memory.total() * 3 / 4;
    want = Score(*MakeSession(*alone, "corm"), ids);
  }
  emulator::api::SetDeviceCount(2);
  for (int i = 0; i < 2; ++i) emulator::api::SetMemoryCap(each, i);
  const auto split = Open(options);
  ASSERT_TRUE(split.ok()) << split.status();
  ASSERT_EQ((*split)->plan().stages.size(), 2u);
  EXPECT_EQ(Score(*MakeSession(*split, "corm"), ids), want);
  for (int i = 0; i < 2; ++i) EXPECT_LE(emulator::api::HeldBytes(i), each);
  EXPECT_GT(emulator::api::PeerCopies(), 0u);
}

TEST_F(EmulatedDevices, HoldNoMoreThanTheCapWhateverTheyRoundUp) {
  const TinyModel model;
  for (const size_t granularity : {size_t{1}, size_t{64} << 10, size_t{2} << 20}) {
    emulator::api::SetGranularity(granularity);
    EngineOptions options = Options(model, "cpu");
    options.memory_cap_bytes = 1;
    const absl::Status refused = Open(options).status();
    const absl::string_view mark = "the smallest cap that works is ";
    const size_t at = refused.message().find(mark);
    ASSERT_NE(at, absl::string_view::npos) << refused;
    const uint64_t smallest = std::stoull(std::string(refused.message().substr(at + mark.size())));
    for (const uint64_t cap :
         {smallest, smallest + 3 * granularity / 2, smallest + 5 * granularity}) {
      options.memory_cap_bytes = cap;
      const auto engine = Open(options);
      ASSERT_TRUE(engine.ok()) << engine.status();
      const auto session = MakeSession(*engine, "corm");
      std::mt19937 random(2);
      for (uint32_t turn = 0; turn < 3; ++turn) {
        ASSERT_TRUE(Append(*session, RandomIds(random, 60, model.vocab())).ok());
        EXPECT_LE(emulator::api::HeldBytes(0), cap) << granularity;
        const Session* const sessions[] = {session.get()};
        ASSERT_NO_FATAL_FAILURE(CheckInvariants(**engine, sessions));
      }
      if (granularity == 1 && cap == smallest) {
        EXPECT_GT(session->stats().evicted_total, 0u);
      }
    }
    EXPECT_EQ(emulator::api::HeldBytes(0), 0u);
  }
}
#endif

}  // namespace
}  // namespace cormorant::sim
