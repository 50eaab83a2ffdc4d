// The kernels of ops on the cache but attention. See kernels_rows.cc.
#include "backends/gpu/kernels.h"
#include "shaders/gpu/kv_ages.cuh"
#include "shaders/gpu/kv_compact.cuh"
#include "shaders/gpu/kv_rebase.cuh"
#include "shaders/gpu/kv_score.cuh"
#include "shaders/gpu/kv_spread.cuh"
#include "shaders/gpu/kv_write.cuh"
#include "shaders/gpu/query_stats.cuh"

namespace cormorant::GPU_NAMESPACE {

const Kernel& KvAgesKernel() {
  static const Kernel kernel = GPU_HANDLE("kv_ages", KvAgesArguments, kernels::KvAges);
  return kernel;
}
const Kernel& KvCompactKernel() {
  static const Kernel kernel = GPU_HANDLE("kv_compact", KvCompactArguments, kernels::KvCompact);
  return kernel;
}
const Kernel& KvRebaseKernel() {
  static const Kernel kernel = GPU_HANDLE("kv_rebase", KvRebaseArguments, kernels::KvRebase);
  return kernel;
}
const Kernel& KvScoreKernel() {
  static const Kernel kernel = GPU_HANDLE("kv_score", KvScoreArguments, kernels::KvScore);
  return kernel;
}
const Kernel& KvSpreadKernel() {
  static const Kernel kernel = GPU_HANDLE("kv_spread", KvSpreadArguments, kernels::KvSpread);
  return kernel;
}
const Kernel& KvWriteKernel() {
  static const Kernel kernel = GPU_HANDLE("kv_write", KvWriteArguments, kernels::KvWrite);
  return kernel;
}
const Kernel& QueryStatsKernel() {
  static const Kernel kernel = GPU_HANDLE("query_stats", QueryStatsArguments, kernels::QueryStats);
  return kernel;
}

}  // namespace cormorant::GPU_NAMESPACE
