"""Heat maps: a table of numbers from 0 to 1 whose cells are the darker the larger they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unlabeled.report.markup import Markup, tag


def heat_map(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]]) -> Markup:
    """A named row a line, a named column a column; None or NaN, of which nothing is known, is a dash."""
    lines = []
    for name, line in zip(rows, values, strict=True):
        known = [None if value is None or math.isnan(value) else value for value in line]
        cells = [
            tag(
                "td",
                "–" if value is None else f"{value:.2f}",
                class_="hit",
                style=f"--v:{min(max(value or 0.0, 0.0), 1.0):.3f}",
                data_tip=f"{name} and {other}: " + ("nothing is known" if value is None else f"{value:.4f}"),
            )
            for other, value in zip(columns, known, strict=True)
        ]
        lines.append(tag("tr", tag("th", name, scope="row"), cells))
    head = tag("tr", tag("td"), [tag("th", tag("span", name), scope="col") for name in columns])
    table = tag("table", tag("thead", head), tag("tbody", lines), class_="confusion heat")
    return tag("div", table, class_="wide")
