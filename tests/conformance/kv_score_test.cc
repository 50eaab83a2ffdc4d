// KvScoreOp on every backend: pooled marks exactly, differences of keys within their bound.
//
// Method: every row's mark is computed a second time from decoded rows, in f64. Rows stand in
// shuffled slots, with gaps, on both sides of the edges of windows of positions that kernels work
// by. Some are pinned, some marks are so large that five of them do not fit a word, some keys are
// zeros, and some keys are all but one direction. What is expected of queries is computed as the
// paper has it, with whole matrices and the mean of all rotations.
#include <algorithm>
#include <cmath>
#include <map>

#include "tests/conformance/kv_scene.h"

namespace cormorant::conformance {
namespace {

/// What the marks of a head's slots become, and how far from it each may be.
struct ExpectedHead {
  std::vector<double> marks, allowed;
};
class KvScoreTest : public OpTest {
 protected:
  /// Marks of both outcomes against expected_of(head, table, count); all else stays as it was.
  template <class F>
  void CompareMarks(const std::string& what, const Scene& scene, const Outcome& got,
                    const Outcome& want, F&& expected_of);
};
INSTANTIATE_TEST_SUITE_P(On, KvScoreTest, testing::ValuesIn(Targets()), TargetName);

/// Rows of sequence 0 at about three of four positions from `from` on, in shuffled slots.
void MakeScene(const KvGeometry& geometry, uint32_t rows, uint32_t from, Scene& scene,
               const KvScoreOp& op = {}) {
  scene.cache = HostCache(geometry, TableCount(1), rows);
  scene.Add(op);
  scene.Finish();
  SetSequences(scene, {{0, rows, rows / 3}});
  StepSequence& sequence = scene.step->sequences()[0];
  sequence.position_clock = from + 2 * rows;
  scene.step->counts(0)[2] = 0;
  for (uint32_t head = 0; head < geometry.heads(); ++head) {
    std::vector<uint32_t> places;
    for (uint32_t p = from; places.size() < scene.step->counts(0)[head]; ++p) {
      if (p + rows > sequence.position_clock || scene.Below(4) != 0) places.push_back(p);
    }
    std::shuffle(places.begin(), places.end(), scene.random);
    for (uint32_t slot = 0; slot < places.size(); ++slot) {
      const Place place{sequence.table, head, slot};
      scene.cache.position(place) = places[slot];
      if (scene.cache.last_important(place) != kPinned) {
        scene.cache.last_important(place) = scene.Below(0xfffffff0u) >> scene.Below(32);
      }
    }
  }
}

/// Calls f(head, table, rows of the head) for all heads.
template <class F>
void ForEachHead(const Scene& scene, F&& f) {
  for (uint32_t head = 0; head < scene.cache.geometry().heads(); ++head) {
    f(head, scene.step->sequences()[0].table, scene.step->counts(0)[head]);
  }
}

TEST_P(KvScoreTest, PooledMarksAreExact) {
  for (const auto& [rows, from] :
       {std::pair{1u, 0u}, {2u, 2047u}, {40u, 2030u}, {700u, 0u}, {1500u, 1000u}}) {
    Scene scene(rows, 1);
    MakeScene(Geometry(2, 32, DType::kQ8_0, DType::kF16, rows), rows, from, scene);
    scene.step->sequences()[0].score_by = ScoreBy::kPooledAttention;
    HostCache expected = scene.cache;
    ForEachHead(scene, [&](uint32_t head, uint32_t table, uint32_t count) {
      std::map<uint32_t, uint64_t> marks;  // By position.
      for (uint32_t slot = 0; slot < count; ++slot) {
        const uint32_t mark = scene.cache.last_important({table, head, slot});
        if (mark != kPinned) marks[scene.cache.position({table, head, slot})] = mark;
      }
      for (uint32_t slot = 0; slot < count; ++slot) {
        const Place place{table, head, slot};
        if (scene.cache.last_important(place) == kPinned) continue;
        uint64_t sum = 0;
        for (uint32_t d = 0; d < 5; ++d) {
          const auto near = marks.find(scene.cache.position(place) + d - 2);
          if (near != marks.end()) sum += near->second;
        }
        expected.last_important(place) = static_cast<uint32_t>(sum / 5);
      }
    });
    ExpectCache(absl::StrCat("kv_score pooled, rows ", rows, " from ", from), scene, expected);
  }
}

TEST_P(KvScoreTest, NothingIsWrittenWhereNoneIsAsked) {
  Scene scene(7, 1);
  MakeScene(Geometry(2, 32, DType::kF16, DType::kF16, 100), 100, 0, scene);
  ExpectCache("kv_score none", scene, scene.cache);
}

std::vector<double> Unit(const std::vector<float>& key) {
  double square = 0;
  for (float x : key) square += double{x} * double{x};
  std::vector<double> unit(key.begin(), key.end());
  for (double& x : unit) x = square == 0 ? 0 : x / std::sqrt(square);
  return unit;
}

/// What the marks of a head become, and how far from it they may be.
struct Differences {
  std::vector<double> marks;
  double allowed;
};
Differences DifferencesOf(const HostCache& cache, uint32_t table, uint32_t head, uint32_t count) {
  std::vector<std::vector<double>> units;
  std::vector<double> mean(cache.geometry().head_dim);
  for (uint32_t slot = 0; slot < count; ++slot) {
    units.push_back(Unit(cache.K({table, head, slot})));
    for (size_t d = 0; d < mean.size(); ++d) mean[d] += units[slot][d] / count;
  }
  double square = 0;
  for (double x : mean) square += x * x;
  const double length = std::sqrt(square);
  Differences differences{{}, 1 + 65536e-5 / length};
  for (const std::vector<double>& unit : units) {
    double product = 0;
    for (size_t d = 0; d < mean.size(); ++d) product += unit[d] * mean[d];
    differences.marks.push_back(65536 * (1 - (length == 0 ? 0 : product / length)));
  }
  return differences;
}

template <class F>
void KvScoreTest::CompareMarks(const std::string& what, const Scene& scene, const Outcome& got,
                               const Outcome& want, F&& expected_of) {
  HostCache rest = scene.cache;
  ForEachHead(scene, [&](uint32_t head, uint32_t table, uint32_t count) {
    const ExpectedHead expected = expected_of(head, table, count);
    std::vector<float> marks, reference, wanted;
    std::vector<double> allowed;
    for (uint32_t slot = 0; slot < count; ++slot) {
      const Place place{table, head, slot};
      if (scene.cache.last_important(place) == kPinned) continue;
      marks.push_back(static_cast<float>(got.cache.last_important(place)));
      reference.push_back(static_cast<float>(want.cache.last_important(place)));
      wanted.push_back(static_cast<float>(expected.marks[slot]));
      allowed.push_back(expected.allowed[slot]);
      rest.last_important(place) = got.cache.last_important(place);
    }
    Compare(what, marks, wanted, allowed);
    Compare(what + " (reference)", reference, wanted, allowed);
  });
  CompareCaches(what, got.cache, rest);
}

/// Keys that have a direction in common, more of it in some heads than in others; zeros.
void SetKeys(Scene& scene) {
  const uint32_t head_dim = scene.cache.geometry().head_dim;
  ForEachHead(scene, [&](uint32_t head, uint32_t table, uint32_t count) {
    std::vector<float> common(head_dim), key(head_dim);
    for (float& x : common) x = scene.Normal(static_cast<float>(head * head) / 2);
    for (uint32_t slot = 0; slot < count; ++slot) {
      const float scale =
          scene.Below(20) == 0 ? 0.0f : 0.01f * static_cast<float>(1 + scene.Below(999));
      for (uint32_t d = 0; d < head_dim; ++d) key[d] = scale * (common[d] + scene.Normal());
      scene.cache.SetK({table, head, slot}, key);
    }
  });
}

TEST_P(KvScoreTest, DifferencesOfKeysAreWithinTheirBound) {
  for (const auto& [k_type, head_dim, rows] : {std::tuple{DType::kF16, 20u, 33u},
                                               {DType::kF16, 64u, 1500u},
                                               {DType::kQ8_0, 64u, 700u},
                                               {DType::kQ8_0, 96u, 1u},
                                               {DType::kQ4_0, 32u, 300u},
                                               {DType::kQ4_0, 256u, 130u}}) {
    Scene scene(head_dim + rows, 1);
    MakeScene(Geometry(2, head_dim, k_type, DType::kF16, rows), rows, 0, scene);
    SetKeys(scene);
    scene.step->sequences()[0].score_by = ScoreBy::kKeyDifference;
    const std::string what =
        absl::StrCat("kv_score keys ", Describe(scene.cache.geometry()), " rows ", rows);
    Outcome got, want;
    if (!RunBoth(what, scene, &got, &want)) continue;
    CompareMarks(what, scene, got, want, [&](uint32_t head, uint32_t table, uint32_t count) {
      const Differences expected = DifferencesOf(scene.cache, table, head, count);
      return ExpectedHead{expected.marks, std::vector(count, expected.allowed)};
    });
  }
}

using Matrix = std::vector<std::vector<double>>;

Matrix Product(const Matrix& a, const Matrix& b) {
  Matrix product(a.size(), std::vector<double>(b[0].size()));
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t k = 0; k < b.size(); ++k) {
      if (a[i][k] == 0) continue;
      for (size_t j = 0; j < b[0].size(); ++j) product[i][j] += a[i][k] * b[k][j];
    }
  }
  return product;
}
Matrix Transposed(const Matrix& a) {
  Matrix transposed(a[0].size(), std::vector<double>(a.size()));
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < a[0].size(); ++j) transposed[j][i] = a[i][j];
  }
  return transposed;
}

