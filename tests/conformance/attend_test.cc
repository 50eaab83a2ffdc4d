// AttendOp on every backend: outputs against the reference, stamps against a model of the test.
//
// Method: decode steps and prefill chunks over caches of 0 to 3000 rows, one to three sequences
// with heads of different lengths, groups of 1 to 40 query heads, all row types; scores that are
// all the same and scores so large that one key takes everything. The model decodes the cache and
// computes every share in f64: a slot whose share is clearly at or past c/t must carry the step of
// the row, one clearly below must not, and only within the docstring's tolerance either will do.
#include <algorithm>
#include <cmath>

#include "tests/conformance/kv_scene.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(AttendTest);

struct Shape {
  uint32_t kv_heads, group, head_dim;
  std::vector<SequenceShape> sequences;
  float q_deviation = 1.0f;
  ThresholdBasis basis = ThresholdBasis::kStep;
  float importance_scale = 1.0f;
  float judged_from = 0.0f;  // As a fraction of the rows.
  MarkBy mark_by = MarkBy::kStep;
  uint32_t reach = 0;
};

std::string CaseName(const Shape& s, const KvGeometry& geometry) {
  std::string name =
      absl::StrCat("attend ", Describe(geometry), " group ", s.group, " q ", s.q_deviation, " c ",
                   s.importance_scale, " basis ", static_cast<uint32_t>(s.basis), " judged ",
                   s.judged_from, " marks ", static_cast<uint32_t>(s.mark_by), " reach ", s.reach);
  for (const SequenceShape& sequence : s.sequences) {
    absl::StrAppend(&name, " (", sequence.rows, " rows over ", sequence.resident, ")");
  }
  return name;
}

void FillScene(const Shape& s, Scene& scene) {
  SetSequences(scene, s.sequences);
  for (uint32_t i = 0; i < s.sequences.size(); ++i) {
    StepSequence& sequence = scene.step->sequences()[i];
    sequence.basis = s.basis;
    sequence.importance_scale = s.importance_scale;
    sequence.mark_by = s.mark_by;
    sequence.reach = s.reach;
    sequence.judged_from = static_cast<uint32_t>(s.judged_from * static_cast<float>(sequence.rows));
    for (uint32_t g = 0; g < s.kv_heads; ++g) {
      const uint32_t head = (kLayers - 1) * s.kv_heads + g;
      for (uint32_t row = 0; row < sequence.rows; ++row) {
        const uint32_t important = scene.Below(9) == 0 ? kPinned : sequence.clock + row + 1;
        FillRow(scene, {sequence.table, head, scene.step->counts(i)[head] + row},
                sequence.position_clock + row, important);
      }
    }
  }
  scene.FillNormal(scene.op<AttendOp>().q, scene.step->header().rows, s.q_deviation);
}

/// Decoded rows of one KV head, and what its stamps may become.
struct HeadModel {
  std::vector<std::vector<float>> k, v;
  std::vector<double> v_greatest;         // Over slots up to each.
  std::vector<uint32_t> least, greatest;  // Bounds of last_important.
};

HeadModel MakeHead(const HostCache& cache, uint32_t table, uint32_t head, uint32_t rows) {
  HeadModel model;
  double v_greatest = 0.0;
  for (uint32_t slot = 0; slot < rows; ++slot) {
    const Place place{table, head, slot};
    model.k.push_back(cache.K(place));
    model.v.push_back(cache.V(place));
    for (float x : model.v.back()) v_greatest = std::max(v_greatest, std::fabs(double{x}));
    model.v_greatest.push_back(v_greatest);
    model.least.push_back(cache.last_important(place));
    model.greatest.push_back(cache.last_important(place));
  }
  return model;
}

/// How a row judges the slots it sees.
struct Judge {
  bool is_judged;
  MarkBy mark_by;
  double log_threshold;
  uint32_t step, reach;

  /// The stamp of a share e^margin times the threshold.
  uint32_t Stamp(double margin) const {
    return step + Reach(static_cast<float>(std::exp(std::max(margin, 0.0))), reach);
  }
};

