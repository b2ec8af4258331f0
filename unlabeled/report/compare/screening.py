"""Every method and setting by which runs were made to forget, in one table, with what was measured of each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from unlabeled.core import run_files
from unlabeled.forgetting.judge.tables import ACCURACY, LEAKAGE, REPRESENTATION, figure, values
from unlabeled.forgetting.judge.words import in_words
from unlabeled.forgetting.methods import METHODS, forgetter_class
from unlabeled.forgetting.protocol import Row
from unlabeled.report import blocks
from unlabeled.report.markup import Markup, join, tag
from unlabeled.runs.folder import Run

COLUMNS = tuple(dict.fromkeys(("seconds", "time_ratio", *ACCURACY, *LEAKAGE, *REPRESENTATION)))
TIMES = {
    "seconds": ("seconds", "on the clock"),
    "time_ratio": ("time over retraining's", "processor time; on a GPU, time on the clock"),
}


@dataclass(frozen=True)
class Screened:
    """One method with one setting: a line of the table.

    Attributes:
        run: in whose folder it was measured.
        request: what was to be forgotten.
        settings: those that are not the method's defaults.
        rows: what was measured, a row a seed.
    """

    run: str
    request: str
    method: str
    settings: str
    rows: Sequence[Row]


def screened(runs: Iterable[tuple[Run, str]]) -> list[Screened]:
    """What was measured in runs that were made to forget, and in the tables beside them; the same line only once."""
    found: dict[tuple[object, ...], Screened] = {}
    for run, name in runs:
        record = run.read_json(run_files.RECORD)
        request, made = (part if isinstance(part := record.get(key), dict) else {} for key in ("request", "method"))
        asked = str(request.get("description") or request.get("spec") or "")
        rows = list(_rows(run))
        for method in dict.fromkeys(row.method for row in rows):
            own = [row for row in rows if row.method == method]
            settings = _settings(method, made.get("settings")) if method == made.get("name") else ""
            what = json.dumps([[row.seed, row.model, row.measures] for row in own], sort_keys=True)
            found.setdefault((asked, method, settings, what), Screened(name, asked, method, settings, own))
    return list(found.values())


def _rows(run: Run) -> Iterator[Row]:
    """The measured rows that a run keeps; broken ones are left out."""
    try:
        kept = json.loads((run.folder / run_files.FORGETTING / "rows.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    names = {field.name for field in fields(Row)}
    for row in kept if isinstance(kept, list) else ():
        if isinstance(row, dict) and names <= row.keys() and isinstance(row["measures"], dict):
            measures = {str(k): _number(v) for k, v in row["measures"].items()}
            times = {key: _number(row[key]) for key in ("seconds", "processor_seconds", "time_ratio")}
            yield Row(**{name: row[name] for name in names} | times | {"measures": measures})


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _settings(method: str, found: Any) -> str:
    """The settings that are not a method's defaults, as they are written on the command line."""
    if not isinstance(found, Mapping):
        return ""
    usual = forgetter_class(method).Config().model_dump(mode="json") if method in METHODS else {}
    return " ".join(f"{key}={value}" for key, value in found.items() if key not in usual or usual[key] != value)


def screening_table(lines: Sequence[Screened], links: Mapping[str, str] | None = None) -> Markup:
    """The table, sorted by a click on a heading; figures of several seeds are means ± standard deviations.

    Args:
        links: addresses by the name of a run.
    """
    shown = [name for name in COLUMNS if any(values(line.rows, line.method, name) for line in lines)]
    if not shown:
        return Markup("")
    requests = list(dict.fromkeys(line.request for line in lines))
    body = []
    for line in lines:
        cells = [_cell(line, name) for name in shown]
        count = len({row.seed for row in line.rows})
        about = tag("td", line.settings or "–", class_="fine")
        asked = tag("td", line.request, class_="fine") if len(requests) > 1 else None
        name = tag("td", _linked(line.run, links or {}))
        seeds = blocks.figure(count, f"{count}")
        body.append(tag("tr", tag("td", tag("b", line.method)), name, about, cells, seeds, asked))
    tips = {name: ": ".join(part for part in TIMES.get(name, in_words(name)) if part) for name in shown}
    hint = (
        "Good forgetting is near the row retrain, not near 0. Brackets: 95 % intervals of one network; ±: the spread "
        "between seeds. Point at a heading to read what it means, click it to sort."
    )
    asked = tag("p", "To be forgotten: ", tag("b", requests[0]), ".", class_="hint") if len(requests) == 1 else None
    columns = ["method", "run", "settings", *shown, "seeds", *(["request"] if len(requests) > 1 else [])]
    return join([asked, tag("p", hint, class_="hint"), blocks.sortable(columns, body, "screening", tips)])


def _cell(line: Screened, name: str) -> Markup:
    seeds = values(line.rows, line.method, name)
    return blocks.figure(sum(seeds) / len(seeds) if seeds else None, figure(line.rows, line.method, name))


def _linked(name: str, links: Mapping[str, str]) -> Markup | str:
    return tag("a", name, href=links[name]) if name in links else name
