#!/usr/bin/env python3
"""Writes a llama model of any size with random weights, for tests of speed and memory.

    pip install numpy gguf
    tools/gpu/make_model.py --shape 8B --type Q4_0 --donor SmolLM2.gguf -o 8B.gguf

A shape is a name below or L,D,FF,H,G,E,V: layers, width, width of the feed-forward layer, heads, KV
heads, dimensions of a head, tokens (0: the donor's). The tokenizer is the donor's, with dummy
tokens up to the shape's vocabulary; without a donor it has bytes for tokens. What such a model says
means nothing, but its activations are of ordinary size, so that every kernel does ordinary work.

Weights are blocks of random quants, not quantized values, and a matrix repeats one buffer of some
MB: the largest matrix is the most that is held in memory.
"""
import argparse
import math
import os
import typing

import gguf
import numpy as np

import gguf_header

TYPES = ("F16", "Q8_0", "Q4_0", "Q4_1", "Q4_K")
CONTEXT = 131072
BLOCKS = 65521  # Of a buffer; a prime, so that no two rows of a matrix begin at the same block.
F16_VALUES = 2097143  # The same for values without blocks.
SPREAD = 0.5  # Scales of blocks vary by so much on both sides.


class Shape(typing.NamedTuple):
    layers: int
    width: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    is_tied: bool = False  # The embedding is the output matrix too.


# As Llama 3.2 1B, 3.1 8B and 3.1 70B are.
SHAPES = {
    "tiny": Shape(2, 256, 512, 4, 2, 64, 0),
    "100M": Shape(12, 768, 2048, 12, 4, 64, 0, True),
    "1B": Shape(16, 2048, 8192, 32, 8, 64, 128256, True),
    "8B": Shape(32, 4096, 14336, 32, 8, 128, 128256),
    "70B": Shape(80, 8192, 28672, 64, 8, 128, 128256),
}


def read_shape(text):
    if text in SHAPES:
        return SHAPES[text]
    try:
        shape = Shape(*map(int, text.split(",")))
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(
            f"'{text}' is none of {', '.join(SHAPES)} and not L,D,FF,H,G,E,V") from error
    if min(shape[:6]) < 1 or shape.heads % shape.kv_heads or shape.width % 32 or shape.ffn % 32:
        raise argparse.ArgumentTypeError(
            f"'{text}': widths are multiples of 32, heads one of KV heads")
    return shape


def nibbles(random, count, lowest):
    """Bytes of two quants each, from `lowest` to 15."""
    low, high = random.integers(lowest, 16, (2, *count), dtype=np.uint8)
    return low | high << 4


def k_scales(scales):
    """Eight 6-bit scales, used as scales and as minima, in the 12 bytes of a Q4_K block."""
    first, last = scales[:, :4], scales[:, 4:]
    top = first | last >> 4 << 6
    return np.concatenate([top, top, (last & 15) | (last & 15) << 4], axis=1)


def random_blocks(kind, deviation, random):
    """A buffer of blocks whose values have mean 0 and the given deviation."""
    if kind == "F16":
        return (random.standard_normal(F16_VALUES, np.float32) * deviation).astype(np.float16)
    scale = random.uniform(1 - SPREAD, 1 + SPREAD, BLOCKS) * deviation / math.hypot(
        1, SPREAD / math.sqrt(3))
    four_bits = math.sqrt((16 ** 2 - 1) / 12)  # The deviation of quants 0 to 15.
    if kind == "Q8_0":
        blocks = np.zeros(BLOCKS, [("d", "<f2"), ("quants", "i1", 32)])
        blocks["d"] = scale / math.sqrt((255 ** 2 - 1) / 12)
        blocks["quants"] = random.integers(-127, 128, (BLOCKS, 32), dtype=np.int8)
    elif kind == "Q4_0":  # x = d (q - 8): without 0 the mean is 0.
        blocks = np.zeros(BLOCKS, [("d", "<f2"), ("quants", "u1", 16)])
        blocks["d"] = scale / math.sqrt((15 ** 2 - 1) / 12)
        blocks["quants"] = nibbles(random, (BLOCKS, 16), 1)
    elif kind == "Q4_1":  # x = d q + m
        blocks = np.zeros(BLOCKS, [("d", "<f2"), ("m", "<f2"), ("quants", "u1", 16)])
        blocks["d"] = scale / four_bits
        blocks["m"] = -7.5 * blocks["d"].astype(np.float32)
        blocks["quants"] = nibbles(random, (BLOCKS, 16), 0)
    else:  # Q4_K: x = s (d q - m), s one of eight scales.
        blocks = np.zeros(BLOCKS, [("d", "<f2"), ("m", "<f2"), ("scales", "u1", 12),
                                   ("quants", "u1", 128)])
        scales = random.integers(32, 64, (BLOCKS, 8), dtype=np.uint8)
        blocks["d"] = scale / (four_bits * math.sqrt(np.mean(np.square(scales, dtype=np.float64))))
        blocks["m"] = 7.5 * blocks["d"].astype(np.float32)
        blocks["scales"] = k_scales(scales)
        blocks["quants"] = nibbles(random, (BLOCKS, 128), 0)
    return blocks


