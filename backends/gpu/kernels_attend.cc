// The kernels of attention. See kernels_rows.cc.
#include "backends/gpu/kernels.h"
#include "shaders/gpu/attend_split.cuh"
#include "shaders/gpu/attend_tile.cuh"

namespace cormorant::GPU_NAMESPACE {
namespace {

template <bool kKeys, bool kValues>
const Kernel& SplitOf(uint32_t heads) {
  static const Kernel by_heads[] = {
      GPU_HANDLE("attend_split, 1 head", AttendArguments, kernels::AttendSplit<kKeys, kValues, 1>),
      GPU_HANDLE("attend_split, 2 heads", AttendArguments, kernels::AttendSplit<kKeys, kValues, 2>),
      GPU_HANDLE("attend_split, 4 heads", AttendArguments, kernels::AttendSplit<kKeys, kValues, 4>),
      GPU_HANDLE("attend_split, 8 heads", AttendArguments,
                 kernels::AttendSplit<kKeys, kValues, 8>)};
  return by_heads[heads == 1 ? 0 : heads == 2 ? 1 : heads <= 4 ? 2 : 3];
}

template <bool kKeys, bool kValues>
const Kernel& TileOf(uint32_t head_dim) {
  static const Kernel by_slices[] = {GPU_HANDLE("attend_tile, 64 dimensions", AttendArguments,
                                                kernels::AttendTile<kKeys, kValues, 1, 32>),
                                     GPU_HANDLE("attend_tile, 128 dimensions", AttendArguments,
                                                kernels::AttendTile<kKeys, kValues, 2, 32>),
                                     GPU_HANDLE("attend_tile, 256 dimensions", AttendArguments,
                                                kernels::AttendTile<kKeys, kValues, 4, 16>)};
  return by_slices[head_dim <= 64 ? 0 : head_dim <= 128 ? 1 : 2];
}

}  // namespace

const Kernel& AttendSplitKernel(bool keys_are_q8, bool values_are_q8, uint32_t heads) {
  if (keys_are_q8) return values_are_q8 ? SplitOf<true, true>(heads) : SplitOf<true, false>(heads);
  return values_are_q8 ? SplitOf<false, true>(heads) : SplitOf<false, false>(heads);
}
const Kernel& AttendFinishKernel() {
  static const Kernel kernel = GPU_HANDLE("attend_finish", AttendArguments, kernels::AttendFinish);
  return kernel;
}
const Kernel& AttendTileKernel(bool keys_are_q8, bool values_are_q8, uint32_t head_dim) {
  if (keys_are_q8) {
    return values_are_q8 ? TileOf<true, true>(head_dim) : TileOf<true, false>(head_dim);
  }
  return values_are_q8 ? TileOf<false, true>(head_dim) : TileOf<false, false>(head_dim);
}

}  // namespace cormorant::GPU_NAMESPACE