/// Adds units of attention that may be `off` of themselves wrong to the sums of a slot.
void AddUnits(double units, double off, uint32_t slot, HeadModel* model) {
  if (model->least[slot] >= kAttentionMost) return;
  model->least[slot] += static_cast<uint32_t>(std::max(0.0, std::floor(units * (1 - off) + 0.5)));
  model->greatest[slot] += static_cast<uint32_t>(std::ceil(units * (1 + off) + 0.5));
}

/// What one row and query head do to the model; returns M of the docstring.
double Attend(std::span<const float> q, float scale, uint32_t visible, const Judge& judge,
              DType k_type, HeadModel* model) {
  std::vector<double> scores(visible);
  double greatest = -HUGE_VAL, magnitude = 0.0;
  for (uint32_t s = 0; s < visible; ++s) {
    double dot = 0.0, sum = 0.0, q_squares = 0.0, k_squares = 0.0;
    for (size_t d = 0; d < q.size(); ++d) {
      const double product = double{q[d]} * double{model->k[s][d]};
      dot += product;
      sum += std::fabs(product);
      q_squares += double{q[d]} * q[d];
      k_squares += double{model->k[s][d]} * model->k[s][d];
    }
    if (k_type == DType::kQ4_0) sum = std::sqrt(q_squares * k_squares);
    scores[s] = scale * dot;
    greatest = std::max(greatest, scores[s]);
    magnitude = std::max(magnitude, scale * sum);
  }
  if (!judge.is_judged) return magnitude;
  double total = 0.0;
  for (double score : scores) total += std::exp(score - greatest);
  const double tolerance =
      k_type == DType::kF16 ? 1e-4 + 1e-6 * magnitude : 1e-3 + 4e-5 * magnitude;
  for (uint32_t s = 0; s < visible; ++s) {
    const double log_share = scores[s] - greatest - std::log(total);
    if (judge.mark_by == MarkBy::kAttention) {
      AddUnits(std::exp(log_share) * kAttentionUnits, 2 * tolerance, s, model);
      continue;
    }
    const double margin = log_share - judge.log_threshold;
    if (margin >= tolerance) {
      model->least[s] = std::max(model->least[s], judge.Stamp(margin - tolerance));
    }
    if (margin > -tolerance) {
      model->greatest[s] = std::max(model->greatest[s], judge.Stamp(margin + tolerance));
    }
  }
  return magnitude;
}

/// The model of a whole scene: bounds on o, and the stamps of every head checked.
class Model {
 public:
  Model(const Shape& shape, Scene& scene)
      : shape_(shape), scene_(scene), op_(scene.op<AttendOp>()) {
    const uint32_t rows = scene.step->header().rows;
    allowed.resize(size_t{rows} * op_.q.shape[1] * op_.q.shape[2]);
    for (uint32_t s = 0; s < shape.sequences.size(); ++s) {
      for (uint32_t g = 0; g < shape.kv_heads; ++g) AddHead(s, g);
    }
  }

  /// Describes the first wrong stamp; empty when all are right.
  std::string WrongStamp(const HostCache& got) const;
  /// The cache with the stamps of `from`, whatever they are.
  HostCache WithStampsOf(const HostCache& from) const;

  std::vector<double> allowed;

 private:
  struct Key {
    uint32_t table, head;
  };
  void AddHead(uint32_t s, uint32_t kv_head);

  const Shape& shape_;
  Scene& scene_;
  const AttendOp& op_;
  std::vector<std::pair<Key, HeadModel>> heads_;
};

void Model::AddHead(uint32_t s, uint32_t kv_head) {
  const StepSequence& sequence = scene_.step->sequences()[s];
  const uint32_t head = (kLayers - 1) * shape_.kv_heads + kv_head;
  const uint32_t resident = scene_.step->counts(s)[head];
  const KvGeometry& geometry = scene_.cache.geometry();
  const bool all_half = geometry.k_type == DType::kF16 && geometry.v_type == DType::kF16;
  HeadModel model = MakeHead(scene_.cache, sequence.table, head, resident + sequence.rows);
  for (uint32_t i = 0; i < sequence.rows; ++i) {
    const uint32_t step = sequence.clock + i + 1, visible = resident + i + 1;
    const double t = sequence.basis == ThresholdBasis::kStep       ? step
                     : sequence.basis == ThresholdBasis::kResident ? visible
                                                                   : 1;
    const Judge judge{i >= sequence.judged_from, sequence.mark_by,
                      std::log(double{sequence.importance_scale} / t), step, sequence.reach};
    for (uint32_t j = 0; j < shape_.group; ++j) {
      const size_t row = sequence.first_row + i, h = kv_head * shape_.group + j;
      const size_t at = (row * op_.q.shape[1] + h) * shape_.head_dim;
      const double magnitude = Attend(scene_.At(op_.q).subspan(at, shape_.head_dim), op_.scale,
                                      visible, judge, geometry.k_type, &model);
      const double bound = all_half ? 2e-5 + 1e-6 * magnitude : 2e-4 + 4e-5 * magnitude;
      std::fill_n(allowed.begin() + static_cast<ptrdiff_t>(at), shape_.head_dim,
                  bound * model.v_greatest[visible - 1]);
    }
  }
  heads_.push_back({{sequence.table, head}, std::move(model)});
}

