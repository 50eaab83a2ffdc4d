// What each kernel of the CPU backend reaches on one core, beside what the core can do.
//
//   build/bin/kernels_bench [--benchmark_filter=REGEX]
//
// The first lines measure the limits: bytes read from memory, and dot products of bytes out of
// registers' reach (the quantized matmul of one cached tile). Every other line reports bytes or
// multiply-adds a second, to be divided by those. CORMORANT_CPU=avx2 (portable, avx512, neon)
// chooses the instruction set.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/kernels.h"
#include "backends/cpu/phases.h"
#include "backends/cpu/weights.h"
#include "platform/cpu.h"
#include "platform/memory.h"
#include "runtime/format/quants.h"
#include "runtime/ops/kv_page.h"

namespace cormorant::cpu {
namespace {

constexpr uint64_t kPastCaches = 256u << 20;

const Kernels& ChosenKernels() {
  const absl::StatusOr<CpuIsa> isa = ChooseCpuIsa();
#if defined(__x86_64__)
  if (isa.ok() && *isa == CpuIsa::kAvx512) return avx512::kKernels;
  if (isa.ok() && *isa == CpuIsa::kAvx2) return avx2::kKernels;
#elif defined(__aarch64__)
  if (isa.ok() && *isa == CpuIsa::kNeon) return neon::kKernels;
#endif
  return portable::kKernels;
}

/// Random bytes that are sane f16 scales wherever they are read as such: about 1/16.
AlignedMemory RandomBytes(uint64_t bytes) {
  AlignedMemory memory = *AlignedMemory::Allocate(bytes);
  uint16_t* halves = reinterpret_cast<uint16_t*>(memory.data());
  std::mt19937 random(1);
  for (uint64_t i = 0; i < bytes / 2; ++i) {
    halves[i] = static_cast<uint16_t>(0x2c00 | (random() & 0x83ff));
  }
  return memory;
}

std::vector<float> RandomFloats(uint64_t count) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> floats(count);
  for (float& x : floats) x = normal(random);
  return floats;
}

void ReadMemory(benchmark::State& state) {
  const AlignedMemory memory = RandomBytes(kPastCaches);
  const uint64_t* words = reinterpret_cast<const uint64_t*>(memory.data());
  for (auto _ : state) {
    uint64_t sums[8] = {};
    for (uint64_t i = 0; i < kPastCaches / 8; i += 8) {
      for (int j = 0; j < 8; ++j) sums[j] ^= words[i + j];
    }
    benchmark::DoNotOptimize(sums);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * kPastCaches));
}
BENCHMARK(ReadMemory)->Unit(benchmark::kMillisecond);