/// The mean of RoPE's rotations over 512 positions from `first` on.
Matrix MeanRotation(const RopeSpec& rope, std::span<const float> factors, uint32_t first,
                    uint32_t head_dim) {
  Matrix r(head_dim, std::vector<double>(head_dim));
  for (uint32_t d = 0; d < head_dim; ++d) r[d][d] = 1;
  for (uint32_t d = 0; d < rope.dims; d += 2) {
    double frequency = std::pow(double{rope.base}, -static_cast<double>(d) / rope.dims) *
                       double{rope.frequency_scale};
    if (!factors.empty()) frequency /= double{factors[d / 2]};
    double c = 0, s = 0;
    for (uint32_t i = 0; i < 512; ++i) {
      c += std::cos((first + static_cast<double>(i)) * frequency) / 512;
      s += std::sin((first + static_cast<double>(i)) * frequency) / 512;
    }
    r[d][d] = r[d + 1][d + 1] = c;
    r[d][d + 1] = -s;
    r[d + 1][d] = s;
  }
  return r;
}

/// What is expected of a query head: means as a column, the covariance, and for the bound the same
/// of magnitudes.
struct Expected {
  Matrix mean, covariance, mean_most, covariance_most;
};
Expected ExpectedOf(std::span<const float> sums, const Matrix& r) {
  const size_t dims = r.size();
  Matrix mean(dims, std::vector<double>(1)), covariance(dims, std::vector<double>(dims));
  Matrix mean_most = mean, second = covariance;
  for (size_t d = 0; d < dims; d += 2) {
    const auto of = [&](size_t place) { return double{sums[1 + d / 2 * 5 + place]} / sums[0]; };
    const double a = of(0), b = of(1);
    mean[d][0] = a, mean[d + 1][0] = b;
    covariance[d][d] = std::max(0.0, of(2) - a * a);
    covariance[d + 1][d + 1] = std::max(0.0, of(3) - b * b);
    covariance[d][d + 1] = covariance[d + 1][d] = of(4) - a * b;
    for (size_t i : {d, d + 1}) {
      mean_most[i][0] = std::hypot(a, b);
      for (size_t j : {d, d + 1}) second[i][j] = of(2) + of(3);
    }
  }
  return {Product(r, mean), Product(Product(r, covariance), Transposed(r)), mean_most, second};
}

