#!/usr/bin/env python3
"""Cormorant beside llama.cpp, in interleaved rounds on one machine, as ratios.

    tools/bench/side_by_side.py -m MODEL.gguf --peer PATH/llama-bench [--rounds 5] [--threads 2]
                                [--depth 8000] [--cap-share 0.25] [--backend cpu]
                                [--prompt 512] [--generate 64] [--json FILE]

Each round runs every test once on one program and then on the other, so that what else the machine
does meets both. A figure is the median over rounds; the spread is the least and the greatest. At
--depth Cormorant also runs under a KV cap of --cap-share of the f16 bytes of the full cache, with
q8_0 rows; llama.cpp, which has no such cap, runs as it is with flash attention. The peer is built
for the same kind of device as --backend; a software Vulkan driver it takes only when
GGML_VK_VISIBLE_DEVICES names it. Without --peer Cormorant runs alone. A test that fails has no
figure, says why on stderr and makes the exit status 1.
"""
import argparse
import json
import statistics
import subprocess
import sys

ROOT = __file__.rsplit("/tools/", 1)[0]


def run(command):
    """What a program prints as JSON; None if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout)
    print(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}",
          file=sys.stderr)
    return None


def ours(options, kind, count, depth, extra):
    other = ["-p", "0", "-n", str(count)] if kind == "tg" else ["-p", str(count), "-n", "0"]
    result = run([options.cormorant, "bench", "-m", options.model, "-d", str(depth), "-r", "1",
                  "--threads", str(options.threads), "--backend", options.backend, "--json",
                  *other, *extra])
    return result and result[0]["tok_s_median"]


def theirs(options, kind, count, depth):
    if options.peer is None:
        return None
    other = ["-p", "0", "-n", str(count)] if kind == "tg" else ["-p", str(count), "-n", "0"]
    layers = "0" if options.backend == "cpu" else "99"
    result = run([options.peer, "-m", options.model, "-d", str(depth), "-r", "1", "-t",
                  str(options.threads), "-fa", "1", "-ngl", layers, "-o", "json", *other])
    return result and result[0]["avg_ts"]


def f16_bytes_a_token(options):
    done = subprocess.run([options.cormorant, "inspect", "-m", options.model, "--json"],
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["kv_bytes_per_token"]


def bench_parser(about, rounds):
    """The arguments that every benchmark in rounds takes; `about`: its docstring."""
    parser = argparse.ArgumentParser(description=about.split("\n\n", maxsplit=1)[0])
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--cormorant", default=f"{ROOT}/build/bin/cormorant")
    parser.add_argument("--backend", default="cpu")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=2)
    return parser


def cost_text(costs):
    """Median, least and greatest of what something costs in each round, as shares."""
    return f"{statistics.median(costs):+.1%} ({min(costs):+.1%} to {max(costs):+.1%})"


def parse_arguments():
    parser = bench_parser(__doc__, rounds=5)
    parser.add_argument("--peer", help="llama-bench, built native")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--depth", type=int, default=8000)
    parser.add_argument("--cap-share", type=float, default=0.25)
    parser.add_argument("--json", metavar="FILE", help="all figures of all rounds")
    return parser.parse_args()


def list_tests(options):
    """(name, pp or tg, tokens, depth, options of ours)"""
    prompt, generate = options.prompt, options.generate
    tests = [(f"pp{prompt}", "pp", prompt, 0, []), (f"tg{generate}", "tg", generate, 0, [])]
    if options.depth:
        cap = int((options.depth + 64) * f16_bytes_a_token(options) * options.cap_share)
        at = f"tg{generate} @ {options.depth}"
        tests += [(at, "tg", generate, options.depth, []),
                  (f"{at}, capped to {options.cap_share:.0%}", "tg", generate, options.depth,
                   ["--kv-cap", str(cap), "--kv-type", "q8_0"])]
    return tests


def cell(values):
    if not values:
        return "–"
    return f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def ratio(a, b):
    return f"{statistics.median(a) / statistics.median(b):.2f}" if a and b else "–"


def main():
    options = parse_arguments()
    tests = list_tests(options)
    figures = {name: ([], []) for name, *_ in tests}
    has_failed = False
    for round_number in range(options.rounds):
        print(f"round {round_number + 1} of {options.rounds}", file=sys.stderr)
        peers = {}
        for name, kind, count, depth, extra in tests:
            key = (kind, count, depth)
            if key not in peers:
                peers[key] = theirs(options, kind, count, depth)
            for values, value in zip(figures[name], (ours(options, kind, count, depth, extra),
                                                     peers[key])):
                values += [value] if value else []
        has_failed |= any(len(a) <= round_number or (options.peer and len(b) <= round_number)
                          for a, b in figures.values())

    print("| test | Cormorant tok/s | llama.cpp tok/s | ratio of medians |\n|---|---|---|---|")
    for name, (a, b) in figures.items():
        print(f"| {name} | {cell(a)} | {cell(b)} | {ratio(a, b)} |")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({name: {"cormorant": a, "llama.cpp": b} for name, (a, b) in figures.items()},
                      file, indent=1)
    return 1 if has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
