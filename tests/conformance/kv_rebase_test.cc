// KvRebaseOp on every backend: positions exactly, keys within the docstring's bound.
//
// Method: a model in f64 turns every key by the change of its position. Slots hold positions in
// random order with gaps, as after compaction; one head is in place already and must keep its
// bytes; V and stamps never change. With a window some rows move together; heads have few or many
// rows before it, and one of them none. Then what it is for: attention must not notice that all
// positions moved together, because RoPE scores depend on differences only.
#include <algorithm>
#include <cmath>

#include "tests/conformance/kv_scene.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(KvRebaseTest);

constexpr uint32_t kNever = 0xffffffffu;  // Where no window begins.

struct Shape {
  DType k_type, v_type;
  uint32_t head_dim, dims, rows, window_at;
  float base, scale;
  bool has_factors;
  uint32_t window_from = kNever;
};

RopeSpec MakeRope(const Shape& s, Scene& scene, std::vector<float>* factors) {
  RopeSpec rope{s.dims, s.base, s.scale, {}};
  factors->assign(s.dims / 2, 1.0f);
  if (!s.has_factors) return rope;
  for (float& factor : *factors) factor = 1.0f + static_cast<float>(scene.Below(300)) / 100.0f;
  rope.factors = scene.F32Weight({s.dims / 2, 1, 1}, *factors);
  return rope;
}

double UlpF16(double x) {
  return x < 0x1p-14 ? 0x1p-24 : std::ldexp(1.0, std::ilogb(x) - 10);
}

/// A key after the turn, and how far off each element may be.
struct Turned {
  std::vector<float> key;
  std::vector<double> allowed;
};

Turned TurnKey(const Shape& s, std::span<const float> factors, std::vector<float> key,
               double positions) {
  Turned turned{key, {}};
  for (uint32_t d = 0; d < s.head_dim; d += 2) {
    const double a = key[d], b = key[d + 1];
    double angle = 0.0;
    if (d < s.dims) {
      angle = positions * std::pow(double{s.base}, -1.0 * d / s.dims) * s.scale / factors[d / 2];
    }
    turned.key[d] = static_cast<float>(a * std::cos(angle) - b * std::sin(angle));
    turned.key[d + 1] = static_cast<float>(a * std::sin(angle) + b * std::cos(angle));
    turned.allowed.resize(d + 2, 2 * UlpF16(std::hypot(a, b)));
  }
  return turned;
}

class KvRebaseCases : public OpTest {
 protected:
  void Check(const Shape& s) {
    Scene scene(s.rows + s.head_dim, 1);
    scene.cache = HostCache(Geometry(2, s.head_dim, s.k_type, s.v_type, s.rows), TableCount(1), 7);
    std::vector<float> factors;
    scene.Add(KvRebaseOp{MakeRope(s, scene, &factors)});
    scene.Finish();
    SetSequences(scene, {{0, s.rows, s.rows / 4}});
    scene.step->sequences()[0].window_at = s.window_at;
    scene.step->sequences()[0].window_from = s.window_from;
    const std::string what =
        absl::StrCat("kv_rebase ", Describe(scene.cache.geometry()), " dims ", s.dims, " rows ",
                     s.rows, " to ", s.window_at, " from ", s.window_from);
    Shuffle(s, scene);
    Outcome got, want;
    if (!RunBoth(what, scene, &got, &want)) return;
    for (uint32_t head = 0; head < scene.cache.geometry().heads(); ++head) {
      CheckHead(what, s, factors, scene, head, got.cache);
      CheckHead(what + " (reference)", s, factors, scene, head, want.cache);
    }
    // Nothing but keys and positions may be different: with those of the scene, all pages are.
    RestoreKeys(scene, &got.cache);
    CompareCaches(what + ", beside keys", got.cache, scene.cache);
  }

