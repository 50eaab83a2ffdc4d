// The kernels of ops on rows of activations, for one kind of device: compiled by nvcc, by hipcc, or
// for the host.
#include "backends/gpu/kernels.h"
#include "shaders/gpu/act.cuh"
#include "shaders/gpu/embed.cuh"
#include "shaders/gpu/gather_rows.cuh"
#include "shaders/gpu/rms_norm.cuh"
#include "shaders/gpu/rope.cuh"
#include "shaders/gpu/top_k.cuh"

namespace cormorant::GPU_NAMESPACE {

const Kernel& ActKernel() {
  static const Kernel kernel = GPU_HANDLE("act", ActArguments, kernels::Act);
  return kernel;
}
const Kernel& ActQuantizeKernel() {
  static const Kernel kernel = GPU_HANDLE("act_quantize", ActArguments, kernels::ActQuantize);
  return kernel;
}
const Kernel& EmbedKernel(WeightType type) {
  static const Kernel by_type[kWeightTypes] = {
      GPU_HANDLE("embed f32", EmbedArguments, kernels::Embed<kF32>),
      GPU_HANDLE("embed f16", EmbedArguments, kernels::Embed<kF16>),
      GPU_HANDLE("embed bf16", EmbedArguments, kernels::Embed<kBF16>),
      GPU_HANDLE("embed q8_0", EmbedArguments, kernels::Embed<kQ8_0>),
      GPU_HANDLE("embed q4_0", EmbedArguments, kernels::Embed<kQ4_0>),
      GPU_HANDLE("embed q4_1", EmbedArguments, kernels::Embed<kQ4_1>)};
  return by_type[type];
}
const Kernel& GatherRowsKernel() {
  static const Kernel kernel = GPU_HANDLE("gather_rows", GatherRowsArguments, kernels::GatherRows);
  return kernel;
}
const Kernel& RmsNormKernel() {
  static const Kernel kernel = GPU_HANDLE("rms_norm", RmsNormArguments, kernels::RmsNorm);
  return kernel;
}
const Kernel& RopeKernel() {
  static const Kernel kernel = GPU_HANDLE("rope", RopeArguments, kernels::Rope);
  return kernel;
}
const Kernel& TopKKernel() {
  static const Kernel kernel = GPU_HANDLE("top_k", TopKArguments, kernels::TopK);
  return kernel;
}

}  // namespace cormorant::GPU_NAMESPACE