/// What the marks of a head become, and how far from it they may be.
struct ExpectedMarks {
  std::vector<double> marks;
  double error;  // Of a mark, relative.
};
ExpectedMarks MarksOf(const Scene& scene, const std::vector<Expected>& group, double scale,
                      uint32_t table, uint32_t head, uint32_t count) {
  ExpectedMarks result{std::vector<double>(count), 0};
  const auto is_pinned = [&](uint32_t slot) {
    return scene.cache.last_important({table, head, slot}) == kPinned;
  };
  double most = 0, sum = 0;
  for (const Expected& expected : group) {
    std::vector<double> z(count);
    double greatest = -HUGE_VAL, total = 0;
    for (uint32_t slot = 0; slot < count; ++slot) {
      const std::vector<float> key = scene.cache.K({table, head, slot});
      double magnitude = 0;
      for (size_t i = 0; i < key.size(); ++i) {
        const double k = scale * double{key[i]};
        z[slot] += k * expected.mean[i][0];
        magnitude += std::fabs(k) * expected.mean_most[i][0];
        for (size_t j : {i, i ^ 1}) {
          const double both = k * scale * double{key[j]} / 2;
          z[slot] += both * expected.covariance[i][j];
          magnitude += std::fabs(both) * expected.covariance_most[i][j];
        }
      }
      most = std::max(most, magnitude);
      if (!is_pinned(slot)) greatest = std::max(greatest, z[slot]);
    }
    for (uint32_t slot = 0; slot < count; ++slot) {
      if (!is_pinned(slot)) total += std::exp(z[slot] - greatest);
    }
    for (uint32_t slot = 0; slot < count; ++slot) {
      if (!is_pinned(slot)) result.marks[slot] += std::exp(z[slot] - greatest) / total;
    }
  }
  for (uint32_t slot = 0; slot < count; ++slot) {
    double square = 0;
    for (float v : scene.cache.V({table, head, slot})) square += double{v} * double{v};
    sum += result.marks[slot] *= std::sqrt(square);
  }
  for (double& mark : result.marks) mark *= sum > 0 ? 0x1p30 / sum : 0;
  result.error = 4 * 2e-5 * (1 + most);
  return result;
}

