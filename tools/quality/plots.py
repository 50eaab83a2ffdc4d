"""SVG plots of a result: one picture for each row type, a panel for each task.

The same result gives the same bytes: no date, ids from a fixed salt, text as text.
"""
import pathlib

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # pylint: disable=wrong-import-position
from matplotlib import ticker  # pylint: disable=wrong-import-position

import report

COLORS = ("#0b7a75", "#d1495b", "#8d99ae", "#e0a030", "#30638e", "#7b4b94", "#4f772d", "#22223b")
SETTINGS = {"svg.hashsalt": "cormorant", "svg.fonttype": "none", "font.family": "sans-serif",
            "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
COLUMNS = 3


def panel(axes, results: list[dict], task: str, metric: str) -> None:
    """One metric of a task over the budgets, a line for each policy."""
    policies = list(dict.fromkeys(r["policy"] for r in results if r["budget"]))
    budgets = sorted({r["budget"] for r in results if r["budget"]})
    scale = 100 if metric in report.SHARES else 1
    for index, policy in enumerate(policies):
        points = [(r["budget"], r["metrics"][metric]) for r in results
                  if r["policy"] == policy and "failed" not in r]
        x = [budget for budget, _ in points]
        y = [scale * found["mean"] for _, found in points]
        bounds = [found.get("interval") or [found["mean"]] * 2 for _, found in points]
        low = [max(at - scale * b[0], 0) for at, b in zip(y, bounds)]
        high = [max(scale * b[1] - at, 0) for at, b in zip(y, bounds)]
        axes.errorbar(x, y, yerr=[low, high], label=policy, color=COLORS[index % len(COLORS)],
                      marker="o", markersize=3, linewidth=1.4, elinewidth=0.7, capsize=2)
    for result in results:
        if not result["budget"] and result["policy"] == "none":
            axes.axhline(scale * result["metrics"][metric]["mean"], color="#999999", linewidth=0.8,
                         linestyle="--", label="no cap")
    axes.set_xscale("log", base=2)
    if metric == "kl":
        axes.set_yscale("log")
    if metric == "accuracy":
        axes.set_ylim(-4, 104)
    axes.set_xticks(budgets, [f"{b:g}" for b in budgets])
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    title = report.TITLES[metric].replace(" of the right answer", "")
    axes.set_title(f"{task}: {title}{', %' if scale == 100 else ''}", fontsize=9)


def draw(document: dict, rows: str, path: pathlib.Path) -> bool:
    """Writes the picture of a row type; False where there is nothing to show."""
    results = [r for r in document["results"] if r["rows"] == rows]
    shown = [(task, metric) for task in document["gates"]
             for metric in report.metrics_shown(task, document["gates"]) if metric != "kl_p99"]
    if not shown or not any(r["budget"] and "failed" not in r for r in results):
        return False
    lines = -(-len(shown) // COLUMNS)
    with matplotlib.rc_context(SETTINGS):
        figure, grid = plt.subplots(lines, COLUMNS, figsize=(11, 2.7 * lines + 0.6), squeeze=False)
        for axes in grid.flat[len(shown):]:
            axes.set_axis_off()
        for axes, (task, metric) in zip(grid.flat, shown):
            panel(axes, [r for r in results if r["task"] == task], task, metric)
        handles, labels = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(labels), frameon=False)
        figure.supxlabel("budget, % of f16 bytes", fontsize=9, y=0.36 / (2.7 * lines + 0.6))
        figure.tight_layout(rect=(0, 0.5 / (2.7 * lines + 0.6), 1, 1))
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return True