 private:
  static void Shuffle(const Shape& s, Scene& scene) {
    for (uint32_t head = 0; head < scene.cache.geometry().heads(); ++head) {
      const uint32_t count = scene.step->counts(0)[head];
      std::vector<uint32_t> positions(count);
      for (uint32_t j = 0; j < count; ++j) {
        // The last head is in place already, with its rows in another order.
        positions[j] = head == 3 ? s.window_at - count + j : j * 3 + scene.Below(3);
        // All rows of the one before are in the window, if there is one.
        if (head == 2 && s.window_from != kNever) positions[j] += s.window_from;
      }
      std::shuffle(positions.begin(), positions.end(), scene.random);
      for (uint32_t slot = 0; slot < count; ++slot) {
        scene.cache.position({Table(0), head, slot}) = positions[slot];
      }
    }
  }

  void CheckHead(const std::string& what, const Shape& s, std::span<const float> factors,
                 const Scene& scene, uint32_t head, const HostCache& got) {
    const uint32_t count = scene.step->counts(0)[head];
    std::vector<uint32_t> slots(count);
    for (uint32_t slot = 0; slot < count; ++slot) slots[slot] = slot;
    const auto position = [&](uint32_t slot) {
      return scene.cache.position({Table(0), head, slot});
    };
    std::sort(slots.begin(), slots.end(),
              [&](uint32_t a, uint32_t b) { return position(a) < position(b); });
    const auto before = static_cast<uint32_t>(std::count_if(
        slots.begin(), slots.end(), [&](uint32_t slot) { return position(slot) < s.window_from; }));
    for (uint32_t j = 0; j < count; ++j) {
      const Place place{Table(0), head, slots[j]};
      const uint32_t moved_to =
          j < before ? s.window_at - before + j : s.window_at + position(slots[j]) - s.window_from;
      const std::string row = absl::StrCat(what, " head ", head, " slot ", slots[j]);
      CompareExactly<uint32_t>(row + " position", std::vector<uint32_t>{got.position(place)},
                               std::vector<uint32_t>{moved_to});
      if (moved_to == position(slots[j])) {
        CompareExactly<std::byte>(row + " stays", got.Row(place), scene.cache.Row(place));
        continue;
      }
      Turned turned =
          TurnKey(s, factors, scene.cache.K(place), double(moved_to) - double(position(slots[j])));
      for (uint32_t d = 0; s.k_type != DType::kF16 && d < s.head_dim; ++d) {
        turned.allowed[d] = 1.2 * got.KScale(place, d);
      }
      if (s.k_type == DType::kQ4_0) {  // The bound is on the key as the page holds it.
        Compare(row, Rotated(got.K(place)), Rotated(turned.key), turned.allowed);
      } else {
        Compare(row, got.K(place), turned.key, turned.allowed);
      }
    }
  }

  static void RestoreKeys(const Scene& scene, HostCache* cache) {
    for (uint32_t head = 0; head < scene.cache.geometry().heads(); ++head) {
      for (uint32_t slot = 0; slot < scene.step->counts(0)[head]; ++slot) {
        const Place place{Table(0), head, slot};
        const std::vector<float> v = cache->V(place);
        const uint32_t important = cache->last_important(place);
        const std::vector<std::byte> before = scene.cache.Row(place);
        if (v == scene.cache.V(place) && important == scene.cache.last_important(place)) {
          cache->SetRow(place, before);
        }
      }
    }
  }
};

INSTANTIATE_TEST_SUITE_P(On, KvRebaseCases, testing::ValuesIn(Targets()), TargetName);