def byte_vocabulary(writer):
    """One token a byte, spelled as GPT-2 spells it, a first, a last and an end-of-turn token."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    spelling = {byte: chr(byte) for byte in plain}
    spelling.update({byte: chr(256 + i) for i, byte in enumerate(others)})
    tokens = [spelling[byte] for byte in range(256)] + ["<s>", "</s>", "<|im_end|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    return tokens + ["he"], [1] * 256 + [3] * 3 + [1], []


def donors_vocabulary(writer, path):
    """Copies the tokenizer's metadata, but for the lists by token, which it returns."""
    lists = {"tokens": [], "token_type": [], "scores": []}
    for key, value in gguf_header.read(path)[0].items():
        name = key.removeprefix("tokenizer.ggml.")
        if name in lists:
            lists[name] = value.content
        elif key.startswith("tokenizer."):
            kind, item_kind = (None if code is None else gguf.GGUFValueType(code)
                               for code in (value.kind, value.item_kind))
            writer.add_key_value(key, value.content, kind, item_kind)
    tokens, types, scores = lists.values()
    if not tokens:
        raise SystemExit(f"{path} has no tokens; name a model with a tokenizer")
    return tokens, types or [1] * len(tokens), scores


def write_vocabulary(writer, donor, wanted):
    """Returns the number of tokens."""
    tokens, types, scores = (donors_vocabulary(writer, donor) if donor
                             else byte_vocabulary(writer))
    vocab = wanted or len(tokens)
    if vocab < len(tokens):
        raise SystemExit(f"the vocabulary has {len(tokens)} tokens, the shape only {vocab}")
    unused = gguf.TokenType.UNUSED
    writer.add_token_list(tokens + [f"<dummy_{i}>" for i in range(len(tokens), vocab)])
    writer.add_token_types([int(t) for t in types] + [int(unused)] * (vocab - len(tokens)))
    if scores:
        writer.add_token_scores(scores + [-1e6] * (vocab - len(tokens)))
    return vocab


def write_metadata(writer, shape, kind, vocab):
    writer.add_name(f"random {kind}, {shape.layers} layers of {shape.width}")
    writer.add_file_type(gguf.LlamaFileType[{"F16": "MOSTLY_F16", "Q4_K": "MOSTLY_Q4_K_S"}.get(
        kind, f"MOSTLY_{kind}")])
    writer.add_block_count(shape.layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(500000.0)
    writer.add_vocab_size(vocab)


def matrices(shape, vocab):
    """(name, rows, width, deviation of an output for inputs of 1); norms have 0 for both last."""
    q_width, kv_width = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    width = shape.width
    yield "token_embd", vocab, width, 3.0 if shape.is_tied else math.sqrt(width)
    for layer in range(shape.layers):
        for name, *matrix in (
                ("attn_norm", width, 0, 0), ("attn_q", q_width, width, 1.5),
                ("attn_k", kv_width, width, 1.5), ("attn_v", kv_width, width, 1.0),
                ("attn_output", width, q_width, 1.0), ("ffn_norm", width, 0, 0),
                ("ffn_gate", shape.ffn, width, 1.0), ("ffn_up", shape.ffn, width, 1.0),
                ("ffn_down", width, shape.ffn, 1.0)):
            yield f"blk.{layer}.{name}", *matrix
    yield "output_norm", width, 0, 0
    if not shape.is_tied:
        yield "output", vocab, width, 3.0


def make(path, shape, kind, donor=None, seed=1):
    """Writes the model; the file appears under its name when it is whole."""
    part = f"{path}.part"
    writer = gguf.GGUFWriter(part, "llama")
    vocab = write_vocabulary(writer, donor, shape.vocab)
    write_metadata(writer, shape, kind, vocab)
    code = gguf.GGMLQuantizationType[kind]
    block_values, block_bytes = gguf.GGML_QUANT_SIZES[code]
    f32 = gguf.GGMLQuantizationType.F32
    for name, rows, width, _ in matrices(shape, vocab):
        if width % block_values:
            raise SystemExit(f"{name}: {kind} needs rows of a multiple of {block_values} weights")
        sizes = (rows, width) if width else (rows,)
        nbytes = rows * width // block_values * block_bytes if width else rows * 4
        writer.add_tensor_info(f"{name}.weight", sizes, np.float32, nbytes, code if width else f32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(seed)
    for _, rows, width, gain in matrices(shape, vocab):
        if width:
            blocks = random_blocks(kind, gain / math.sqrt(width), random)
            writer.write_tensor_data(np.resize(blocks, rows * width // block_values))
        else:
            writer.write_tensor_data(np.ones(rows, np.float32))
    writer.close()
    os.replace(part, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--shape", type=read_shape, default="tiny",
                        help=f"{', '.join(SHAPES)} or L,D,FF,H,G,E,V (default: tiny)")
    parser.add_argument("--type", choices=TYPES, default="Q4_0", help="default: Q4_0")
    parser.add_argument("--tied", action="store_true", help="no output matrix of its own")
    parser.add_argument("--donor", help="a GGUF file to take the tokenizer from")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--out", required=True, help="the file to write")
    options = parser.parse_args()
    shape = options.shape._replace(is_tied=options.shape.is_tied or options.tied)
    make(options.out, shape, options.type, options.donor, options.seed)
    megabytes, read = (count / 1e6 for count in (os.path.getsize(options.out),
                                                gguf_header.bytes_per_token(options.out)))
    print(f"{options.out}: weights as {options.type}, {megabytes:.1f} MB; a token reads {read:.1f}")


if __name__ == "__main__":
    main()
