"""Makes quant_vectors.gguf: quantized blocks with the values the `gguf` package gives them.

    pip install numpy gguf==0.19.0
    python make_quant_vectors.py            # writes quant_vectors.gguf beside itself

The file is committed; the C++ tests only read it. It checks two things against an independent
implementation: the reader, since the package's own writer made the file (every metadata type is in
it), and dequantization, value for value. For each type T there are the tensors `T` (the stored
blocks) and `T.f32` (what gguf.quants.dequantize makes of them, as f32).

Blocks are random bytes from a fixed seed, so all quants occur, under scales that break naive code:
zero and negative zero, the smallest subnormal f16, the largest finite f16, negative ones, infinity
and NaN. For f16 and bf16 the same corner cases stand in front of random bits. Sums of opposite
infinities and 0 * infinity are in there: comparison treats all NaN as equal.
"""
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType as Value

HERE = pathlib.Path(__file__).resolve().parent
ROWS, COLUMNS = 4, 96
SCALES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x3C00,
          0xB555]  # One for each block of 4 rows of 96.


def stored(kind, random):
    """Bytes of ROWS x COLUMNS elements of this type, as rows of bytes."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = random.integers(0, 256, (ROWS, COLUMNS // block * size), dtype=np.uint8)
    if block > 1:
        blocks = data.reshape(-1, size)
        blocks[:, :2] = np.array(SCALES, np.uint16).view(np.uint8).reshape(-1, 2)
        if kind == Type.Q4_1:  # The minimum: the same cases in another order, so that they meet.
            blocks[:, 2:4] = np.array(SCALES[5:] + SCALES[:5], np.uint16).view(np.uint8).reshape(
                -1, 2)
    elif size == 2:
        data[0, :2 * len(SCALES)] = np.array(SCALES, np.uint16).view(np.uint8)
    return data


def main():
    random = np.random.default_rng(20240817)
    path = HERE / "quant_vectors.gguf"
    writer = gguf.GGUFWriter(path, "vectors")
    scalars = [("u8", 200, Value.UINT8), ("i8", -100, Value.INT8), ("u16", 60000, Value.UINT16),
               ("i16", -30000, Value.INT16), ("u32", 4000000000, Value.UINT32),
               ("i32", -2000000000, Value.INT32), ("f32", 0.1, Value.FLOAT32),
               ("bool", True, Value.BOOL), ("string", "Kormoran ü 鵜", Value.STRING),
               ("u64", 2**64 - 1, Value.UINT64), ("i64", -(2**63), Value.INT64),
               ("f64", 0.1, Value.FLOAT64)]
    for name, value, kind in scalars:
        writer.add_key_value("value." + name, value, kind)
    writer.add_array("array.i32", [1, -2, 3])
    writer.add_array("array.f32", [0.5, -1.5])
    writer.add_array("array.bool", [True, False, True])
    writer.add_array("array.string", ["", "a", "Ġthe", "\n"])

    for kind in (Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1):
        data = stored(kind, random)
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(data, kind).astype(np.float32)
        shown = data.view(np.float16) if kind == Type.F16 else data
        writer.add_tensor(kind.name, shown, raw_dtype=kind)
        writer.add_tensor(kind.name + ".f32", values.reshape(ROWS, COLUMNS))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
