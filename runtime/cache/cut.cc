// The session-wide cut. See cut.h.
#include "runtime/cache/cut.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "runtime/base/units.h"
#include "runtime/ops/kv_page.h"
#include "runtime/ops/ops.h"

namespace cormorant {
namespace {

/// The bin of the rows in `bin` of a head with this weight.
uint32_t WeightedBin(uint32_t bin, float weight) {
  constexpr float kOldest = 0x1p31f;  // Below what AgeBin() takes, above where its last bin starts.
  const float age = static_cast<float>(AgeBinStart(bin)) * weight;
  return AgeBin(static_cast<uint32_t>(std::min(age, kOldest)));
}

/// Histograms turned around: how many rows a head keeps when everything from a bin on leaves.
class Heads {
 public:
  explicit Heads(const CutProblem& problem) : problem_(problem) {
    const size_t heads = problem.counts.size();
    kept_.resize(heads * (kAgeBins + 1));
    for (size_t h = 0; h < heads; ++h) {
      const uint32_t* ages = &problem.ages[h * (kAgeBins + 1)];
      uint32_t* kept = &kept_[h * (kAgeBins + 1)];
      const float weight = problem.weights.empty() ? 1.0f : problem.weights[h];
      kept[kAgeBins] = problem.counts[h];
      std::fill_n(kept, kAgeBins, 0u);
      for (uint32_t b = 0; b < kAgeBins; ++b) kept[WeightedBin(b, weight)] += ages[b];
      for (uint32_t b = kAgeBins; b-- > 0;) {
        CORM_CHECK(kept[b] <= kept[b + 1]);
        kept[b] = kept[b + 1] - kept[b];
      }
    }
  }

  size_t size() const { return problem_.counts.size(); }
  uint32_t room(size_t h) const {
    return problem_.room + (problem_.more.empty() ? 0 : problem_.more[h]);
  }
  uint32_t natural(size_t h) const { return problem_.ages[h * (kAgeBins + 1) + kAgeBins]; }
  /// Most rows the head may keep whatever the others do.
  uint32_t ceiling(size_t h) const {
    uint32_t most = problem_.counts[h];
    if (problem_.natural) most -= natural(h);
    const uint32_t limit = problem_.row_limit > room(h) ? problem_.row_limit - room(h) : 0;
    return std::max(std::min(most, limit), kept(h, 0));
  }
  /// Rows kept when bins `bin` and up leave, the head's floor and ceiling respected.
  uint32_t Keep(size_t h, uint32_t bin) const {
    const uint32_t floor = std::min(problem_.counts[h], problem_.floor);
    return std::min(std::max(kept(h, bin), floor), ceiling(h));
  }
  uint64_t Pages(size_t h, uint32_t keep) const {
    return CeilDiv(uint64_t{keep} + room(h), kPageRows);
  }
  uint64_t PagesAt(uint32_t bin) const {
    uint64_t pages = 0;
    for (size_t h = 0; h < size(); ++h) pages += Pages(h, Keep(h, bin));
    return pages;
  }

 private:
  uint32_t kept(size_t h, uint32_t bin) const { return kept_[h * (kAgeBins + 1) + bin]; }

  const CutProblem& problem_;
  std::vector<uint32_t> kept_;  // [heads][kAgeBins + 1]
};

/// Gives the pages left over by the cut to the heads with most rows in the bin just cut, and tops
/// every head up to whole pages.
void SpendSpare(const Heads& heads, uint32_t bin, uint64_t spare, std::vector<uint32_t>* keep) {
  const auto top_up = [&](size_t h) {
    const uint32_t whole =
        static_cast<uint32_t>(heads.Pages(h, (*keep)[h]) * kPageRows) - heads.room(h);
    (*keep)[h] = std::max((*keep)[h], std::min(whole, heads.ceiling(h)));
  };
  for (size_t h = 0; h < heads.size(); ++h) top_up(h);
  const uint32_t next = std::min(bin + 1, kAgeBins);
  std::vector<size_t> order(heads.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto wanting = [&](size_t h) {
    const uint32_t want = heads.Keep(h, next);
    return want > (*keep)[h] ? want - (*keep)[h] : 0;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return wanting(a) > wanting(b); });
  // A bin may hold more than a page of a head: pages go round until none is left or wanted.
  for (bool is_wanted = true; is_wanted && spare > 0;) {
    is_wanted = false;
    for (size_t h : order) {
      if (spare == 0) break;
      if (wanting(h) == 0) continue;
      (*keep)[h] += 1;  // Opens one more page, which is then filled.
      top_up(h);
      --spare;
      is_wanted = true;
    }
  }
}

/// The cut of heads that share one budget.
absl::StatusOr<Cut> SolveShared(const CutProblem& problem) {
  const Heads heads(problem);
  // Largest bin from which on everything may leave so that the rest fits.
  uint32_t bin = kAgeBins;
  if (heads.PagesAt(kAgeBins) > problem.page_limit) {
    uint32_t fits = 0, too_many = kAgeBins;
    if (heads.PagesAt(0) > problem.page_limit) {
      return absl::ResourceExhaustedError(
          absl::StrCat("rows that may not leave (pinned, newest, floor) and ", problem.room,
                       " new ones need ", heads.PagesAt(0), " pages; the cap or budget allows ",
                       problem.page_limit, ": raise it, pin less or lower --corm-recent"));
    }
    while (too_many - fits > 1) {
      const uint32_t middle = (fits + too_many) / 2;
      (heads.PagesAt(middle) <= problem.page_limit ? fits : too_many) = middle;
    }
    bin = fits;
  }
  std::vector<uint32_t> keep(heads.size());
  for (size_t h = 0; h < heads.size(); ++h) keep[h] = heads.Keep(h, bin);
  if (bin < kAgeBins) {
    SpendSpare(heads, bin, problem.page_limit - heads.PagesAt(bin), &keep);
  }
  Cut cut;
  cut.evict.resize(heads.size());
  for (size_t h = 0; h < heads.size(); ++h) {
    cut.evict[h] = problem.counts[h] - keep[h];
    cut.total += cut.evict[h];
    cut.natural += std::min(cut.evict[h], heads.natural(h));
  }
  return cut;
}

}  // namespace

absl::StatusOr<Cut> SolveCut(const CutProblem& problem) {
  const size_t heads = problem.counts.size();
  const size_t shared_by = problem.shared_by == 0 ? heads : problem.shared_by;
  Cut cut;
  for (size_t first = 0; first < heads; first += shared_by) {
    const size_t count = std::min(shared_by, heads - first);
    CutProblem part = problem;
    part.counts = problem.counts.subspan(first, count);
    if (!problem.more.empty()) part.more = problem.more.subspan(first, count);
    part.ages = problem.ages.subspan(first * (kAgeBins + 1), count * (kAgeBins + 1));
    if (!problem.weights.empty()) part.weights = problem.weights.subspan(first, count);
    part.page_limit = static_cast<uint32_t>(uint64_t{problem.page_limit} * count / heads);
    CORM_ASSIGN_OR_RETURN(const Cut of_part, SolveShared(part));
    cut.evict.insert(cut.evict.end(), of_part.evict.begin(), of_part.evict.end());
    cut.natural += of_part.natural;
    cut.total += of_part.total;
  }
  return cut;
}

}  // namespace cormorant