/// Statistics of `count` queries about means that differ; some dimensions never change.
void SetStatistics(Scene& scene, uint32_t count) {
  const KvGeometry& g = scene.cache.geometry();
  const uint32_t table = scene.step->sequences()[0].table;
  for (uint32_t i = 0; i < g.layers * g.query_heads; ++i) {
    const std::span<float> sums =
        scene.cache.statistics(table, i / g.query_heads, i % g.query_heads);
    std::fill(sums.begin(), sums.end(), 0.0f);
    sums[0] = static_cast<float>(count);
    for (uint32_t pair = 0; pair < g.head_dim / 2; ++pair) {
      const float a_mean = scene.Normal(), b_mean = scene.Normal();
      const float deviation = pair % 3 == 0 ? 0.0f : 1.0f;
      for (uint32_t n = 0; n < count; ++n) {
        const float a = a_mean + scene.Normal(deviation);
        const float b = b_mean + a * deviation / 2 + scene.Normal(deviation);
        const float terms[] = {a, b, a * a, b * b, a * b};
        for (size_t t = 0; t < 5; ++t) sums[1 + pair * 5 + t] += terms[t];
      }
    }
  }
}

struct ExpectedCase {
  DType k_type, v_type;
  uint32_t kv_heads, heads, head_dim, dims, rows;
  uint32_t position = 0;  // From which rows are.
  bool has_factors = false;
};

