"""Makes runtime/format/grids.cc: the points that IQ types choose from.

    pip install numpy gguf==0.19.0
    python make_grids.py            # writes grids.cc
    python make_grids.py --check    # ends with 1 if grids.cc is not what it would write, 77 without
                                    # the package

The tables are data of the format; the `gguf` package has them as the elements that they stand for,
and here each point becomes a word of coordinates (grids.h).
"""
import pathlib
import sys

try:
    import numpy as np
    from gguf import quants
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

TARGET = pathlib.Path(__file__).resolve().parents[2] / "runtime/format/grids.cc"
HEAD = """// The points that IQ types choose from. See grids.h; made by tools/dev/make_grids.py.
#include "runtime/format/grids.h"

namespace cormorant {

// clang-format off
"""
NAMES = ("IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S")


def points(kind):
    """One word for each point of a type's grid."""
    kind.init_grid()
    grid = kind.grid.reshape(kind.grid_shape)
    coordinates = np.searchsorted(np.array(kind.grid_map), grid).astype(np.uint64)
    assert (np.array(kind.grid_map)[coordinates] == grid).all()
    bits = 16 // grid.shape[1]
    return [sum(int(c) << bits * i for i, c in enumerate(point)) for point in coordinates]


def text():
    parts = [HEAD]
    for name in NAMES:
        words = points(getattr(quants, name))
        shown = "IQ1" if name == "IQ1_S" else name
        parts.append(f"const uint16_t kGrid{shown}[{len(words)}] = {{\n")
        for at in range(0, len(words), 12):
            row = ", ".join(f"0x{word:04x}" for word in words[at:at + 12])
            parts.append(f"    {row},\n")
        parts.append("};\n\n")
    parts.append("// clang-format on\n\n}  // namespace cormorant\n")
    return "".join(parts)


def main():
    if sys.argv[1:] != ["--check"]:
        TARGET.write_text(text())
    elif TARGET.read_text() != text():
        sys.exit(f"{TARGET.name} is not what {pathlib.Path(__file__).name} makes; run it")


if __name__ == "__main__":
    main()
