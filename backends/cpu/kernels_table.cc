// The table of one instruction set's kernels. See kernels.h.
#include "backends/cpu/kernel_list.h"

namespace cormorant::cpu::CORM_ISA {

static_assert(kTileRows <= kTileRowsMax);

const Kernels kKernels = {kTileRows,  TileBytes,   QuantizeTile, MultiplyPanels, MultiplyDense,
                          RmsNorm,    SiluProduct, Rotate,       Hadamard,       WriteRow,
                          QueryBytes, PackQueries, Scores,       Softmax,        Values,
                          Merge,      Stamp,       AddAttention};

}  // namespace cormorant::cpu::CORM_ISA
