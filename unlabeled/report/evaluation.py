"""The page of an evaluation: one table of models and tasks, their paired differences, and what was skipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unlabeled.report import blocks
from unlabeled.report.document import shell
from unlabeled.report.markup import Markup, tag
from unlabeled.report.tables import counted, percent


def evaluation_page(content: Mapping[str, Any]) -> str:
    """Write the page of what ``unlabeled evaluate --json`` writes: HTML with everything inside."""
    models, tasks = content["models"], content["tasks"]
    title = f"{counted(len(models), 'model')} on {counted(len(tasks), 'task')}"
    parts = {
        "figures": ("Figures", _figures(content)),
        "differences": ("Paired differences", _differences(content)),
        "labels": ("Without labels", _without_labels(content)),
        "skipped": ("Skipped", _skipped(content)),
    }
    lead = (
        "Every figure is on test images that no choice was made on; larger is better. In %, the best of a column bold."
    )
    return shell(title, lead, parts)


def _figures(content: Mapping[str, Any]) -> Markup:
    values, tasks = content["values"], content["tasks"]
    columns = {task: [values[model].get(task) for model in content["models"]] for task in tasks}
    columns = {"average": [content["average"][model] for model in content["models"]], **columns}

    def best(column: list[float | None]) -> float | None:
        return max((value for value in column if value is not None), default=None)

    rows = []
    for i, model in enumerate(content["models"]):
        own = [(column[i], column[i] is not None and column[i] == best(column)) for column in columns.values()]
        cells = [blocks.figure(value, percent(value), strong=strong) for value, strong in own]
        rows.append(tag("tr", tag("td", tag("i", class_=f"dot r{i % 6}"), model), cells))
    known = [[value for value in column if value is not None] for column in columns.values()]
    mean = [sum(column) / len(column) if column else None for column in known]
    last = tag("tr", tag("td", "mean of the models"), [blocks.figure(value, percent(value)) for value in mean])
    return blocks.sortable(["model", *columns], [*rows, last], "evaluation")


def _differences(content: Mapping[str, Any]) -> Markup | None:
    found = content["differences"]
    if not found:
        return None
    rows = []
    for one in found:
        interval = one["interval"]
        sure = interval is not None and (interval[0] > 0 or interval[1] < 0)
        span = "–" if interval is None else f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"
        cells = [tag("td", one[key]) for key in ("task", "first", "second")]
        figure = blocks.figure(one["difference"], f"{100 * one['difference']:+.1f}", strong=sure)
        rows.append(
            tag("tr", cells, figure, tag("td", span, class_="num"), blocks.figure(one["images"], f"{one['images']:,}"))
        )
    hint = "The first model less the second, on the same images, in points; bold where the 95 % interval leaves 0 out."
    table = blocks.sortable(["task", "first", "second", "difference", "95 % interval", "images"], rows, "differences")
    return tag("div", tag("p", hint, class_="hint"), table)


def _without_labels(content: Mapping[str, Any]) -> Markup | None:
    found, ranks = content["without_labels"], content["rank_correlations"]
    names = list(dict.fromkeys(name for values in found.values() for name in values))
    if not names:
        return None
    rows = [
        tag(
            "tr",
            tag("td", model),
            [blocks.figure(values.get(n), f"{values[n]:.1f}" if n in values else "–") for n in names],
        )
        for model, values in found.items()
    ]
    if ranks:
        cells = [blocks.figure(ranks.get(n), f"{ranks[n]:+.2f}" if n in ranks else "–") for n in names]
        rows.append(tag("tr", tag("td", "rank correlation with the average"), cells))
    return blocks.sortable(["model", *names], rows, "unsupervised")


def _skipped(content: Mapping[str, Any]) -> Markup | None:
    rows = [tag("tr", tag("td", name), tag("td", reason)) for name, reason in content["skipped"].items()]
    return blocks.sortable(["task", "reason"], rows, "skipped") if rows else None
