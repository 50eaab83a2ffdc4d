// Runs a short tape on a backend and on the reference, twice, and compares what they leave.
//
// A Scene is all a replay reads and writes, on the host: tape, weights, arena, out, cache and step
// buffer. Memory that no live row covers is NaN, and tensors stand apart with NaN between them.
// RunScene replays a scene two times from the same bytes: both must leave the same bits, and
// nothing but the live rows of written tensors may have changed. What those hold is compared
// element by element with the reference, within the bound of the op's docstring.
//
// Tests are written once and run on every backend of the build, and on the cpu backend once for
// each instruction set (CORMORANT_CPU). What the machine lacks is skipped with the reason.
#pragma once
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "backends/backend.h"
#include "runtime/ops/step.h"
#include "runtime/ops/tape.h"
#include "tests/conformance/cache.h"

namespace cormorant::conformance {

/// A device to test, and how its backend is told to use it.
struct Target {
  std::string name;     // "cpu_avx2"
  std::string backend;  // "cpu"
  std::string isa;      // Value of CORMORANT_CPU; empty: not set.
  uint32_t device = 0;
};
inline void PrintTo(const Target& target, std::ostream* to) {
  *to << target.name;
}
std::vector<Target> Targets();
absl::StatusOr<std::unique_ptr<Backend>> OpenTarget(const Target& target, uint32_t threads = 0);

class Scene {
 public:
  /// `rows` and `out_rows` are the bucket; all of its rows are live until set otherwise.
  explicit Scene(uint32_t seed, uint32_t rows, uint32_t out_rows = 1);

  // First the tape.
  Tensor Temp(std::array<uint32_t, 3> shape) { return builder_.Temp(shape); }
  Tensor Out(DType dtype, std::array<uint32_t, 3> shape) { return builder_.Out(dtype, shape); }
  Tensor Weight(DType dtype, std::array<uint32_t, 3> shape, std::vector<std::byte> bytes);
  Tensor F32Weight(std::array<uint32_t, 3> shape, std::span<const float> values);
  /// Normal values for f32, f16 and bf16; random bits with sane scales for block types.
  Tensor RandomWeight(DType dtype, std::array<uint32_t, 3> shape);
  void Add(Op op) { builder_.Add(std::move(op)); }
  /// Places the tensors and makes the step buffer; the cache comes first if there is one.
  void Finish(uint32_t sequences = 1);

  // Then the data.
  template <class OpType>
  const OpType& op(size_t index = 0) const {
    return std::get<OpType>(tape.ops[index]);
  }
  /// All rows of a tensor in arena or out.
  template <class T = float>
  std::span<T> At(const Tensor& tensor) {
    std::vector<std::byte>& region = tensor.region == Region::kArena ? arena : out;
    return {reinterpret_cast<T*>(region.data() + tensor.offset), tensor.elements()};
  }
  /// Fills the first `rows` rows with normal values.
  void FillNormal(const Tensor& tensor, uint32_t rows, float deviation = 1.0f);
  float Normal(float deviation = 1.0f) { return normal_(random) * deviation; }
  uint32_t Below(uint32_t limit) { return static_cast<uint32_t>(random() % limit); }
  /// A weight's values, dequantized.
  std::vector<float> Values(const Tensor& weight) const;

  Tape tape;
  std::vector<HostTensor> weights;
  std::vector<std::byte> arena, out;
  HostCache cache;
  std::unique_ptr<StepBuffer> step;
  std::mt19937 random;

 private:
  TapeBuilder builder_;
  std::normal_distribution<float> normal_;
  std::deque<std::vector<std::byte>> weight_bytes_;
};

/// What a replay left.
struct Outcome {
  std::vector<std::byte> arena, out;
  HostCache cache;

  template <class T = float>
  std::span<const T> At(const Tensor& tensor) const {
    const std::vector<std::byte>& region = tensor.region == Region::kArena ? arena : out;
    return {reinterpret_cast<const T*>(region.data() + tensor.offset), tensor.elements()};
  }
};

/// Replays a scene twice. An error for a scene the backend cannot run, for two replays that differ,
/// and for bytes of arena or out that changed and should not have.
absl::StatusOr<Outcome> RunScene(Backend& backend, const Scene& scene);

/// A test of an op on one target. Failures are collected by Fail, so that an exclusion which is not
/// needed any more can be told from one that is.
class OpTest : public testing::TestWithParam<Target> {
 protected:
  void SetUp() override;
  void TearDown() override;

  void Fail(const std::string& what);
  /// Whether the target computes with weights of this type. It must for the types that have tiles
  /// (runtime/format/tiles.h), and may refuse others, with a reason.
  bool Takes(DType dtype);
  /// Runs on the target and on the reference; false (and a failure) when one cannot.
  bool RunBoth(const std::string& what, const Scene& scene, Outcome* got, Outcome* want);
  bool RunOn(Backend& backend, const std::string& what, const Scene& scene, Outcome* to);
  /// |got - want| <= allowed for each element. NaN never passes.
  void Compare(const std::string& what, std::span<const float> got, std::span<const float> want,
               std::span<const double> allowed);
  /// The same bits.
  template <class T>
  void CompareExactly(const std::string& what, std::span<const T> got, std::span<const T> want) {
    size_t different = 0, first = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      if (std::memcmp(&got[i], &want[i], sizeof(T)) == 0) continue;
      if (different++ == 0) first = i;
    }
    if (different == 0) return;
    Fail(absl::StrCat(what, ": ", different, " of ", want.size(), " differ, the first at ", first,
                      ": got ", Number(got[first]), ", want ", Number(want[first])));
  }
  /// Every page the same bits.
  void CompareCaches(const std::string& what, const HostCache& got, const HostCache& want);
  /// Runs on both, and the cache of both is `want`, every page the same bits.
  void ExpectCache(const std::string& what, const Scene& scene, const HostCache& want);

  Backend& backend() { return *backend_; }
  Backend& reference() { return *reference_; }

 private:
  static std::string Number(std::byte value) { return absl::StrCat(static_cast<int>(value)); }
  static std::string Number(float value) { return absl::StrCat(value); }
  static std::string Number(uint32_t value) { return absl::StrCat(value); }

  std::string logged_errors_;
  std::unique_ptr<Backend> backend_, reference_;
  std::vector<std::string> failures_;
  size_t failure_count_ = 0;
};

/// f32, f16, bf16 and all block types.
std::vector<DType> WeightTypes();

std::string TargetName(const testing::TestParamInfo<Target>& info);

/// Declares a test suite that runs on every target.
#define CORM_CONFORMANCE(Suite)   \
  class Suite : public OpTest {}; \
  INSTANTIATE_TEST_SUITE_P(On, Suite, testing::ValuesIn(Targets()), TargetName)

}  // namespace cormorant::conformance
