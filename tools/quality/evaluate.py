"""What eviction costs in quality: policy x budget x task at equal bytes; tools/evaluate runs it.

    tools/evaluate [--full] [--policies corm,window] [--budgets 25,12.5] [--tasks book,passkey]
                   [--rows q8_0,f16] [--text FILE] [--cases N] [--seed S] [--out FOLDER]
                   [--model FILE] [--jobs N]

Budgets are percent of the bytes that all rows of the text take as f16; rows and metadata count.
Tasks: book (divergence from the full cache on any text), passkey, key-value, lines, topics,
multi-turn, re-asked, instruction, paraphrase. FOLDER gets report.md, result.json (results.py has
its fields) and one SVG for each row type. The default ends in under an hour on two cores; --full
takes all policies, q8_0 and f16 rows, and at least 300 questions a task.
"""
import argparse
import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import laboratory
import plots
import report
import results
import runtime
import tasks
from cases import Ask, Case
from configuration import FULL, Setting, model_facts, opened

ROOT = pathlib.Path(__file__).resolve().parents[2]
TASKS = (laboratory.BOOK, *tasks.TASKS)
BUDGETS = (100.0, 50.0, 25.0, 12.5, 6.0)
QUESTIONS = 300  # Of a recall task with --full.
# Of those that the library has; --full takes all.
POLICIES = ("corm", "protected-lru", "snapkv", "window")


def names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def task_names(text: str) -> tuple[str, ...]:
    """Names of tasks, in the order of TASKS."""
    for name in names(text):
        if name not in TASKS:
            raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(TASKS)}")
    return tuple(task for task in TASKS if task in names(text))


def percents(text: str) -> tuple[float, ...]:
    """Budgets, largest first."""
    try:
        found = sorted({float(word) for word in names(text)}, reverse=True)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of percents") from None
    if not all(0 < percent <= 1000 for percent in found):
        raise argparse.ArgumentTypeError(f"'{text}': a budget is above 0 and at most 1000")
    return tuple(found)


def default_text(shared: pathlib.Path | None) -> pathlib.Path:
    """A book, or what this project's own documents say."""
    book = shared and shared / "eval/moby-dick.txt"
    return book if book and book.exists() else ROOT / "docs"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/evaluate", description=__doc__.split("\n")[0],
                                     epilog=__doc__.split("\n\n", maxsplit=1)[1],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    shared = os.environ.get("CORMORANT_SHARED_DATA")
    add("--full", action="store_true", help="everything, for many hours")
    add("--policies", type=names, help=f"default: those of {','.join(POLICIES)} that there are")
    add("--budgets", type=percents, default=BUDGETS, help="default: 100,50,25,12.5,6")
    add("--tasks", type=task_names, default=TASKS, help="default: all")
    add("--rows", type=names, help="f16, q8_0, ...; default: q8_0")
    add("--text", type=pathlib.Path, help="book text and filler, or a folder of Markdown; "
        "default: Moby Dick, if it is there, else docs/")
    add("--cases", type=int, help="of each recall task (default: 2; --full: as many as have "
        f"{QUESTIONS} questions)")
    add("--case-tokens", type=int, default=1500, help="of a case, about (default: 1500)")
    add("--parts", type=int, help="of the book text (default: 2)")
    add("--part-tokens", type=int, default=4096, help="of a part, half scored (default: 4096)")
    add("--seed", type=int, default=1)
    add("--reference", default="corm", help="the policy to compare with, or POLICY@ROWS "
        "where other row types are compared with those rows as well (default: corm)")
    add("--jobs", type=int, default=os.cpu_count(), help="processes (default: one a core)")
    add("--chunk", type=int, default=0, help="tokens read in a step; 0: chosen for the cap")
    add("--out", type=pathlib.Path, default=ROOT / ".cache/evaluate")
    add("--model", type=pathlib.Path, required=True, help="GGUF file")
    add("--library", type=pathlib.Path, default=ROOT / "build/lib/libcormorant.so",
        help="libcormorant.so; default: the release build's")
    add("--shared", type=pathlib.Path, default=pathlib.Path(shared) if shared else None,
        help="folder of eval/longeval-topics-5.jsonl and a book (CORMORANT_SHARED_DATA)")
    options = parser.parse_args(arguments)
    options.text = options.text or default_text(options.shared)
    options.rows = options.rows or (("q8_0", "f16") if options.full else ("q8_0",))
    options.cases = options.cases or (0 if options.full else 2)
    options.parts = options.parts or (8 if options.full else 2)
    options.jobs = max(options.jobs or 1, 1)
    for path in (options.model, options.library, options.text):
        if not path.exists():
            parser.error(f"{path} is not there")
    return options