std::string Model::WrongStamp(const HostCache& got) const {
  for (const auto& [key, model] : heads_) {
    for (uint32_t slot = 0; slot < model.least.size(); ++slot) {
      const uint32_t stamp = got.last_important({key.table, key.head, slot});
      if (stamp >= model.least[slot] && stamp <= model.greatest[slot]) continue;
      return absl::StrCat("stamp of table ", key.table, " head ", key.head, " slot ", slot, " is ",
                          stamp, ", expected ", model.least[slot], " to ", model.greatest[slot]);
    }
  }
  return "";
}

HostCache Model::WithStampsOf(const HostCache& from) const {
  HostCache cache = scene_.cache;
  for (const auto& [key, model] : heads_) {
    for (uint32_t slot = 0; slot < model.least.size(); ++slot) {
      const Place place{key.table, key.head, slot};
      cache.last_important(place) = from.last_important(place);
    }
  }
  return cache;
}

class AttendCases : public OpTest {
 protected:
  void Check(const Shape& s, DType k_type, DType v_type) {
    uint32_t rows = 0, longest = 0;
    for (const SequenceShape& sequence : s.sequences) {
      rows += sequence.rows;
      longest = std::max(longest, sequence.rows + sequence.resident);
    }
    const uint32_t bucket = rows == 1 ? 1 : rows + 3, heads = s.kv_heads * s.group;
    Scene scene(rows + longest + s.head_dim, bucket);
    scene.cache = HostCache(Geometry(s.kv_heads, s.head_dim, k_type, v_type, longest),
                            TableCount(s.sequences.size()), longest);
    const Tensor q = scene.Temp({bucket, heads, s.head_dim});
    const Tensor o = scene.Temp({bucket, heads, s.head_dim});
    const float scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
    scene.Add(AttendOp{kLayers - 1, o, q, scale});
    scene.Finish(static_cast<uint32_t>(s.sequences.size()));
    FillScene(s, scene);

    const std::string what = CaseName(s, scene.cache.geometry());
    Outcome got, want;
    if (!RunBoth(what, scene, &got, &want)) return;
    const Model model(s, scene);
    const Tensor& output = scene.op<AttendOp>().o;
    Compare(what, got.At(output), want.At(output), model.allowed);
    for (const Outcome* outcome : {&got, &want}) {
      const std::string wrong = model.WrongStamp(outcome->cache);
      if (!wrong.empty())
        Fail(absl::StrCat(what, outcome == &want ? " (reference): " : ": ", wrong));
      CompareCaches(what, outcome->cache, model.WithStampsOf(outcome->cache));
    }
  }

  /// With keys and values of the same type, of each, and with one mixed pair: the next of all.
  void CheckTypes(const Shape& s) {
    if (s.head_dim % 32 != 0) return Check(s, DType::kF16, DType::kF16);
    const std::vector<std::pair<DType, DType>> pairs = RowTypes();
    for (size_t i = 0; i < pairs.size(); ++i) {
      const auto& [k_type, v_type] = pairs[i];
      if (k_type == v_type || i == mixed_) Check(s, k_type, v_type);
    }
    do {
      mixed_ = (mixed_ + 1) % pairs.size();
    } while (pairs[mixed_].first == pairs[mixed_].second);
  }

 private:
  size_t mixed_ = 1;  // In RowTypes().
};

