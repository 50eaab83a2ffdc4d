#!/usr/bin/env python3
"""Writes logits.json: exact next-token distributions of SmolLM2-135M-Instruct for a short text.

    pip install numpy gguf tokenizers
    tests/golden/make_logits.py SmolLM2-135M-Instruct.Q4_1.gguf > tests/golden/logits.json

An implementation of the llama architecture that shares nothing with the runtime: numpy, weights
dequantized by the `gguf` package, everything in f64, the whole text at once, no cache. For each
position it keeps the likeliest tokens with their log-probabilities; what is left is one more event.
"""
import json
import sys

import gguf
import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

LIKELIEST = 24
TEXT = """The lighthouse keeper counted the steps again: one hundred and twelve, as on every night \
since the war. Below, the harbour slept; a dog barked twice, then thought better of it. "You will \
need oil before Friday," she told the lamp, and the lamp, being a lamp, said nothing. In 1953 the \
council had promised electricity. The letter still lay in the drawer, next to a compass whose \
needle pointed, stubbornly, to the kitchen. She poured the tea, opened the log book and wrote: \
wind north-west, force 4, visibility good. Then she wrote what she always wrote last, the name of \
the boat that had not come back."""


def tokenize(fields, text):
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(m.split(" ", 1)) for m in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer.encode(text).ids


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def rotate(x, base):
    """x [heads, tokens, dims]: pairs (2i, 2i+1) turned by position * base^(-2i/dims)."""
    dims = x.shape[-1]
    angles = np.outer(np.arange(x.shape[1]), base ** (-np.arange(0, dims, 2) / dims))
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)
    out = np.empty_like(x)
    out[..., 0::2], out[..., 1::2] = turned.real, turned.imag
    return out


def attention(weight, layer, h, heads, kv_heads, base):
    def project(name, count):
        y = h @ weight(f"blk.{layer}.attn_{name}.weight").T
        return y.reshape(len(h), count, -1).transpose(1, 0, 2)
    q, k, v = project("q", heads), project("k", kv_heads), project("v", kv_heads)
    q, k = rotate(q, base), rotate(k, base)
    k, v = (np.repeat(x, heads // kv_heads, axis=0) for x in (k, v))
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    scores += np.triu(np.full(scores.shape[1:], -np.inf), 1)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    o = (shares @ v).transpose(1, 0, 2).reshape(len(h), -1)
    return o @ weight(f"blk.{layer}.attn_output.weight").T


def log_probabilities(reader, ids):
    fields = {name: field.contents() for name, field in reader.fields.items()
              if name.startswith("llama.")}
    tensors = {t.name: t for t in reader.tensors}

    def weight(name):
        return gguf.dequantize(tensors[name].data, tensors[name].tensor_type).astype(np.float64)
    eps, base = fields["llama.attention.layer_norm_rms_epsilon"], fields["llama.rope.freq_base"]
    heads, kv_heads = fields["llama.attention.head_count"], fields["llama.attention.head_count_kv"]
    table = weight("token_embd.weight")
    x = table[ids]
    for layer in range(fields["llama.block_count"]):
        h = rms_norm(x, weight(f"blk.{layer}.attn_norm.weight"), eps)
        x = x + attention(weight, layer, h, heads, kv_heads, base)
        h = rms_norm(x, weight(f"blk.{layer}.ffn_norm.weight"), eps)
        gate = h @ weight(f"blk.{layer}.ffn_gate.weight").T
        up = h @ weight(f"blk.{layer}.ffn_up.weight").T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ weight(f"blk.{layer}.ffn_down.weight").T
    logits = rms_norm(x, weight("output_norm.weight"), eps) @ table.T
    logits -= logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def main():
    reader = gguf.GGUFReader(sys.argv[1])
    ids = tokenize(reader.fields, TEXT)
    rows = []
    for row in log_probabilities(reader, ids):
        best = np.argsort(-row)[:LIKELIEST]
        rows.append({"ids": best.tolist(), "log_p": [round(float(p), 7) for p in row[best]]})
    print('{"text": ' + json.dumps(TEXT) + ',\n "ids": ' + json.dumps(ids) + ',\n "rows": [\n  '
          + ",\n  ".join(json.dumps(row) for row in rows) + "\n]}")


if __name__ == "__main__":
    main()
