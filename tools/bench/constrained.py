#!/usr/bin/env python3
"""What a grammar costs in decode, beside answers without one.

    tools/bench/constrained.py -m MODEL.gguf [--rounds 7] [--threads 2] [--temp 0] [--schema JSON]

Two conversations of two turns each in a round, the same question in each turn, with /reset between:
one under the schema, one with answers of any text; the second turns count, so that what the grammar
has to find out once is known. The cost of a round is the time of a token under the schema over that
without, less 1; printed are medians over rounds, with the least and the greatest, and the same of
the first turns.
"""
import json
import statistics
import subprocess
import sys
import tempfile

from side_by_side import bench_parser, cost_text

SCHEMA = {"type": "array", "minItems": 40, "items": {"type": "object", "properties": {
    "name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
    "city": {"type": "string", "maxLength": 30}, "member": {"type": "boolean"}},
    "required": ["name", "age", "city", "member"]}}
QUESTION = "Tell a very long story about a village and the ten people who live in it."


def parse_arguments():
    parser = bench_parser(__doc__, rounds=7)
    add = parser.add_argument
    add("--tokens", type=int, default=200)
    add("--temp", type=float, default=0.0)
    add("--schema", default=json.dumps(SCHEMA))
    return parser.parse_args()


def seconds_a_token(options, script, extra):
    """Of the first turn and of the second."""
    command = [options.cormorant, "chat", "-m", options.model, "--backend", options.backend,
               "--threads", str(options.threads), "-n", str(options.tokens), "--temp",
               str(options.temp), "--script", script, "--json", "--quiet", *extra]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    turns = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode != 0 or len(turns) != 2:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    if any(turn["generated_tokens"] < options.tokens for turn in turns):
        sys.exit(f"an answer ended before {options.tokens} tokens; ask for fewer (--tokens)")
    return [turn["decode_seconds"] / turn["generated_tokens"] for turn in turns]


def main():
    options = parse_arguments()
    costs, first, plain = [], [], []
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as script:
        script.write(f"{QUESTION}\n/reset\n{QUESTION}\n")
        script.flush()
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            free = seconds_a_token(options, script.name, [])
            bound = seconds_a_token(options, script.name, ["--json-schema", options.schema])
            plain.append(free[1])
            first.append(bound[0] / free[0] - 1)
            costs.append(bound[1] / free[1] - 1)
    print(f"any text: {statistics.median(plain) * 1e3:.2f} ms a token")
    for name, values in (("known", costs), ("first answer", first)):
        print(f"{name}: {cost_text(values)}")


if __name__ == "__main__":
    main()
