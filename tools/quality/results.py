"""From what the runs recorded to figures with intervals, and the JSON that holds them.

    {"commit", "library",              of the sources and the library
     "model": {"name", "sha256", "bytes_per_token"},
     "options": {...},                 what was asked for, the seed among it
     "gates": {TASK: {"accuracy", "questions", "cases", "shown", "logprob"}},
                                       the full f16 cache; a task below the gate shows nothing
     "results": [{"task", "rows", "budget", "policy",   budget in percent of f16 rows, 0: no cap
                  "cap_share", "peak_share",            of the same bytes, mean over the cases
                  "rows_kept", "evicted", "tokens", "chunk",
                  "labels": {LABEL: accuracy},          kinds of questions, where there are some
                  "metrics": {METRIC: {"mean", "interval", "difference", "difference_interval",
                                       "ratio", "ratio_interval"}}}
                 or the same with "failed" in place of all after "policy": it does not fit],
     "run": {"date", "seconds", "seconds_by_task", "machine", "jobs", "command",
             "units", "done"}}         all that may differ next time; done < units: interrupted

Metrics of recall: accuracy, logprob (nats a token of the right answer), rank (median of the worst
of its tokens). Of book: kl and kl_p99 (nats), delta_nll (nats a token), top1 (share). Intervals are
95 %; difference and ratio are to the reference policy at the same budget, and the same rows unless
the reference names some, paired.
"""
import math
import statistics

import numpy as np

import intervals
from configuration import Configuration, FULL_F16
from intervals import Clusters

GATE = 0.8
BLOCK = 64  # Tokens of a cluster of book text.
BEFORE = "asked at once"  # Questions that come before anything had to leave: not counted.
BOOK_METRICS = {"kl": "kl", "delta_nll": "delta_nll", "top1": "same_first"}


def counted(record: dict) -> list[dict]:
    """The answers of a case that its accuracy is made of."""
    return [answer for answer in record["answers"] if answer["label"] != BEFORE]


def clusters_of(records: list[dict], metric: str) -> Clusters:
    """A metric of a task's records: a cluster is a case, or a block of book text."""
    if "answers" in records[0]:
        key = "correct" if metric == "accuracy" else metric
        return Clusters.of([[answer[key] for answer in counted(r)] for r in records])
    groups = []
    for record in records:
        values = np.asarray(record[BOOK_METRICS[metric]], dtype=np.float64)
        blocks = [values[i:i + BLOCK] for i in range(0, len(values), BLOCK)]
        groups += [block[np.isfinite(block)] for block in blocks]
    return Clusters.of(groups)


def metrics_of(records: list[dict], reference: list[dict] | None, seed: int) -> dict:
    """All metrics of a task under one configuration."""
    task = records[0]["task"]
    is_recall = "answers" in records[0]
    found = {}
    for metric in ("accuracy", "logprob") if is_recall else BOOK_METRICS:
        own = clusters_of(records, metric)
        other = clusters_of(reference, metric) if reference else None
        indices = intervals.resamples(len(own.sums), seed, task)
        found[metric] = intervals.describe(own, other, indices)
    if is_recall:
        ranks = [answer["rank"] for r in records for answer in counted(r)]
        found["rank"] = {"mean": statistics.median(ranks)}
    else:
        kl = np.concatenate([record["kl"] for record in records])
        indices = intervals.resamples(math.ceil(len(kl) / BLOCK), seed, task)
        found["kl_p99"] = intervals.describe_percentile(kl, 99, BLOCK, indices)
    return found


def labels_of(records: list[dict]) -> dict:
    """Accuracy of each kind of question, where a task has kinds."""
    found: dict[str, list[bool]] = {}
    for record in records:
        for answer in record.get("answers", ()):
            if answer["label"]:
                found.setdefault(answer["label"], []).append(answer["correct"])
    return {label: sum(values) / len(values) for label, values in sorted(found.items())}


def result_of(configuration: Configuration, records: list[dict], reference: list[dict] | None,
              seed: int) -> dict:
    """One entry of "results"."""
    found = {"task": records[0]["task"], "rows": configuration.rows,
             "budget": configuration.budget, "policy": configuration.policy}
    failed = [record["failed"] for record in records if "failed" in record]
    if failed:
        return {**found, "failed": failed[0]}
    if reference and any("failed" in record for record in reference):
        reference = None

    def mean(values) -> float:
        return math.fsum(values) / len(records)

    return {**found,
            "cap_share": mean(r["cap"] / r["full"] for r in records),
            "peak_share": mean(r["peak"] / r["full"] for r in records),
            "rows_kept": mean(r["rows_kept"] for r in records),
            "evicted": sum(r["evicted"] for r in records),
            "tokens": sum(r["tokens"] for r in records), "chunk": records[0]["chunk"],
            "labels": labels_of(records), "metrics": metrics_of(records, reference, seed)}


def gate_of(records: list[dict]) -> dict:
    """Whether a task can show anything: the accuracy of the full f16 cache."""
    if "answers" not in records[0]:
        return {"shown": True, "cases": len(records)}
    answers = [answer for record in records for answer in counted(record)]
    accuracy = sum(answer["correct"] for answer in answers) / len(answers)
    logprob = math.fsum(answer["logprob"] for answer in answers) / len(answers)
    return {"accuracy": accuracy, "questions": len(answers), "cases": len(records),
            "shown": accuracy >= GATE, "logprob": logprob}


def gather(records: dict[Configuration, list[dict]], tasks: list[str], reference: str,
           seed: int) -> dict:
    """"gates" and "results" of all records; those of a configuration in order of their cases.

    `reference` is a policy, with the rows of what it is compared with, or "POLICY@ROWS".
    """
    policy, _, reference_rows = reference.partition("@")

    def of_task(configuration: Configuration, task: str) -> list[dict] | None:
        found = [r for r in records.get(configuration, ()) if r["task"] == task]
        return sorted(found, key=lambda r: r["case"]) or None

    gates, results = {}, []
    for task in tasks:
        if not of_task(FULL_F16, task):
            continue
        gates[task] = gate_of(of_task(FULL_F16, task))
        for configuration in sorted(records):
            other = Configuration(reference_rows or configuration.rows, configuration.budget,
                                  policy)
            results.append(result_of(
                configuration, of_task(configuration, task),
                of_task(other, task) if other != configuration else None, seed))
    return {"gates": gates, "results": results}
