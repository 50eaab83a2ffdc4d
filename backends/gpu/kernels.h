// The kernels of shaders/gpu, as host code asks for them. Defined in kernels_*.cc, which are
// compiled for each kind of device.
#pragma once
#include "shaders/gpu/arguments.h"

namespace cormorant::GPU_NAMESPACE {

const Kernel& ActKernel();
const Kernel& ActQuantizeKernel();
const Kernel& EmbedKernel(WeightType type);
const Kernel& GatherRowsKernel();
const Kernel& RmsNormKernel();
const Kernel& RopeKernel();
const Kernel& TopKKernel();

const Kernel& KvAgesKernel();
const Kernel& KvCompactKernel();
const Kernel& KvScoreKernel();
const Kernel& KvSpreadKernel();
const Kernel& KvRebaseKernel();
const Kernel& KvWriteKernel();
const Kernel& QueryStatsKernel();

const Kernel& QuantizeXKernel();
/// Types with scales want x quantized.
const Kernel& MatVecKernel(WeightType type, uint32_t batch);  // batch: 1, 2, 4 or 8.
const Kernel& MatMulKernel(WeightType type, uint32_t size);   // Of kMatMulTiles, kMatMulDotTiles.

/// By the cache's types. heads: 1, 2, 4 or 8.
const Kernel& AttendSplitKernel(RowType keys, RowType values, uint32_t heads);
const Kernel& AttendFinishKernel();
const Kernel& AttendTileKernel(RowType keys, RowType values, uint32_t head_dim);

}  // namespace cormorant::GPU_NAMESPACE
