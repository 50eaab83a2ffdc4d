// The kernels of attention. See kernels_rows.cc.
#include "backends/gpu/kernels.h"
#include "shaders/gpu/attend_split.cuh"
#include "shaders/gpu/attend_tile.cuh"

namespace cormorant::GPU_NAMESPACE {
namespace {

template <RowType kKeys, RowType kValues>
const Kernel& SplitOf(uint32_t heads) {
  static const Kernel by_heads[] = {
      GPU_HANDLE("attend_split, 1 head", AttendArguments, kernels::AttendSplit<kKeys, kValues, 1>),
      GPU_HANDLE("attend_split, 2 heads", AttendArguments, kernels::AttendSplit<kKeys, kValues, 2>),
      GPU_HANDLE("attend_split, 4 heads", AttendArguments, kernels::AttendSplit<kKeys, kValues, 4>),
      GPU_HANDLE("attend_split, 8 heads", AttendArguments,
                 kernels::AttendSplit<kKeys, kValues, 8>)};
  return by_heads[heads == 1 ? 0 : heads == 2 ? 1 : heads <= 4 ? 2 : 3];
}

template <RowType kKeys, RowType kValues>
const Kernel& TileOf(uint32_t head_dim) {
  static const Kernel by_slices[] = {GPU_HANDLE("attend_tile, 64 dimensions", AttendArguments,
                                                kernels::AttendTile<kKeys, kValues, 1, 32>),
                                     GPU_HANDLE("attend_tile, 128 dimensions", AttendArguments,
                                                kernels::AttendTile<kKeys, kValues, 2, 32>),
                                     GPU_HANDLE("attend_tile, 256 dimensions", AttendArguments,
                                                kernels::AttendTile<kKeys, kValues, 4, 16>)};
  return by_slices[head_dim <= 64 ? 0 : head_dim <= 128 ? 1 : 2];
}

/// Calls f with a type of rows, or those of keys and values, as constants.
template <RowType kType>
struct RowTypeIs {
  static constexpr RowType value = kType;
};
template <class F>
const Kernel& WithType(RowType type, F&& f) {
  switch (type) {
    case kHalfRows: return f(RowTypeIs<kHalfRows>());
    case kByteRows: return f(RowTypeIs<kByteRows>());
    default: return f(RowTypeIs<kHalfByteRows>());
  }
}
template <class F>
const Kernel& WithTypes(RowType keys, RowType values, F&& f) {
  return WithType(keys, [&](auto k) -> const Kernel& {
    return WithType(values, [&](auto v) -> const Kernel& { return f(k, v); });
  });
}

}  // namespace

const Kernel& AttendSplitKernel(RowType keys, RowType values, uint32_t heads) {
  return WithTypes(keys, values, [&](auto k, auto v) -> const Kernel& {
    return SplitOf<decltype(k)::value, decltype(v)::value>(heads);
  });
}
const Kernel& AttendFinishKernel() {
  static const Kernel kernel = GPU_HANDLE("attend_finish", AttendArguments, kernels::AttendFinish);
  return kernel;
}
const Kernel& AttendTileKernel(RowType keys, RowType values, uint32_t head_dim) {
  return WithTypes(keys, values, [&](auto k, auto v) -> const Kernel& {
    return TileOf<decltype(k)::value, decltype(v)::value>(head_dim);
  });
}

}  // namespace cormorant::GPU_NAMESPACE