INSTANTIATE_TEST_SUITE_P(On, AttendCases, testing::ValuesIn(Targets()), TargetName);

TEST_P(AttendCases, Decode) {
  for (uint32_t resident : {0u, 1u, 30u, 31u, 32u, 33u, 95u, 500u, 3000u}) {
    CheckTypes({3, 3, 64, {{1, resident, resident / 3}}});
  }
  CheckTypes({1, 1, 32, {{1, 77, 0}}});
  CheckTypes({2, 8, 128, {{1, 200, 50}}});
  CheckTypes({2, 3, 96, {{1, 70, 9}}});
  CheckTypes({2, 1, 20, {{1, 100, 3}}});
  CheckTypes({1, 5, 84, {{1, 40, 0}}});
}

TEST_P(AttendCases, Prefill) {
  CheckTypes({3, 3, 64, {{2, 0, 0}}});
  CheckTypes({3, 3, 64, {{17, 31, 5}}});
  CheckTypes({1, 3, 64, {{64, 64, 0}}});
  CheckTypes({2, 1, 64, {{200, 0, 0}}});
  CheckTypes({1, 8, 32, {{33, 100, 0}}});
  CheckTypes({2, 3, 128, {{40, 250, 100}}});
  CheckTypes({1, 2, 96, {{20, 40, 0}}});
  CheckTypes({1, 2, 224, {{20, 40, 0}}});
  CheckTypes({1, 2, 256, {{20, 40, 0}}});
  CheckTypes({2, 2, 20, {{9, 30, 0}}});
}

