"""What sections are put together from: headings, parts of several runs, tables that sort, facts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from unlabeled.report.content import RunContent
from unlabeled.report.markup import Markup, join, tag


def section(name: str, title: str, *content: object) -> Markup:
    """A titled section, or nothing if there is no content."""
    body = join(content)
    if not body:
        return Markup("")
    return tag("section", tag("h2", title), body, id=name)


def run_name(run: RunContent, position: int) -> Markup:
    """The run's name in its colour."""
    return tag("h3", tag("i", class_=f"dot r{position % 6}"), run.name)


def side_by_side(runs: Sequence[RunContent], parts: Sequence[Markup]) -> Markup:
    """A part of each run under the run's name; without names where there is one run."""
    if len(runs) == 1:
        return parts[0]
    pairs = [tag("div", run_name(run, i), part) for i, (run, part) in enumerate(zip(runs, parts, strict=True)) if part]
    return tag("div", pairs, class_="columns") if pairs else Markup("")


def stacked(runs: Sequence[RunContent], parts: Sequence[Markup]) -> Markup:
    """A part of each run under the run's name, one below the other; without names where there is one run."""
    named = len(runs) > 1
    return join(
        join([run_name(run, i) if named else None, part])
        for i, (run, part) in enumerate(zip(runs, parts, strict=True))
        if part
    )


def legend(runs: Sequence[RunContent]) -> Markup:
    """Which colour is which run; nothing for one run."""
    return legend_of([run.name for run in runs]) if len(runs) > 1 else Markup("")


def legend_of(names: Sequence[str]) -> Markup:
    """Names in their colours."""
    return tag(
        "p", [tag("span", tag("i", class_=f"dot r{i % 6}"), name) for i, name in enumerate(names)], class_="legend"
    )


def figure(value: float | None, text: str, strong: bool = False) -> Markup:
    """A table cell with a number to sort by."""
    content = tag("b", text) if strong else text
    return tag("td", content, class_="num", data_value=None if value is None or math.isnan(value) else value)


def sortable(
    columns: Sequence[str], rows: Sequence[Markup], name: str, tips: Mapping[str, str] | None = None
) -> Markup:
    """A table whose headings sort it; ``tips`` say what they mean."""
    head = [
        tag("th", tag("button", column, type="button"), scope="col", data_tip=(tips or {}).get(column))
        for column in columns
    ]
    table = tag("table", tag("thead", tag("tr", head)), tag("tbody", rows), class_="sortable", data_name=name)
    return tag("div", table, class_="wide")


def facts(content: Mapping[str, str]) -> Markup | None:
    """Names and values in two columns."""
    if not content:
        return None
    return tag("dl", [(tag("dt", name), tag("dd", value)) for name, value in content.items()])
