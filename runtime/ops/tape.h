// A step of a model as a straight line of ops, and the builder that writes it.
//
// Order is meaning: op i sees what ops before it wrote. Because the line is known before it runs,
// lifetimes give the exact scratch bytes: Finish() places every temporary in one arena, re-using
// the bytes of those that are dead.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/ops/ops.h"

namespace cormorant {

struct Tape {
  std::vector<Op> ops;
  uint32_t rows = 1;         // R: bound of live rows.
  uint32_t out_rows = 1;     // O: bound of live output rows.
  uint64_t arena_bytes = 0;  // Scratch that the ops' temporaries need.
  uint64_t out_bytes = 0;
  std::vector<size_t> layer_starts;  // The first op of each layer, then that of what follows them.
};

class TapeBuilder {
 public:
  /// With `counts_queries` a model's attention has QueryStats.
  TapeBuilder(uint32_t rows, uint32_t out_rows, bool counts_queries = false);

  /// A temporary of this step. Its bytes are re-used after its last use.
  Tensor Temp(std::array<uint32_t, 3> shape);
  /// Memory the host reads back after the step. Never re-used.
  Tensor Out(DType dtype, std::array<uint32_t, 3> shape);

  void Add(Op op) { tape_.ops.push_back(std::move(op)); }
  /// The next op begins a layer or, after the last one, what follows: where a tape can be split.
  void BeginLayer() { tape_.layer_starts.push_back(tape_.ops.size()); }
  uint32_t rows() const { return tape_.rows; }
  uint32_t out_rows() const { return tape_.out_rows; }
  bool counts_queries() const { return counts_queries_; }

  /// Places temporaries (64-byte aligned) and hands the tape over.
  Tape Finish() &&;

 private:
  const bool counts_queries_;
  Tape tape_;
  std::vector<uint64_t> temp_bytes_;  // By temporary; Tensor::offset is its number until Finish.
};

/// One line an op, for people and for diffs: "matmul y=arena[8,576] x=arena[8,1536] w=w12 q4_1".
std::string ToString(const Tape& tape);
std::string ToString(const Op& op);
absl::string_view OpName(const Op& op);

}  // namespace cormorant