TEST_P(KvRebaseCases, KeysAndPositions) {
  for (DType k_type : {DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
    Check({k_type, DType::kF16, 64, 64, 300, 300, 100000.0f, 1.0f, false});
    Check({k_type, DType::kF16, 64, 32, 100, 5000, 10000.0f, 1.0f, true});
    Check({k_type, DType::kQ8_0, 128, 128, 33, 40, 500000.0f, 0.5f, true});
    Check({k_type, DType::kQ8_0, 32, 2, 1, 1, 10000.0f, 1.0f, false});
    Check({k_type, DType::kF16, 96, 96, 31, 900000, 10000.0f, 1.0f, false});
    Check({k_type, DType::kQ4_0, 256, 96, 40, 100, 10000.0f, 1.0f, false});
  }
  Check({DType::kF16, DType::kF16, 20, 20, 70, 100, 10000.0f, 1.0f, false});
}

TEST_P(KvRebaseCases, TheWindowMovesTogether) {
  for (DType k_type : {DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
    Check({k_type, DType::kF16, 64, 64, 300, 300, 100000.0f, 1.0f, false, 700});
    Check({k_type, DType::kF16, 64, 32, 100, 101, 10000.0f, 1.0f, true, 150});
    Check({k_type, DType::kQ8_0, 128, 128, 33, 40, 500000.0f, 0.5f, true, 40});  // It stays.
    Check({k_type, DType::kF16, 96, 96, 31, 31, 10000.0f, 1.0f, false, 900000});
  }
}

/// One decode step: turns q and k, writes k and v, attends. Returns o and leaves the cache.
struct DecodeStep {
  DecodeStep(const KvGeometry& geometry, const RopeSpec& rope, uint32_t resident, uint32_t position)
      : scene(5, 1) {
    scene.cache = HostCache(geometry, TableCount(1), 11);
    const Tensor q = scene.Temp({1, 3, 64}), o = scene.Temp({1, 3, 64});
    const Tensor k = scene.Temp({1, 1, 64}), v = scene.Temp({1, 1, 64});
    scene.Add(RopeOp{q, rope});
    scene.Add(RopeOp{k, rope});
    scene.Add(KvWriteOp{kLayers - 1, k, v});
    scene.Add(AttendOp{kLayers - 1, o, q, 0.125f});
    scene.Finish();
    SetSequences(scene, {{1, resident, 0}});
    scene.step->positions()[0] = position;
    scene.FillNormal(scene.op<RopeOp>(0).x, 1);
    scene.FillNormal(scene.op<KvWriteOp>(2).k, 1);
    scene.FillNormal(scene.op<KvWriteOp>(2).v, 1);
  }
  Scene scene;
};

TEST_P(KvRebaseTest, AttentionDoesNotNotice) {
  constexpr uint32_t kRows = 150, kFirst = 1000;
  for (DType type : {DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
    const KvGeometry geometry = Geometry(1, 64, type, type, kRows + 1);
    const RopeSpec rope{64, 10000.0f, 1.0f, {}};
    DecodeStep before(geometry, rope, kRows, kFirst + kRows);
    for (uint32_t slot = 0; slot < kRows; ++slot) {
      for (uint32_t head = 0; head < kLayers; ++head) {
        before.scene.cache.position({Table(0), head, slot}) = kFirst + slot;
      }
    }
    Outcome at_first;
    const std::string what = absl::StrCat("attention after rebase, ", Info(type).name);
    if (!RunOn(backend(), what, before.scene, &at_first)) continue;

    Scene rebase(5, 1);
    rebase.cache = before.scene.cache;
    rebase.Add(KvRebaseOp{rope});
    rebase.Finish();
    *rebase.step = StepBuffer(before.scene.step->bounds());
    rebase.step->header().sequences = 1;
    rebase.step->sequences()[0].table = Table(0);
    rebase.step->sequences()[0].window_at = kRows;
    for (uint32_t& count : rebase.step->counts(0)) count = kRows;
    Outcome rebased;
    if (!RunOn(backend(), what, rebase, &rebased)) continue;

    DecodeStep after(geometry, rope, kRows, kRows);
    after.scene.cache = rebased.cache;
    Outcome at_last;
    if (!RunOn(backend(), what, after.scene, &at_last)) continue;
    const Tensor& o = before.scene.op<AttendOp>(3).o;
    // A key is rounded a second time: 2^-11 of it (f16) or half a scale step, 1/80 (q8_0) or 1/6
    // (q4_0) of its deviation.
    const double allowed = type == DType::kF16 ? 3e-3 : type == DType::kQ8_0 ? 4e-2 : 0.5;
    Compare(what, at_last.At(o), at_first.At(o), std::vector<double>(o.elements(), allowed));
  }
}

}  // namespace
}  // namespace cormorant::conformance
