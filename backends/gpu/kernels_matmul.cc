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
      GPU_HANDLE("matvec, 1 row", MatVecArguments, kernels::MatVec<kType, 1>),
      GPU_HANDLE("matvec, 2 rows", MatVecArguments, kernels::MatVec<kType, 2>),
      GPU_HANDLE("matvec, 4 rows", MatVecArguments, kernels::MatVec<kType, 4>),
      GPU_HANDLE("matvec, 8 rows", MatVecArguments, kernels::MatVec<kType, 8>)};
  return by_batch[batch == 1 ? 0 : batch == 2 ? 1 : batch == 4 ? 2 : 3];
}

template <uint32_t kType>
const Kernel& MatMulOf(uint32_t size) {
  static const Kernel by_size[kMatMulSizes] = {
      GPU_HANDLE("matmul, 32 rows", MatMulArguments, kernels::MatMul<kType, 0>),
      GPU_HANDLE("matmul, 64 rows", MatMulArguments, kernels::MatMul<kType, 1>),
      GPU_HANDLE("matmul, 128 rows", MatMulArguments, kernels::MatMul<kType, 2>)};
  return by_size[size];
}
template <uint32_t kType>
const Kernel& MatMulDotOf(uint32_t size) {
  static const Kernel by_size[kMatMulSizes] = {
      GPU_HANDLE("matmul of bytes, 32 rows", MatMulArguments, kernels::MatMulDot<kType, 0>),
      GPU_HANDLE("matmul of bytes, 64 rows", MatMulArguments, kernels::MatMulDot<kType, 1>),
      GPU_HANDLE("matmul of bytes, 128 rows", MatMulArguments, kernels::MatMulDot<kType, 2>)};
  return by_size[size];
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
const Kernel& MatMulKernel(WeightType type, uint32_t size) {
  switch (type) {
    case kF32: return MatMulOf<kF32>(size);
    case kF16: return MatMulOf<kF16>(size);
    case kBF16: return MatMulOf<kBF16>(size);
    case kQ8_0: return MatMulDotOf<kQ8_0>(size);
    case kQ4_0: return MatMulDotOf<kQ4_0>(size);
    default: return MatMulDotOf<kQ4_1>(size);
  }
}

}  // namespace cormorant::GPU_NAMESPACE