def choose_policies(options: argparse.Namespace, available: list[str]) -> tuple[str, ...]:
    """What was asked for, or the default's of those that there are; the reference among them."""
    if options.policies:
        unknown = [name for name in options.policies if name not in available]
        if unknown:
            sys.exit(f"evaluate: policy '{unknown[0]}' is none of {', '.join(available)}")
        return options.policies
    wanted = available if options.full else [name for name in POLICIES if name in available]
    return tuple(name for name in wanted if name != FULL)


def make_plan(options: argparse.Namespace) -> laboratory.Plan:
    threads = max((os.cpu_count() or 1) // options.jobs, 1)
    setting = Setting(options.library.resolve(), options.model.resolve(), threads, options.chunk)
    available = [*opened(setting)[0].policies(), "corm+recall", "corm+copies"]
    policies = choose_policies(options, available)
    plan = laboratory.Plan(
        setting, options.text.resolve(), options.shared and options.shared.resolve(),
        options.tasks, policies, options.budgets, options.rows, (), options.case_tokens,
        options.part_tokens, options.seed)
    return dataclasses.replace(plan, cases=tuple(
        options.parts if task == laboratory.BOOK
        else options.cases or -(-QUESTIONS // questions_of(plan.make_case(task, 0)))
        for task in plan.tasks))


def questions_of(case: Case) -> int:
    """Questions that count in the accuracy of a task."""
    return sum(isinstance(step, Ask) and step.label != results.BEFORE for step in case.steps)


def commit() -> str:
    done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"],
                          capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def describe(plan: laboratory.Plan, reference: str) -> dict:
    """What is measured, and what with."""
    library, _ = opened(plan.setting)
    model = plan.setting.model
    return {"commit": commit(), "library": library.so.corm_version().decode(),
            "model": {"name": model.name,
                      "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
                      "bytes_per_token": model_facts(plan.setting)["bytes_per_token"]},
            "options": {"policies": plan.policies, "budgets": plan.budgets, "tasks": plan.tasks,
                        "rows": plan.rows, "text": plan.text.name, "cases": plan.cases,
                        "case_tokens": plan.case_tokens, "part_tokens": plan.part_tokens,
                        "seed": plan.seed,
                        "chunk": plan.setting.chunk, "reference": reference,
                        "longeval": bool(plan.shared)}}


def write(document: dict, out: pathlib.Path) -> None:
    """report.md, result.json and the pictures."""
    out.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for rows in document["options"]["rows"]:
        name = f"quality-{rows.replace(':', '-')}.svg"
        if plots.draw(document, rows, out / name):
            pictures[rows] = name
    (out / "result.json").write_text(json.dumps(document, indent=1) + "\n")
    (out / "report.md").write_text(report.markdown(document, pictures))


def command_line(arguments: list[str]) -> str:
    """The command as another machine would run it."""
    names_only = [pathlib.Path(word).name if "/" in word else word for word in arguments]
    return " ".join(["tools/evaluate", *names_only])


def main(arguments: list[str]) -> int:
    options = parse_arguments(arguments)
    plan = make_plan(options)
    policy, _, rows = options.reference.partition("@")
    is_run = policy in plan.policies and (not rows or rows in plan.rows)
    reference = options.reference if is_run else plan.policies[0]
    document = describe(plan, reference)
    laboratory.say(f"commit {document['commit']}, model {document['model']['sha256'][:12]}, "
                   f"seed {plan.seed}, policies {', '.join(plan.policies)}")
    start = time.monotonic()

    def keep(records: laboratory.Records) -> None:
        found = results.gather(records.of, list(plan.tasks), reference, plan.seed)
        write(document | found | {"run": {
            "date": datetime.date.today().isoformat(), "seconds": time.monotonic() - start,
            "seconds_by_task": records.seconds, "units": records.units, "done": records.done,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores", "jobs": options.jobs,
            "command": command_line(arguments)}}, options.out)

    laboratory.run(plan, options.jobs, keep)
    print(f"report: {options.out / 'report.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
