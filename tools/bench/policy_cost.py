#!/usr/bin/env python3
"""What a policy costs in decode, beside a cache without policy that holds as many rows.

    tools/bench/policy_cost.py -m MODEL.gguf [--depth 8000] [--cap-share 0.25] [--kv-type q8_0]
                               [--generate 128] [--rounds 7] [--threads 2] [--policy corm]

Three tests, once each in a round, so that what else the machine does meets all of them: without a
policy, as many rows in the cache as the policy leaves; with the policy under a cap that is not
reached; with the policy, rows leaving all the time. The cost of a round is the time of a token over
that without policy, less 1; printed are medians over rounds, with the least and the greatest.
"""
import statistics
import sys

from side_by_side import bench_parser, cost_text, f16_bytes_a_token, run


def bench(options, depth, extra):
    """The figures of one run, as `cormorant bench --json` has them."""
    command = [options.cormorant, "bench", "-m", options.model, "-p", "0", "-n",
               str(options.generate), "-d", str(depth), "-r", "1", "--threads",
               str(options.threads), "--backend", options.backend, "--kv-type", options.kv_type,
               "--json", *extra]
    result = run(command)
    if result is None:
        sys.exit(1)
    return result[0]


def parse_arguments():
    parser = bench_parser(__doc__, rounds=7)
    add = parser.add_argument
    add("--policy", default="corm")
    add("--kv-type", default="q8_0")
    add("--depth", type=int, default=8000)
    add("--cap-share", type=float, default=0.25, help="of the bytes of all rows as f16")
    add("--generate", type=int, default=128)
    return parser.parse_args()


def main():
    options = parse_arguments()
    cap = int((options.depth + options.generate) * f16_bytes_a_token(options) * options.cap_share)
    under_cap = ["--evict", options.policy, "--kv-cap", str(cap)]
    rows = round(bench(options, options.depth, under_cap)["rows_kept"])
    before = max(rows - options.generate, 0)  # So that neither has more rows at its end.
    tests = {"none": (before, ["--evict", "none"]), "nothing leaves": (before, under_cap),
             "rows leave": (options.depth, under_cap)}
    rates = {name: [] for name in tests}
    for round_number in range(options.rounds):
        print(f"round {round_number + 1} of {options.rounds}", file=sys.stderr)
        for name, (depth, extra) in tests.items():
            rates[name].append(bench(options, depth, extra)["tok_s_median"])
    print(f"{options.policy}, {options.kv_type} rows, {rows} of a head, {options.generate} tokens, "
          f"{options.threads} threads, {options.rounds} rounds\n")
    print("| | tok/s | cost of the policy |\n|---|---|---|")
    for name, values in rates.items():
        cost = cost_text([none / rate - 1 for none, rate in zip(rates["none"], values)])
        print(f"| {name} | {statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f}) "
              f"| {'' if name == 'none' else cost} |")


if __name__ == "__main__":
    main()
