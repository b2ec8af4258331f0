"""One self-contained page about one or several runs: no network, no outside file, no script but its own."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from unlabeled.core.version import VERSION
from unlabeled.report import blocks, sections
from unlabeled.report.charts import Bar, bar_chart
from unlabeled.report.content import RunContent
from unlabeled.report.markup import Markup, join, tag
from unlabeled.report.tables import FINE_TUNED, ProbeRow, percent, probe_rows

MAIN_PROBES = (FINE_TUNED, "linear", "knn", "nmc")
"""Probes whose figures stand at the top."""
MOST_FIGURES = 3


Parts = Mapping[str, tuple[str, Markup | None]]
"""Sections by name: title and content."""


def page(runs: Sequence[RunContent], title: str | None = None, compared: Parts | None = None) -> str:
    """Write a page about ``runs``, side by side where there are several.

    Everything is inside: styles, one script, pictures as ``data:`` addresses. A content security policy with the
    script's hash forbids anything else to run or load.

    Args:
        runs: at least one.
        title: default: the run's name, or ``"n runs compared"``.
        compared: further sections, of pairs of the runs (:mod:`unlabeled.report.compare`).

    Returns:
        HTML.

    Raises:
        ValueError: no run.
    """
    if not runs:
        raise ValueError("a page needs at least one run")
    title = title or (runs[0].name if len(runs) == 1 else f"{len(runs)} runs compared")
    parts = {
        "probes": ("Probes", sections.probe_table(runs)),
        "training": ("Training", sections.curves(runs)),
        "embeddings": ("The space of embeddings", sections.embedding(runs)),
        "neighbours": ("Nearest neighbours", sections.retrieval(runs)),
        "confusions": ("Confusions", sections.confusions(runs)),
        "views": ("What the method saw", sections.galleries(runs)),
        "forgetting": ("Forgetting", sections.forgetting(runs)),
        **(compared or {}),
        "recipe": ("Recipe and environment", _records(runs)),
    }
    return shell(title, _subtitle(runs), parts, _summary(runs))


def shell(title: str, lead: str, parts: Parts, summary: Markup | None = None, pictures: str = "data:") -> str:
    """A page of named sections (title, content) under one heading; those without content are left out.

    Args:
        pictures: where pictures may come from, as a content security policy says it.
    """
    shown = {name: part for name, part in parts.items() if part[1]}
    links = [tag("a", key, href=f"#{key}") for key in shown]
    toggle = tag("button", "◐", type="button", id="theme", title="light or dark", aria_label="light or dark")
    body = [
        tag("nav", tag("b", "unlabeled"), links, toggle),
        tag("header", tag("h1", title), tag("p", lead, class_="hint"), summary),
        tag("main", [blocks.section(key, name, content) for key, (name, content) in shown.items()]),
        tag("footer", f"unlabeled {VERSION} · {time.strftime('%Y-%m-%d %H:%M %Z')}"),
        tag("div", id="tip", role="status", hidden=True),
    ]
    script = _asset("page.js") + _asset("compare.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src {pictures}; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Markup(_asset("page.css") + _asset("compare.css"))),
    ]
    content = tag("html", tag("head", head), tag("body", body, tag("script", Markup(script))), lang="en")
    return f"<!doctype html>\n{content}\n"


def _asset(name: str) -> str:
    return files("unlabeled.report").joinpath(name).read_text(encoding="utf-8")


def _subtitle(runs: Sequence[RunContent]) -> str:
    if len(runs) == 1:
        shown = ("method", "backbone", "data", "training")
        return " · ".join(runs[0].facts[key] for key in shown if key in runs[0].facts)
    data = dict.fromkeys(run.facts["data"] for run in runs if "data" in run.facts)
    return " · ".join(data)


def _summary(runs: Sequence[RunContent]) -> Markup:
    """The main figures on one screen."""
    tables = [probe_rows(run.probes) for run in runs]
    data = next((row.data for rows in tables for row in rows if not row.baseline), "")
    mine = [[row for row in rows if row.data == data] for rows in tables]
    if len(runs) == 1:
        left = tag("div", _figures(mine[0]), blocks.facts(_brief(runs[0].facts)), _notes(runs))
    else:
        left = tag("div", _compared(runs, mine), _notes(runs))
    chart = _bars(runs, mine)
    caption = f"accuracy on held-out images of {data}, %; whiskers: 95 % interval"
    right = tag("figure", tag("figcaption", caption), chart) if chart else None
    return tag("div", left, right, class_="summary" if len(runs) == 1 else "summary many")


def _brief(found: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in found.items() if key != "command"}


def _notes(runs: Sequence[RunContent]) -> list[Markup]:
    named = len(runs) > 1
    return [
        tag("p", f"{run.name}: {note}" if named else note, class_="hint note") for run in runs for note in run.notes
    ]


def _figures(rows: Sequence[ProbeRow]) -> Markup:
    own = {row.probe: row for row in rows if not row.baseline}
    # the strongest baseline is the one to beat
    best = {p: max((r.top1 for r in rows if r.baseline and r.probe == p), default=None) for p in own}
    boxes = []
    for probe in _main_first(own)[:MOST_FIGURES]:
        row = own[probe]
        beaten = best[probe]
        gain = None if beaten is None else f"{100 * (row.top1 - beaten):+.1f} over the best baseline"
        figure = [tag("b", percent(row.top1)), tag("small", f"± {50 * (row.high - row.low):.1f} %")]
        boxes.append(tag("div", tag("span", row.title), tag("p", figure), tag("em", gain) if gain else None))
    return tag("div", boxes, class_="figures") if boxes else Markup("")


def _compared(runs: Sequence[RunContent], tables: Sequence[Sequence[ProbeRow]]) -> Markup:
    probes = dict.fromkeys(row.probe for rows in tables for row in rows if not row.baseline)
    names = _main_first(probes)[:MOST_FIGURES]
    titles = {p: next(r.title for rows in tables for r in rows if r.probe == p) for p in names}
    rows = []
    for position, (run, table) in enumerate(zip(runs, tables, strict=True)):
        own = {row.probe: row for row in table if not row.baseline}
        cells = [
            blocks.figure(own[p].top1, percent(own[p].top1), strong=True) if p in own else blocks.figure(None, "–")
            for p in names
        ]
        name = tag("td", tag("i", class_=f"dot r{position % 6}"), run.name)
        details = [tag("td", run.facts.get(key, ""), class_="fine") for key in ("method", "training")]
        rows.append(tag("tr", name, cells, details))
    return blocks.sortable(["run", *titles.values(), "method", "training"], rows, "runs")


def _main_first(probes: Iterable[str]) -> list[str]:
    return sorted(probes, key=lambda p: MAIN_PROBES.index(p) if p in MAIN_PROBES else len(MAIN_PROBES))


def _bars(runs: Sequence[RunContent], tables: Sequence[Sequence[ProbeRow]]) -> Markup:
    probes = dict.fromkeys(row.probe for rows in tables for row in rows)
    groups = []
    for probe in _main_first(probes):
        found = [(row, i) for i, rows in enumerate(tables) for row in rows if row.probe == probe]
        baselines = dict.fromkeys((row.model, row.top1, row.low, row.high) for row, _ in found if row.baseline)
        bars = [Bar(*baseline) for baseline in baselines]
        bars += [Bar(runs[i].name, row.top1, row.low, row.high, i) for row, i in found if not row.baseline]
        title = next(row.title for row, _ in found)
        groups.append((title, bars))
    return bar_chart(groups)


def _records(runs: Sequence[RunContent]) -> Markup:
    return join([_differences(runs), *(_record(run, i, len(runs) > 1) for i, run in enumerate(runs))])


def _differences(runs: Sequence[RunContent]) -> Markup | None:
    if len(runs) == 1:
        return None
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    differing = [k for k in keys if len({json.dumps(run.settings.get(k), default=str) for run in runs}) > 1]
    if not differing:
        return tag("p", "The recipes of these runs are the same.", class_="hint")
    rows = [tag("tr", tag("td", key), [tag("td", _value(run.settings, key)) for run in runs]) for key in differing]
    table = blocks.sortable(["setting that differs", *(run.name for run in runs)], rows, "differences")
    return tag("details", tag("summary", f"settings that differ: {len(differing)}"), table, open=len(differing) <= 25)


def _value(settings: Mapping[str, Any], key: str) -> str:
    value = settings.get(key, "–")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _record(run: RunContent, position: int, named: bool) -> Markup:
    environment = {}
    for key, value in run.environment.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{name} {entry}" for name, entry in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value))
        if value not in (None, ""):
            environment[key] = str(value)
    parts = [
        tag("details", tag("summary", "recipe"), tag("pre", run.recipe)) if run.recipe else None,
        tag("details", tag("summary", "environment"), blocks.facts(environment)) if environment else None,
    ]
    if not join(parts):
        return Markup("")
    return tag("article", blocks.run_name(run, position) if named else None, parts)