// More query heads to a KV head than fit a workgroup's shared memory: what heads allow depends on
// their dimensions, and 37 heads have no even parts.
TEST_P(AttendCases, ManyQueryHeadsOfAKvHead) {
  for (uint32_t rows : {1u, 20u}) {
    for (DType type : {DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
      Check({1, 40, 64, {{rows, 77, 0}}}, type, type);
      Check({1, 32, 256, {{rows, 40, 0}}}, type, type);
    }
    Check({2, 32, 128, {{rows, 50, 9}}}, DType::kF16, DType::kQ8_0);
    Check({2, 32, 96, {{rows, 50, 9}}}, DType::kQ4_0, DType::kQ4_0);
    Check({2, 37, 32, {{rows, 70, 3}, {2, 9, 0}}}, DType::kF16, DType::kF16);
  }
}

TEST_P(AttendCases, PrefillOverALongCache) {
  CheckTypes({1, 3, 64, {{33, 3000, 0}}});
  Check({3, 3, 64, {{200, 1000, 500}}}, DType::kF16, DType::kF16);
  Check({3, 3, 64, {{200, 1000, 500}}}, DType::kQ8_0, DType::kQ8_0);
  Check({3, 3, 64, {{200, 1000, 500}}}, DType::kQ4_0, DType::kQ4_0);
}

TEST_P(AttendCases, SequencesTogether) {
  CheckTypes({3, 3, 64, {{1, 100, 90}, {1, 33, 2}, {1, 0, 0}}});
  CheckTypes({3, 3, 64, {{1, 400, 100}, {40, 65, 20}, {3, 0, 0}}});
  CheckTypes({1, 8, 128, {{5, 10, 0}, {1, 63, 31}}});
}

TEST_P(AttendCases, Thresholds) {
  for (ThresholdBasis basis : {ThresholdBasis::kStep, ThresholdBasis::kResident}) {
    for (float scale : {0.25f, 1.0f, 3.0f}) {
      CheckTypes({3, 3, 64, {{1, 150, 40}}, 1.0f, basis, scale});
      CheckTypes({1, 3, 64, {{50, 150, 0}}, 1.0f, basis, scale, 0.6f});
    }
    CheckTypes({2, 3, 64, {{20, 50, 10}}, 1.0f, basis, 1.0f, 1.0f});  // Nobody judges.
  }
}

TEST_P(AttendCases, AShareOfItsOwn) {
  CheckTypes({3, 3, 64, {{1, 150, 40}}, 1.0f, ThresholdBasis::kOne, 1.0f / 32});
  CheckTypes({1, 3, 64, {{50, 150, 0}}, 2.0f, ThresholdBasis::kOne, 1.0f / 32});
}

TEST_P(AttendCases, Reach) {
  for (uint32_t reach : {1u, 64u, 4095u}) {
    for (float deviation : {0.0f, 1.0f, 30.0f}) {
      const ThresholdBasis basis = ThresholdBasis::kResident;
      const Shape decode = {3, 3, 64, {{1, 900, 40}}, deviation, basis};
      const Shape prefill = {1, 3, 64, {{50, 150, 0}}, deviation, basis, 0.5f, 0.2f};
      for (Shape s : {decode, prefill}) {
        s.reach = reach;
        CheckTypes(s);
      }
    }
  }
}

TEST_P(AttendCases, SumsOfAttention) {
  const ThresholdBasis basis = ThresholdBasis::kStep;
  for (float deviation : {0.0f, 1.0f, 30.0f}) {
    CheckTypes({3, 3, 64, {{1, 150, 40}}, deviation, basis, 1.0f, 0.0f, MarkBy::kAttention});
    CheckTypes({1, 3, 64, {{50, 150, 0}}, deviation, basis, 1.0f, 0.9f, MarkBy::kAttention});
  }
  CheckTypes({2, 8, 128, {{5, 10, 0}, {40, 631, 31}}, 1.0f, basis, 1.0f, 0.0f, MarkBy::kAttention});
  CheckTypes({2, 1, 20, {{3, 90, 9}}, 1.0f, basis, 1.0f, 0.0f, MarkBy::kAttention});
}

TEST_P(AttendCases, EqualAndHugeScores) {
  // All shares are 1 / visible: far below c / t for c = 2, far past it for c = 0.5.
  for (float scale : {0.5f, 2.0f}) {
    CheckTypes({3, 3, 64, {{1, 200, 50}}, 0.0f, ThresholdBasis::kResident, scale});
    CheckTypes({3, 3, 64, {{9, 40, 0}}, 0.0f, ThresholdBasis::kResident, scale});
  }
  for (float deviation : {30.0f, 1000.0f}) {
    CheckTypes({3, 3, 64, {{1, 300, 50}}, deviation});
    CheckTypes({1, 3, 64, {{40, 70, 0}}, deviation});
  }
}

TEST_P(AttendTest, HandComputedShares) {
  // Two keys; q.K = log 3 and 0, so the shares are 3/4 and 1/4.
  Scene scene(1, 1);
  scene.cache = HostCache(Geometry(1, 4, DType::kF16, DType::kF16, 32), TableCount(1), 1);
  const Tensor q = scene.Temp({1, 1, 4});
  scene.Add(AttendOp{kLayers - 1, scene.Temp({1, 1, 4}), q, 0.5f});
  scene.Finish();
  SetSequences(scene, {{1, 1, 0}});
  StepSequence& sequence = scene.step->sequences()[0];
  sequence.judged_from = 0;
  sequence.clock = 9;
  sequence.basis = ThresholdBasis::kStep;
  sequence.importance_scale = 3.0f;  // c / t = 3 / 10: above 1/4, below 3/4.
  const Place first{sequence.table, 1, 0}, second{sequence.table, 1, 1};
  scene.cache.SetK(first, std::vector<float>{1, 0, 0, 0});
  scene.cache.SetK(second, std::vector<float>{0, 1, 0, 0});
  scene.cache.SetV(first, std::vector<float>{4, 0, -8, 1});
  scene.cache.SetV(second, std::vector<float>{0, 4, 8, 1});
  scene.cache.last_important(first) = 2;
  scene.cache.last_important(second) = 3;
  const AttendOp& op = scene.op<AttendOp>();
  const float row[] = {2.0f * 1.0986122887f, 0.0f, 5.0f, 5.0f};
  std::copy_n(row, 4, scene.At(op.q).begin());
  Outcome got;
  if (!RunOn(backend(), "hand-computed", scene, &got)) return;
  Compare("hand-computed", got.At(op.o), std::vector<float>{3, 1, -4, 1},
          std::vector<double>(4, 2e-4));
  const std::vector<uint32_t> stamps = {got.cache.last_important(first),
                                        got.cache.last_important(second)};
  CompareExactly<uint32_t>("stamps", stamps, std::vector<uint32_t>{10, 3});
}

}  // namespace
}  // namespace cormorant::conformance
