// The kernels of MatMul. See kernels_rows.cc.
#include "backends/gpu/kernels.h"
#include "shaders/gpu/matmul.cuh"
#include "shaders/gpu/matvec.cuh"
#include "shaders/gpu/quantize_x.cuh"

namespace cormorant::GPU_NAMESPACE {
namespace {

template <uint32_t kType>
const Kernel& MatVecOf(uint32_t batch) {
  static const Kernel by_batch[] = {
      GPU_HANDLE("matvec, 1 row", MatMulArguments, kernels::MatVec<kType, 1>),
      GPU_HANDLE("matvec, 2 rows", MatMulArguments, kernels::MatVec<kType, 2>),
      GPU_HANDLE("matvec, 4 rows", MatMulArguments, kernels::MatVec<kType, 4>),
      GPU_HANDLE("matvec, 8 rows", MatMulArguments, kernels::MatVec<kType, 8>)};
  return by_batch[batch == 1 ? 0 : batch == 2 ? 1 : batch == 4 ? 2 : 3];
}

}  // namespace

const Kernel& QuantizeXKernel() {
  static const Kernel kernel = GPU_HANDLE("quantize_x", QuantizeXArguments, kernels::QuantizeX);
  return kernel;
}
const Kernel& MatVecKernel(WeightType type, uint32_t batch) {
  switch (type) {
    case kF32: return MatVecOf<kF32>(batch);
    case kF16: return MatVecOf<kF16>(batch);
    case kBF16: return MatVecOf<kBF16>(batch);
    case kQ8_0: return MatVecOf<kQ8_0>(batch);
    case kQ4_0: return MatVecOf<kQ4_0>(batch);
    default: return MatVecOf<kQ4_1>(batch);
  }
}
const Kernel& MatMulKernel(WeightType type) {
  static const Kernel by_type[kWeightTypes] = {
      GPU_HANDLE("matmul f32", MatMulArguments, kernels::MatMul<kF32>),
      GPU_HANDLE("matmul f16", MatMulArguments, kernels::MatMul<kF16>),
      GPU_HANDLE("matmul bf16", MatMulArguments, kernels::MatMul<kBF16>),
      GPU_HANDLE("matmul q8_0", MatMulArguments, kernels::MatMulDot<kQ8_0>),
      GPU_HANDLE("matmul q4_0", MatMulArguments, kernels::MatMulDot<kQ4_0>),
      GPU_HANDLE("matmul q4_1", MatMulArguments, kernels::MatMulDot<kQ4_1>)};
  return by_type[type];
}

}  // namespace cormorant::GPU_NAMESPACE