/// rows x columns of activations with `outer` rows of weights: args rows, columns, outer, dtype.
void Panels(benchmark::State& state) {
  const Kernels& kernels = ChosenKernels();
  const uint32_t rows = static_cast<uint32_t>(state.range(0));
  const uint32_t columns = static_cast<uint32_t>(state.range(1));
  const uint32_t outer = static_cast<uint32_t>(state.range(2));
  const DType dtype = static_cast<DType>(state.range(3));
  const uint64_t panel_bytes = PanelBytes(dtype, columns);
  const uint32_t blocks = columns / kBlock;
  const AlignedMemory panels = RandomBytes(PanelCount(outer) * panel_bytes);
  const std::vector<float> x = RandomFloats(uint64_t{rows} * columns);
  const uint64_t tile_bytes = kernels.tile_bytes(blocks);
  std::vector<uint8_t> tiles((rows + kernels.tile_rows - 1) / kernels.tile_rows * tile_bytes);
  for (uint32_t r = 0; r < rows; r += kernels.tile_rows) {
    const float* places[kTileRowsMax];
    const uint32_t count = std::min(kernels.tile_rows, rows - r);
    for (uint32_t i = 0; i < count; ++i) places[i] = &x[uint64_t{r + i} * columns];
    kernels.quantize_tile(places, count, blocks, 1.0f, &tiles[r / kernels.tile_rows * tile_bytes]);
  }
  std::vector<float> y(uint64_t{rows} * outer);
  PanelTask task{};
  task.type = PanelTypeOf(dtype);
  task.blocks = blocks;
  task.panels = reinterpret_cast<const uint8_t*>(panels.data());
  task.panel_bytes = panel_bytes;
  task.levels = LevelsOf(dtype);
  task.tiles = tiles.data();
  task.tile_bytes = tile_bytes;
  task.y = y.data();
  task.columns = outer;
  task.last_panel = PanelCount(outer);
  task.last_row = rows;
  for (auto _ : state) {
    kernels.multiply_panels(task);
    benchmark::DoNotOptimize(y.data());
  }
  state.SetLabel(std::string(Info(dtype).name));
  const double products = static_cast<double>(rows) * columns * outer;
  state.SetBytesProcessed(
      static_cast<int64_t>(state.iterations() * PanelCount(outer) * panel_bytes));
  state.counters["multiply_adds"] = benchmark::Counter(
      products, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}
std::vector<int64_t> BlockTypes() {
  std::vector<int64_t> types;
  for (uint32_t i = 0; i < kDTypes; ++i) {
    if (IsBlockType(static_cast<DType>(i))) types.push_back(i);
  }
  return types;
}
// A tile and a few panels in the first cache: the arithmetic limit of the loop.
BENCHMARK(Panels)->Args({8, 576, 64, static_cast<int>(DType::kQ4_1)});
// Decode, weights past the caches: the bandwidth limit.
BENCHMARK(Panels)
    ->Args({1, 576, 32768, static_cast<int>(DType::kQ4_1)})
    ->ArgsProduct({{1}, {4096}, {32768}, BlockTypes()})
    ->ArgsProduct({{2, 4}, {4096}, {32768}, {static_cast<int>(DType::kQ4_1)}})
    ->Unit(benchmark::kMillisecond);
// Prefill.
BENCHMARK(Panels)
    ->Args({64, 576, 576, static_cast<int>(DType::kQ4_1)})
    ->ArgsProduct({{64}, {1536}, {576}, BlockTypes()})
    ->Unit(benchmark::kMicrosecond);

/// Scores, softmax and values of one run of pages: args queries, head width, type of rows, runs of
/// pages, scattered, that take turns.
void AttendRun(benchmark::State& state) {
  const Kernels& kernels = ChosenKernels();
  const uint32_t queries = std::min(kernels.tile_rows, static_cast<uint32_t>(state.range(0)));
  const uint32_t head_dim = static_cast<uint32_t>(state.range(1));
  const DType type = static_cast<DType>(state.range(2));
  const KvGeometry geometry{1, 1, head_dim, type, type, kRunPages};
  const KvPageLayout layout(geometry);
  const PageShape shape = ShapeOf(geometry);
  const uint64_t runs = static_cast<uint64_t>(state.range(3));
  AlignedMemory memory = RandomBytes(runs * kRunPages * layout.page_bytes);
  std::vector<uint8_t*> pages(runs * kRunPages);
  for (size_t p = 0; p < pages.size(); ++p) {
    pages[p] = reinterpret_cast<uint8_t*>(memory.data()) + p * layout.page_bytes;
  }
  std::shuffle(pages.begin(), pages.end(), std::mt19937());
  const std::vector<float> x = RandomFloats(uint64_t{queries} * head_dim);
  const float* rows[kTileRowsMax];
  for (uint32_t j = 0; j < queries; ++j) rows[j] = &x[j * head_dim];
  std::vector<uint8_t> packed(kernels.query_bytes(shape));
  kernels.pack_queries(shape, rows, queries, 0.01f, packed.data());
  std::vector<float> weights(uint64_t{queries} * kRunStride), o(uint64_t{queries} * head_dim);
  RunTask task{&shape, pages.data(), kRunSlots, queries};
  for (auto _ : state) {
    task.pages += kRunPages;
    if (task.pages == pages.data() + pages.size()) task.pages = pages.data();
    kernels.scores(task, packed.data(), weights.data());
    for (uint32_t j = 0; j < queries; ++j) {
      float greatest;
      kernels.softmax(&weights[j * kRunStride], kRunSlots, kRunSlots, &greatest);
    }
    kernels.values(task, weights.data(), o.data(), head_dim);
    benchmark::DoNotOptimize(o.data());
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * kRunPages * layout.page_bytes));
  state.counters["multiply_adds"] = benchmark::Counter(
      2.0 * queries * kRunSlots * head_dim, benchmark::Counter::kIsIterationInvariantRate,
      benchmark::Counter::kIs1000);
}
BENCHMARK(AttendRun)->ArgsProduct({{1, 3, 8},
                                   {64, 128},
                                   {static_cast<int>(DType::kF16), static_cast<int>(DType::kQ8_0),
                                    static_cast<int>(DType::kQ4_0)},
                                   {1, 2048}});

}  // namespace
}  // namespace cormorant::cpu

BENCHMARK_MAIN();