TEST_P(KvScoreTest, ExpectedAttentionIsWithinItsBound) {
  using enum DType;
  for (const ExpectedCase& c :
       {ExpectedCase{kF16, kF16, 2, 2, 20, 20, 33}, ExpectedCase{kF16, kQ8_0, 3, 9, 64, 64, 700},
        ExpectedCase{kQ8_0, kQ8_0, 2, 8, 64, 32, 300, 1000000},
        ExpectedCase{kQ8_0, kQ4_0, 1, 1, 96, 0, 1},
        ExpectedCase{kQ4_0, kF16, 2, 6, 32, 32, 130, 8000, true},
        ExpectedCase{kQ4_0, kQ4_0, 1, 4, 96, 48, 300},
        ExpectedCase{kQ4_0, kQ8_0, 1, 2, 256, 256, 70, 100, true}}) {
    Scene scene(c.head_dim + c.rows, 1);
    KvScoreOp op{{c.dims, 10000.0f, 0.75f, {}}, AttentionScale(c.head_dim)};
    std::vector<float> factors;
    for (uint32_t i = 0; i < c.dims / 2 && c.has_factors; ++i) {
      factors.push_back(1.0f + static_cast<float>(i % 9));
    }
    if (c.has_factors) op.rope.factors = scene.F32Weight({c.dims / 2, 1, 1}, factors);
    KvGeometry geometry = Geometry(c.kv_heads, c.head_dim, c.k_type, c.v_type, c.rows);
    geometry.query_heads = c.heads;
    MakeScene(geometry, c.rows, c.position, scene, op);
    SetStatistics(scene, 50);
    StepSequence& sequence = scene.step->sequences()[0];
    sequence.score_by = ScoreBy::kExpectedAttention;
    const std::string what = absl::StrCat("kv_score expected, ", Describe(geometry), " H ", c.heads,
                                          " dims ", c.dims, " rows ", c.rows);
    Outcome got, want;
    if (!RunBoth(what, scene, &got, &want)) continue;
    const Matrix r = MeanRotation(op.rope, factors, sequence.position_clock, c.head_dim);
    CompareMarks(what, scene, got, want, [&](uint32_t head, uint32_t table, uint32_t count) {
      std::vector<Expected> group;
      for (uint32_t j = 0; j < c.heads / c.kv_heads; ++j) {
        const uint32_t query_head = head % c.kv_heads * (c.heads / c.kv_heads) + j;
        group.push_back(
            ExpectedOf(scene.cache.statistics(table, head / c.kv_heads, query_head), r));
      }
      const ExpectedMarks expected = MarksOf(scene, group, op.scale, table, head, count);
      std::vector<double> allowed;
      for (const double mark : expected.marks) allowed.push_back(1 + expected.error * mark);
      return ExpectedHead{expected.marks, allowed};
    });
  }
}

TEST_P(KvScoreTest, WithoutCountedQueriesMarksStay) {
  Scene scene(7, 1);
  KvGeometry geometry = Geometry(2, 32, DType::kF16, DType::kF16, 100);
  geometry.query_heads = 4;
  MakeScene(geometry, 100, 0, scene);
  SetStatistics(scene, 0);
  scene.step->sequences()[0].score_by = ScoreBy::kExpectedAttention;
  ExpectCache("kv_score of no queries", scene, scene.cache);
}

TEST_P(KvScoreTest, RowsWithoutValuesAreExpectedToGiveNothing) {
  Scene scene(8, 1);
  KvGeometry geometry = Geometry(2, 32, DType::kQ8_0, DType::kQ8_0, 100);
  geometry.query_heads = 4;
  MakeScene(geometry, 100, 0, scene, {{32, 10000.0f, 1.0f, {}}, AttentionScale(32)});
  SetStatistics(scene, 9);
  scene.step->sequences()[0].score_by = ScoreBy::kExpectedAttention;
  ForEachHead(scene, [&](uint32_t head, uint32_t table, uint32_t count) {
    for (uint32_t slot = 0; slot < count; ++slot) {
      scene.cache.SetV({table, head, slot}, std::vector<float>(32));
    }
  });
  HostCache expected = scene.cache;
  ForEachHead(scene, [&](uint32_t head, uint32_t table, uint32_t count) {
    for (uint32_t slot = 0; slot < count; ++slot) {
      uint32_t& mark = expected.last_important({table, head, slot});
      if (mark != kPinned) mark = 0;
    }
  });
  ExpectCache("kv_score of values that are zeros", scene, expected);
}

}  // namespace
}  // namespace cormorant::conformance
