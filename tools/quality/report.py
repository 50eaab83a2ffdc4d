"""The Markdown of a result: what was run, the gates, and a table of each task and row type."""
import typing

TITLES = {"kl": "KL mean, nats", "kl_p99": "KL p99, nats", "delta_nll": "delta NLL, nats a token",
          "top1": "same first choice", "accuracy": "accuracy", "logprob":
          "log-probability of the right answer, nats a token"}
SHARES = ("top1", "accuracy")


def number(value: float | None, metric: str, signed: bool = False) -> str:
    """A figure of a metric: a share in percent, nats with three digits that matter."""
    if value is None:
        return "–"
    sign = "+" if signed else ""
    return f"{value * 100:{sign}.1f}" if metric in SHARES else f"{value:{sign}.3g}"


def with_interval(found: dict, metric: str, key: str = "") -> str:
    """mean [low, high], of the figure itself or of "difference" or "ratio"."""
    name = key or "mean"
    bounds = found.get(f"{key}_interval" if key else "interval")
    metric = "" if key == "ratio" else metric
    text = number(found.get(name), metric, signed=key == "difference")
    if bounds:
        low, high = (number(b, metric, signed=key == "difference") for b in bounds)
        text += f" [{low}, {high}]"
    return text


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table; nothing without rows."""
    if not rows:
        return []
    lines = ["| " + " | ".join(row) + " |" for row in [head, *rows]]
    return [lines[0], "|---" * len(head) + "|", *lines[1:], ""]


def metrics_shown(task: str, gates: dict) -> list[str]:
    """What a task is judged by: its accuracy, or likelihoods where it fails the gate."""
    if task == "book":
        return ["kl", "kl_p99", "delta_nll", "top1"]
    return ["accuracy"] if gates[task]["shown"] else ["logprob"]


def cells(results: list[dict], budgets: list[float], cell: typing.Callable[[dict], str]) -> dict:
    """{policy: a cell for each budget}, in the order of the results."""
    found: dict[str, list[str]] = {}
    for result in results:
        if result["budget"] not in budgets:
            continue
        row = found.setdefault(result["policy"], ["" for _ in budgets])
        row[budgets.index(result["budget"])] = ("does not fit" if "failed" in result
                                                else cell(result))
    return found


def task_tables(results: list[dict], metric: str, reference: str) -> list[str]:
    """A metric by policy and budget, then the differences from the reference."""
    budgets = sorted({r["budget"] for r in results if r["budget"]}, reverse=True)
    head = [f"{budget:g} %" for budget in budgets]
    lines = []
    uncapped = [r for r in results if not r["budget"]]
    if uncapped:
        lines += [f"Without a cap: {with_interval(uncapped[0]['metrics'][metric], metric)}.", ""]
    own = cells(results, budgets, lambda r: with_interval(r["metrics"][metric], metric))
    lines += table([TITLES[metric], *head], [[policy, *row] for policy, row in own.items()])
    others = [r for r in results if reference not in (r["policy"], f"{r['policy']}@{r['rows']}")]

    def difference(result: dict) -> str:
        found = result["metrics"][metric]
        key = "ratio" if metric == "kl" else "difference"
        return with_interval(found, metric, key) if found.get(key) is not None else "–"

    rows = cells(others, budgets, difference)
    if rows and metric != "kl_p99":
        what = "divided by" if metric == "kl" else "less"
        lines += table([f"{what} {reference}'s", *head],
                       [[policy, *row] for policy, row in rows.items()])
    return lines


def bytes_table(results: list[dict]) -> list[str]:
    """What was really used: the greatest peak over the tasks, and the rows that were left."""
    budgets = sorted({r["budget"] for r in results if r["budget"]}, reverse=True)
    found: dict[str, list[str]] = {}
    for policy in dict.fromkeys(r["policy"] for r in results if r["budget"]):
        row = []
        for budget in budgets:
            fits = [r for r in results if (r["policy"], r["budget"]) == (policy, budget)
                    and "failed" not in r]
            peak = max((r["peak_share"] for r in fits), default=None)
            kept = sum(r["rows_kept"] for r in fits) / max(len(fits), 1)
            row.append("does not fit" if peak is None else f"{peak * 100:.1f}; {kept * 100:.0f}")
        found[policy] = row
    head = ["greatest peak, % of f16 bytes; rows kept, %", *(f"{b:g} %" for b in budgets)]
    return table(head, [[policy, *row] for policy, row in found.items()])


def gate_table(gates: dict) -> list[str]:
    rows = [[task, f"{g['accuracy'] * 100:.1f} %", str(g["questions"]), str(g["cases"]),
             f"{g['logprob']:.3f}", "yes" if g["shown"] else "not shown"]
            for task, g in gates.items() if "accuracy" in g]
    return table(["task", "full cache", "questions", "cases", "log-probability", "gate of 80 %"],
                 rows)


def unfinished(run: dict) -> list[str]:
    """A warning where not everything was run."""
    if run["done"] == run["units"]:
        return []
    return [f"**Unfinished:** {run['done']} of {run['units']} cases and parts were run.", ""]


def markdown(document: dict, plots: dict[str, str]) -> str:
    """The whole report; plots: {row type: file name}."""
    options, model = document["options"], document["model"]
    lines = ["# What eviction costs", "",
             f"{model['name']} (sha256 {model['sha256'][:12]}), commit {document['commit']}, "
             f"{document['run']['date']}, seed {options['seed']}; "
             f"{document['run']['seconds'] / 60:.0f} minutes. The whole:", "",
             f"    {document['run']['command']}", "",
             "Budgets are percent of the bytes that all rows of the text take as f16, and count "
             "rows and their metadata. Brackets: 95 % intervals, bootstrapped over cases or blocks "
             "of 64 tokens; what is compared is paired. Questions follow in turns of their own: "
             "nothing was dropped with the question known, except for those before it.", "",
             *unfinished(document["run"]), "## Gates", "",
             "A task that the full f16 cache does not pass cannot show what eviction costs; the "
             "likelihood of its right answers is given instead.", "",
             *gate_table(document["gates"])]
    for rows in options["rows"]:
        results = [r for r in document["results"] if r["rows"] == rows]
        lines += [f"## {rows} rows", ""]
        if rows in plots:
            lines += [f"![Quality by budget, {rows} rows]({plots[rows]})", ""]
        lines += bytes_table(results)
        for task in document["gates"]:
            own = [r for r in results if r["task"] == task]
            lines += [f"### {task.capitalize()}, {rows} rows", ""]
            for metric in metrics_shown(task, document["gates"]):
                lines += task_tables(own, metric, options["reference"])
    while lines[-1] == "":
        lines.pop()
    return "\n".join(lines) + "\n"
