// A model's weights as the CPU's kernels want them.
//
// Block types that matmuls use are packed into panels of 16 rows (panels.h) in one piece of
// memory; everything else is read where the model file has it.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/cpu/panels.h"
#include "platform/memory.h"
#include "runtime/ops/tape.h"

namespace cormorant::cpu {

class CpuWeights final : public Weights {
 public:
  /// Bytes that Load will take.
  static uint64_t Bytes(std::span<const HostTensor> tensors, const Tape& tape);
  static absl::StatusOr<std::unique_ptr<CpuWeights>> Load(std::span<const HostTensor> tensors,
                                                          const Tape& tape, LoadObserver* observer);

  const HostTensor& tensor(uint64_t index) const { return tensors_[index]; }
  /// The panels of a weight that a matmul of the tape uses; null for others.
  const uint8_t* panels(uint64_t index) const { return panels_[index]; }
  /// Row `row` of a weight, dequantized: of its panels where it is packed, so that the file's copy
  /// is not needed. `to` holds a row of floats.
  void ReadRow(uint64_t index, uint32_t row, float* to) const;

 private:
  std::vector<HostTensor> tensors_;
  std::vector<const uint8_t*> panels_;
  AlignedMemory memory_;
};

}  // namespace cormorant::cpu
