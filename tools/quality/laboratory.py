"""Runs what is to be compared: units of work in several processes, each with its own engine.

A unit is one case of a recall task, or one part of the book, under every configuration; so what is
compared is computed by the same process after each other, and a unit needs no other one.
"""
import concurrent.futures
import dataclasses
import functools
import pathlib
import sys
import time
import typing

import numpy as np

import book
import recall
import runtime
import tasks
import workers
from cases import Case, Chat, sentences
from configuration import Configuration, FULL, FULL_F16, Setting, opened

BOOK = "book"
KEEP_SECONDS = 120  # An interruption loses little.


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is compared on what."""
    setting: Setting
    text: pathlib.Path
    shared: pathlib.Path | None
    tasks: tuple[str, ...]
    policies: tuple[str, ...]
    budgets: tuple[float, ...]
    rows: tuple[str, ...]
    cases: tuple[int, ...]  # Of each of the tasks; the book's are parts.
    case_tokens: int
    part_tokens: int
    seed: int

    def configurations(self) -> list[Configuration]:
        """Every row type without a cap, and every policy under every budget."""
        found = {FULL_F16}
        for rows in self.rows:
            found.add(Configuration(rows, 0, FULL))
            found |= {Configuration(rows, budget, policy) for budget in self.budgets
                      for policy in self.policies if policy != FULL}
        return sorted(found)

    def units(self) -> list[tuple[str, int]]:
        """(task, case), first all first cases; parts of the book, which take longest, before."""
        found = [(index, task) for task, count in zip(self.tasks, self.cases)
                 for index in range(count)]
        return [(task, index) for index, task in
                sorted(found, key=lambda unit: (unit[1] != BOOK, unit[0]))]

    def make_case(self, task: str, index: int) -> Case:
        """A case of case_tokens, as this model's tokenizer and template count them."""
        chat = Chat(opened(self.setting)[1])
        return tasks.make_case(task, index, seed=self.seed, tokens=self.case_tokens,
                               text=prose(self.text), shared=self.shared, length=chat.tokens)


def read_text(path: pathlib.Path) -> str:
    """A file, or all Markdown in a folder and below."""
    paths = sorted(path.rglob("*.md")) if path.is_dir() else [path]
    return "\n\n".join(p.read_text(encoding="utf-8", errors="replace") for p in paths)


@functools.cache
def prose(path: pathlib.Path) -> list[str]:
    return sentences(read_text(path))


@functools.cache
def text_ids(setting: Setting, path: pathlib.Path) -> np.ndarray:
    return opened(setting)[1].encode(read_text(path), runtime.ENCODE_BOS)


def each(plan: Plan, run_one: typing.Callable[[Configuration], dict]) -> list[dict]:
    """A record for every configuration. Where a policy drops nothing, all others would be the same.
    """
    records: list[dict] = []
    untouched: dict[tuple[str, float], dict] = {}
    for configuration in plan.configurations():
        room = (configuration.rows, configuration.budget)
        record = untouched.get(room) or run_one(configuration)
        if record.get("evicted") == 0:
            untouched[room] = record
        records.append(record)
    return records


def run_unit(plan: Plan, unit: tuple[str, int]) -> tuple[list[dict], float]:
    """The records of a unit in the order of the configurations, and the seconds it took."""
    start = time.monotonic()
    task, index = unit
    if task == BOOK:
        parts = plan.cases[plan.tasks.index(BOOK)]
        ids = text_ids(plan.setting, plan.text)
        part = book.Part(plan.setting, index,
                         book.part_of_text(ids, index, parts, plan.part_tokens))
        records = each(plan, part.run)
    else:
        case = plan.make_case(task, index)
        records = each(plan, lambda configuration: recall.run_case(plan.setting, configuration,
                                                                   case))
    return records, time.monotonic() - start


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclasses.dataclass
class Records:
    """What the units that are done have recorded."""
    units: int  # Of the plan.
    of: dict[Configuration, list[dict]]
    done: int = 0
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)  # Of processes, by task.


def run(plan: Plan, jobs: int, keep: typing.Callable[[Records], None]) -> None:
    """Runs all units; keep(records) now and then, and at the end."""
    units, configurations = plan.units(), plan.configurations()
    records = Records(len(units), {configuration: [] for configuration in configurations})
    start = kept = time.monotonic()
    with workers.pool(jobs) as pool:
        waiting = {pool.submit(run_unit, plan, unit): unit for unit in units}
        for future in concurrent.futures.as_completed(waiting):
            task, index = waiting[future]
            found, took = future.result()
            for configuration, record in zip(configurations, found):
                records.of[configuration].append(record)
            records.seconds[task] = records.seconds.get(task, 0) + took
            records.done += 1
            now = time.monotonic()
            say(f"{records.done}/{len(units)} {task} {index}: {took:.0f} s; "
                f"{(now - start) / 60:.0f} minutes so far, "
                f"{(now - start) / records.done * (len(units) - records.done) / 60:.0f} to go")
            if now - kept > KEEP_SECONDS:
                keep(records)
                kept = time.monotonic()
    keep(records)
