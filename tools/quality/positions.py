#!/usr/bin/env python3
"""Perplexity of a text far beyond a model's trained context, by what becomes of positions.

Each way (--positions of the command line) reads the same tokens under the same cap, teacher-forced.
The last --scored tokens before each of --at are scored. Ways are compared with the first by a
paired bootstrap over blocks of 64 tokens: the ratio of perplexities, with its interval of 95 %.

    tools/quality/positions.py --library build/lib/libcormorant.so --model MODEL --text BOOK \\
      --from-text "Call me Ishmael" --caps 47185920,23592960 --at 16384,32768,65536

Needs numpy, which tools/evaluate fetches into .cache/python.
"""
import argparse
import contextlib
import json
import pathlib
import sys
import time

import numpy as np

import intervals
import report
import runtime
from book import log_sum_exp
from results import BLOCK


class Run:
    """One way under one cap: what it has read, and the negative log likelihoods it gave."""

    def __init__(self, options, library: runtime.Library, cap: int, way: str,
                 stack: contextlib.ExitStack):
        self.cap, self.way, self.done, self.seconds, self.nll = cap, way, 0, 0.0, {}
        engine = stack.enter_context(runtime.Engine(
            library, options.model, cap=cap, rows=options.rows, context=options.context,
            threads=options.threads, policy=options.policy))
        self.session = stack.enter_context(
            runtime.Session(engine, options.policy, positions=way))

    def read_to(self, ids: np.ndarray, end: int, scored: int) -> None:
        """Reads on to token `end`, and scores the last tokens before it."""
        first, start = end - scored, time.monotonic()
        nll = np.zeros(scored)

        def add(index, logits):
            if index < scored:
                nll[index] = log_sum_exp(logits) - float(logits[ids[first + index]])

        # The logits before a token are those that tell how likely it was.
        self.session.append(ids[self.done:first - 1])
        self.session.score(ids[first - 1:end], add)
        self.done, self.nll[end] = end, nll
        self.seconds += time.monotonic() - start
        print(f"{self.cap} {self.way} {end}: {np.exp(nll.mean()):.3f} after {self.seconds:.0f} s",
              file=sys.stderr, flush=True)

    def record(self) -> dict:
        stats = self.session.stats()
        return {"cap": self.cap, "way": self.way, "moved": stats.rebased,
                "dropped": stats.evicted_total,
                "nll": {str(end): nll.round(6).tolist() for end, nll in self.nll.items()}}


def blocks(values) -> intervals.Clusters:
    return intervals.Clusters.of(values[i:i + BLOCK] for i in range(0, len(values), BLOCK))


def compare(runs: list[dict], seed: int) -> list[dict]:
    """Perplexity of each run, and its ratio to that of the first way under the same cap."""
    found = []
    for run in runs:
        first = next(r for r in runs if r["cap"] == run["cap"])
        for end, values in run["nll"].items():
            own, other = blocks(values), blocks(first["nll"][end])
            drawn = intervals.resamples(len(own.sums), seed, f"{run['cap']} {end}")
            difference = intervals.describe(own, other, drawn)
            found.append({
                "cap": run["cap"], "way": run["way"], "at": int(end),
                "perplexity": float(np.exp(own.mean)),
                "ratio": float(np.exp(difference["difference"])),
                "ratio_interval": np.exp(difference["difference_interval"]).tolist()})
    return found


def table(figures: list[dict]) -> str:
    head = ["KV cap", "positions", "tokens", "perplexity", "ratio to the first", "95 %"]
    rows = []
    for f in figures:
        low, high = f["ratio_interval"]
        rows.append([str(f["cap"]), f["way"], f"{f['at']:,}", f"{f['perplexity']:.2f}",
                     f"{f['ratio']:.4f}", f"{low:.4f} to {high:.4f}"])
    return "\n".join(report.table(head, rows)).rstrip()


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--library", type=pathlib.Path, required=True, help="libcormorant.so")
    add("--model", type=pathlib.Path, required=True)
    add("--text", type=pathlib.Path, required=True)
    add("--from-text", default="", help="begin at these words of the text")
    add("--caps", type=numbers, required=True, help="KV caps in bytes; 0: none")
    add("--ways", default="rebased,windowed,original")
    add("--at", type=numbers, required=True, help="score what stands before these tokens")
    add("--scored", type=int, default=4096, help="tokens that are scored before each")
    add("--context", type=int, default=0, help="positions to use; 0: as many as were trained")
    add("--rows", default="q8_0")
    add("--policy", default="corm")
    add("--threads", type=int, default=0)
    add("--seed", type=int, default=1)
    add("--json", type=pathlib.Path, help="all figures, token by token")
    options = parser.parse_args()
    library = runtime.Library(options.library)
    text = options.text.read_text()
    text = text[text.index(options.from_text):]
    ids = runtime.Tokenizer(library, options.model).encode(text)
    options.at.sort()
    if len(ids) < options.at[-1]:
        parser.error(f"the text has {len(ids)} tokens, {options.at[-1]} are to be read")
    if options.at[0] <= options.scored:
        parser.error(f"--scored {options.scored}: the first of --at is {options.at[0]}")
    done = []
    for cap in options.caps:
        with contextlib.ExitStack() as stack:
            runs = [Run(options, library, cap, way, stack) for way in options.ways.split(",")]
            for end in options.at:
                for run in runs:
                    run.read_to(ids, end, options.scored)
                    records = done + [each.record() for each in runs]
                    figures = compare(records, options.seed)
                    if options.json:  # What there is so far.
                        options.json.write_text(json.dumps({"figures": figures, "runs": records}))
            done = records
    print(table(figures))


if __name__ == "__main__":
    main()
