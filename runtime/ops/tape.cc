// Placing temporaries by lifetime, and printing tapes. See tape.h.
#include "runtime/ops/tape.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/check.h"
#include "runtime/base/units.h"

namespace cormorant {
namespace {

constexpr uint64_t kAlignment = 64;

/// A temporary's life on the line, and where it ends up.
struct Lifetime {
  size_t first = std::numeric_limits<size_t>::max();
  size_t last = 0;
  uint64_t bytes = 0;
  uint64_t offset = 0;
  bool used() const { return first != std::numeric_limits<size_t>::max(); }
};

std::vector<Lifetime> Lifetimes(const Tape& tape, const std::vector<uint64_t>& temp_bytes) {
  std::vector<Lifetime> lives(temp_bytes.size());
  for (size_t i = 0; i < temp_bytes.size(); ++i)
    lives[i].bytes = RoundUp(temp_bytes[i], kAlignment);
  for (size_t i = 0; i < tape.ops.size(); ++i) {
    std::visit(
        [&](const auto& op) {
          ForEachTensor(op, [&](const Tensor& tensor, Access) {
            if (tensor.region != Region::kArena) return;
            Lifetime& life = lives[tensor.offset];
            life.first = std::min(life.first, i);
            life.last = std::max(life.last, i);
          });
        },
        tape.ops[i]);
  }
  return lives;
}

/// First fit, largest first: each temporary goes to the lowest offset where no overlapping life
/// already lies.
uint64_t Place(std::vector<Lifetime>& lives) {
  std::vector<size_t> order;
  for (size_t i = 0; i < lives.size(); ++i) {
    if (lives[i].used()) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lives[a].bytes > lives[b].bytes; });
  std::vector<size_t> placed;
  uint64_t total = 0;
  for (size_t i : order) {
    Lifetime& life = lives[i];
    std::vector<std::pair<uint64_t, uint64_t>> taken;  // [start, end) of lives that overlap.
    for (size_t j : placed) {
      const Lifetime& other = lives[j];
      if (other.first <= life.last && life.first <= other.last) {
        taken.emplace_back(other.offset, other.offset + other.bytes);
      }
    }
    std::sort(taken.begin(), taken.end());
    uint64_t at = 0;
    for (const auto& [start, end] : taken) {
      if (at + life.bytes <= start) break;
      at = std::max(at, end);
    }
    life.offset = at;
    total = std::max(total, at + life.bytes);
    placed.push_back(i);
  }
  return total;
}

std::string ToString(const Tensor& tensor) {
  static constexpr absl::string_view kRegions[] = {"none", "w", "arena", "out"};
  return absl::StrCat(kRegions[static_cast<size_t>(tensor.region)], "@", tensor.offset, "[",
                      tensor.shape[0], ",", tensor.shape[1], ",", tensor.shape[2], "] ",
                      Info(tensor.dtype).name);
}

}  // namespace

TapeBuilder::TapeBuilder(uint32_t rows, uint32_t out_rows, bool counts_queries)
    : counts_queries_(counts_queries) {
  tape_.rows = rows;
  tape_.out_rows = out_rows;
}

Tensor TapeBuilder::Temp(std::array<uint32_t, 3> shape) {
  Tensor tensor{Region::kArena, DType::kF32, shape, temp_bytes_.size()};
  temp_bytes_.push_back(tensor.bytes());
  return tensor;
}

Tensor TapeBuilder::Out(DType dtype, std::array<uint32_t, 3> shape) {
  Tensor tensor{Region::kOut, dtype, shape, tape_.out_bytes};
  tape_.out_bytes += RoundUp(tensor.bytes(), kAlignment);
  return tensor;
}

Tape TapeBuilder::Finish() && {
  std::vector<Lifetime> lives = Lifetimes(tape_, temp_bytes_);
  tape_.arena_bytes = Place(lives);
  for (Op& op : tape_.ops) {
    std::visit(
        [&](auto& o) {
          ForEachTensor(o, [&](Tensor& tensor, Access) {
            if (tensor.region == Region::kArena) tensor.offset = lives[tensor.offset].offset;
          });
        },
        op);
  }
  return std::move(tape_);
}

absl::string_view OpName(const Op& op) {
  static constexpr absl::string_view kNames[] = {"embed",     "rms_norm", "matmul",     "act",
                                                 "rope",      "kv_write", "attend",     "gather",
                                                 "top_k",     "kv_ages",  "kv_compact", "kv_rebase",
                                                 "kv_spread", "kv_score", "query_stats"};
  static_assert(std::size(kNames) == std::variant_size_v<Op>);
  return kNames[op.index()];
}

std::string ToString(const Op& op) {
  std::string text(OpName(op));
  std::visit(
      [&](const auto& o) {
        ForEachTensor(o, [&](const Tensor& tensor, Access access) {
          static constexpr absl::string_view kSigns[] = {" <", " >", " <>"};
          absl::StrAppend(&text, kSigns[static_cast<size_t>(access)], ToString(tensor));
        });
      },
      op);
  return text;
}

std::string ToString(const Tape& tape) {
  std::string text = absl::StrCat("tape rows=", tape.rows, " out_rows=", tape.out_rows,
                                  " arena=", tape.arena_bytes, " out=", tape.out_bytes, "\n");
  for (size_t i = 0; i < tape.ops.size(); ++i) {
    absl::StrAppend(&text, i, " ", ToString(tape.ops[i]), "\n");
  }
  return text;
}

}  // namespace cormorant
