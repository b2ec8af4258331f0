"""Probe reports as rows: what the page, the model card and the pictures show alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlabeled.probes import catalog

FINE_TUNED = "fine-tuned"
"""Stands among the probes for the classifier that a run was trained with, backbone and all."""


@dataclass(frozen=True)
class ProbeRow:
    """One probe of one model: accuracies in [0, 1], the interval at 95 %."""

    model: str
    data: str
    probe: str
    top1: float
    low: float
    high: float
    top5: float | None = None
    mean_per_class: float | None = None
    n: int | None = None
    chosen: str = ""
    baseline: bool = False

    @property
    def title(self) -> str:
        """The probe's name in print."""
        return catalog.title(self.probe)


def probe_rows(reports: Sequence[Mapping[str, Any]], baseline: bool = False) -> list[ProbeRow]:
    """The rows of probe reports; those under ``compared_with`` come first, as baselines; broken ones are left out."""
    rows: list[ProbeRow] = []
    for report in reports:
        compared = report.get("compared_with")
        if isinstance(compared, list):
            rows += probe_rows([r for r in compared if isinstance(r, Mapping)], baseline=True)
        rows += _rows(report, baseline)
    return list(dict.fromkeys(rows))


def _rows(report: Mapping[str, Any], baseline: bool) -> Iterator[ProbeRow]:
    probes = report.get("probes")
    for name, found in probes.items() if isinstance(probes, Mapping) else ():
        try:
            top1 = float(found["top1"])
            low, high = (float(value) for value in found.get("interval") or (top1, top1))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        chosen = found.get("chosen")
        yield ProbeRow(
            model=str(report.get("model", "")),
            data=str(report.get("data", "")),
            probe=str(name),
            top1=top1,
            low=low,
            high=high,
            top5=_share(found.get("top5")),
            mean_per_class=_share(found.get("mean_per_class")),
            n=found["n"] if isinstance(found.get("n"), int) else None,
            chosen=", ".join(f"{k} {v}" for k, v in chosen.items()) if isinstance(chosen, Mapping) else "",
            baseline=baseline,
        )


def _share(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def percent(value: float | None) -> str:
    """A share in percent with one digit."""
    return "–" if value is None else f"{100 * value:.1f}"


def counted(number: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "epoch"), counted(30, "epoch")
    ('1 epoch', '30 epochs')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def markdown(rows: Sequence[ProbeRow]) -> str:
    """A Markdown table: a line a model, a column a probe, accuracy in percent with its 95 % interval."""
    probes = list(dict.fromkeys(row.probe for row in rows))
    lines = ["| model | data | " + " | ".join(map(catalog.title, probes)) + " |"]
    lines.append("|---|---|" + "---:|" * len(probes))
    for model, data in dict.fromkeys((row.model, row.data) for row in rows):
        cells = []
        for probe in probes:
            row = next((r for r in rows if (r.model, r.data, r.probe) == (model, data, probe)), None)
            cells.append("–" if row is None else f"{percent(row.top1)} [{percent(row.low)}, {percent(row.high)}]")
        lines.append(f"| {plain(model)} | {plain(data)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plain(text: str) -> str:
    """Text that cannot break out of a Markdown table cell or become HTML."""
    for sign in "\\|`*_[]<>":
        text = text.replace(sign, {"<": "&lt;", ">": "&gt;"}.get(sign, "\\" + sign))
    return " ".join(text.split())
