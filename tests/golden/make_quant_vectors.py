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
ROWS = 4
BLOCKS = 12  # Of a type: three a row. Types without blocks have as many elements as 12 of 32.
SCALES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0x3C00,
          0xB555]  # One for each block.
# Where in a block the f16 scales are.
SCALES_AT = {
    Type.Q8_0: (0,), Type.Q4_0: (0,), Type.Q4_1: (0, 2), Type.Q5_0: (0,), Type.Q5_1: (0, 2),
    Type.Q2_K: (80, 82), Type.Q3_K: (108,), Type.Q4_K: (0, 2), Type.Q5_K: (0, 2), Type.Q6_K: (208,),
    Type.IQ1_S: (0,), Type.IQ1_M: (), Type.IQ2_XXS: (0,), Type.IQ2_XS: (0,), Type.IQ2_S: (0,),
    Type.IQ3_XXS: (0,), Type.IQ3_S: (0,), Type.IQ4_NL: (0,), Type.IQ4_XS: (0,), Type.TQ1_0: (52,),
    Type.TQ2_0: (64,), Type.MXFP4: (), Type.NVFP4: ()}


def set_scale_of_iq1_m(blocks):
    """Its f16 scale is spread over the top nibbles of its last four words."""
    words = np.ascontiguousarray(blocks[:, -8:]).view(np.uint16)
    for i in range(4):
        nibbles = np.array(SCALES, np.uint16) >> 4 * i & 15
        words[:, i] = words[:, i] & 0x0FFF | nibbles << 12
    blocks[:, -8:] = words.view(np.uint8)


def stored(kind, random):
    """Random rows of this type, as rows of bytes."""
    if kind in (Type.F16, Type.BF16):
        data = random.integers(0, 256, (ROWS, 32 * BLOCKS // ROWS * 2), dtype=np.uint8)
        data[0, :2 * len(SCALES)] = np.array(SCALES, np.uint16).view(np.uint8)
        return data
    size = gguf.GGML_QUANT_SIZES[kind][1]
    data = random.integers(0, 256, (ROWS, BLOCKS // ROWS * size), dtype=np.uint8)
    blocks = data.reshape(-1, size)
    for i, at in enumerate(SCALES_AT[kind]):  # The second: in another order, so that they meet.
        scales = SCALES[5 * i:] + SCALES[:5 * i]
        blocks[:, at:at + 2] = np.array(scales, np.uint16).view(np.uint8).reshape(-1, 2)
    if kind == Type.IQ1_M:
        set_scale_of_iq1_m(blocks)
    elif kind == Type.MXFP4:
        blocks[:4, 0] = 0, 1, 254, 255
    elif kind == Type.NVFP4:
        blocks[:2, :4] = [[0, 0x7F, 0x80, 0xFF], [1, 7, 8, 0x7E]]
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

    for kind in (Type.F16, Type.BF16, *SCALES_AT):
        data = stored(kind, random)
        with np.errstate(all="ignore"):
            values = gguf.quants.dequantize(data, kind).astype(np.float32)
        shown = data.view(np.float16) if kind == Type.F16 else data
        writer.add_tensor(kind.name, shown, raw_dtype=kind)
        writer.add_tensor(kind.name + ".f32", values.reshape(ROWS, -1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(path.name, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
