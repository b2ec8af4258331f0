"""Pictures for the terminal user and the README: PNG or SVG files by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.figure import Figure

from unlabeled.probes import catalog
from unlabeled.report.tables import probe_rows

COLOURS = ("#a3abb5", "#7d8792", "#5c6570", "#3457d5", "#d9480f", "#2b8a3e", "#9c36b5", "#0b7285", "#b3530a")
BASELINES = 3
"""The first colours are greys, for models that learned nothing from the data."""


def probe_chart(reports: Sequence[Mapping[str, Any]], kind: Literal["png", "svg"] = "png") -> bytes:
    """Accuracies of probes as bars with their 95 % intervals: a group a probe, a bar a model.

    Args:
        reports: as ``unlabeled.recipes.probe`` returns them; models that were not trained (pixels, random
            initialisations, what stands under ``compared_with``) are grey.
        kind: PNG at 200 dpi, or SVG.

    Returns:
        The file.
    """
    rows = probe_rows(reports)
    models = list(dict.fromkeys(row.model for row in rows))
    probes = list(dict.fromkeys(row.probe for row in rows))
    plain = [
        m for m in models if any(r.baseline for r in rows if r.model == m) or m.startswith(("pixels", "raw", "random"))
    ]
    colours = {model: COLOURS[i % BASELINES] for i, model in enumerate(plain)}
    for i, model in enumerate(model for model in models if model not in plain):
        colours[model] = COLOURS[BASELINES + i % (len(COLOURS) - BASELINES)]
    with rc_context({"svg.hashsalt": "unlabeled", "font.size": 9}):
        figure = Figure(figsize=(max(5.0, 1.2 + 0.45 * len(models) * len(probes)), 3.4), layout="constrained")
        axes = figure.subplots()
        width = 0.82 / max(len(models), 1)
        for i, model in enumerate(models):
            own = {row.probe: row for row in rows if row.model == model}
            places = [p + (i - (len(models) - 1) / 2) * width for p, probe in enumerate(probes) if probe in own]
            found = [own[probe] for probe in probes if probe in own]
            values = [100 * row.top1 for row in found]
            below = [max(100 * (row.top1 - row.low), 0.0) for row in found]
            above = [max(100 * (row.high - row.top1), 0.0) for row in found]
            bars = axes.bar(
                places, values, 0.92 * width, yerr=[below, above], label=_short(model), color=colours[model],
                error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#1c2025"},
            )  # fmt: skip
            axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=2)
        axes.set_xticks(range(len(probes)), [catalog.title(probe) for probe in probes])
        axes.set_ylabel("accuracy on held-out images, %")
        axes.set_ylim(0, min(108, 1.14 * max((100 * row.high for row in rows), default=100)))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e4e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        if models:
            figure.legend(loc="outside lower center", ncols=min(4, max(len(models), 1)), frameon=False, fontsize=8)
        out = io.BytesIO()
        figure.savefig(out, format=kind, dpi=200, metadata={"Date": None} if kind == "svg" else None)
    return out.getvalue()


def _short(name: str) -> str:
    # a dollar sign would start a formula, a leading underscore hides an entry
    name = name.replace("$", r"\$").lstrip("_")
    return name if len(name) <= 40 else "…" + name[-39:]
