#!/usr/bin/env python3
"""Compares two files of logits as `cormorant logits` writes them; prints one JSON object.

    tools/gpu/compare_logits.py WANT GOT TOKENS     needs numpy

KL(want || got) is in nats over each token's distribution, the difference one of logits.
"""
import json
import sys

import numpy as np


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def main():
    want, got = (np.fromfile(path, np.float32).reshape(int(sys.argv[3]), -1)
                 for path in sys.argv[1:3])
    is_finite = bool(np.isfinite(got).all())
    result = {"tokens": len(want), "finite": is_finite}
    if is_finite:
        a, b = log_softmax(want), log_softmax(got)
        divergence = (np.exp(a) * (a - b)).sum(axis=1)
        result |= {"kl_mean": divergence.mean(), "kl_max": divergence.max(),
                   "difference_max": float(np.abs(want - got).max()),
                   "top1_agreement": (want.argmax(axis=1) == got.argmax(axis=1)).mean()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
