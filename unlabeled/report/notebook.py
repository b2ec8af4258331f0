"""Results as small HTML tables, for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unlabeled.probes import catalog
from unlabeled.report.markup import Markup, join, tag
from unlabeled.report.tables import percent, probe_rows


def html_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> Markup:
    """Columns and rows; all text is escaped."""
    head = tag("tr", [tag("th", column, scope="col") for column in columns])
    body = [tag("tr", [tag("td", cell) for cell in row]) for row in rows]
    return tag("table", tag("caption", title) if title else None, tag("thead", head), tag("tbody", body))


def html_probes(reports: Sequence[Mapping[str, Any]]) -> Markup:
    """A row a model, a column a probe: accuracy in percent with its 95 % interval."""
    rows = probe_rows(reports)
    probes = list(dict.fromkeys(row.probe for row in rows))
    lines = []
    for model in dict.fromkeys(row.model for row in rows):
        own = {row.probe: row for row in rows if row.model == model}
        cells = [
            f"{percent(own[p].top1)} [{percent(own[p].low)}, {percent(own[p].high)}]" if p in own else "–"
            for p in probes
        ]
        lines.append([model, *cells])
    data = ", ".join(dict.fromkeys(row.data for row in rows))
    titles = ["model", *map(catalog.title, probes)]
    return html_table(titles, lines, f"accuracy on held-out images of {data}, %")


def html_facts(facts: Mapping[str, object], notes: Sequence[str] = ()) -> Markup:
    """Names and values, a line each; then sentences."""
    rows = [tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in facts.items()]
    return join([tag("table", tag("tbody", rows)), *(tag("p", note) for note in notes)])
