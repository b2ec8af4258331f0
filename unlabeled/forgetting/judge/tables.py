"""Rows of a protocol as a table: means over seeds, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from unlabeled.forgetting.judge.catalog import in_table
from unlabeled.forgetting.judge.words import is_share
from unlabeled.forgetting.protocol import Row
from unlabeled.probes.intervals import mean_interval

ACCURACY, LEAKAGE, REPRESENTATION = (in_table(name) for name in ("accuracy", "leakage", "representation"))
PROBES = {
    "reprobe_linear_test_f": "all labels",
    "reprobe_linear_few_test_f": "2 % of the labels",
    "reprobe_knn_test_f": "20 neighbours",
}
"""Probes of the frozen extractor: how much of the removed class's test images they name, given the labels back."""
STILL = 0.01
"""Embeddings that moved less than this share of their spread are said not to have moved."""


def values(rows: Sequence[Row], method: str, measure: str) -> list[float]:
    """The measure of each seed of a method (``seconds`` and ``time_ratio`` are measures too); NaNs left out."""
    if measure in ("seconds", "time_ratio", "processor_seconds"):
        found = [float(getattr(r, measure)) for r in rows if r.method == method]
    else:
        found = [r.measures.get(measure, math.nan) for r in rows if r.method == method]
    return [v for v in found if not math.isnan(v)]


def cell(numbers: Sequence[float], measure: str) -> str:
    """The mean, and ± half of its 95 % interval over seeds (Student's); accuracies and shares as percentages."""
    if not numbers:
        return "–"
    times, digits = (100, 1) if is_share(measure) else (1, 1 if measure.endswith("seconds") else 2)
    text = f"{np.mean(numbers) * times:.{digits}f}"
    if len(numbers) < 2:
        return text
    low, high = mean_interval(numbers) or (0.0, 0.0)  # figures that are all alike
    return f"{text} ± {(high - low) / 2 * times:.{digits}f}"


def figure(rows: Sequence[Row], method: str, measure: str) -> str:
    """:func:`cell` of a method; one seed's share of images, or attack, is followed by its interval."""
    found = values(rows, method, measure)
    text = cell(found, measure)
    ends = [values(rows, method, f"{measure}_{end}") for end in ("low", "high")]
    if len(found) == 1 and all(ends):
        text += f" [{cell(ends[0], measure)}, {cell(ends[1], measure)}]"
    return text


def table(rows: Sequence[Row], measures: Sequence[str]) -> str:
    """A Markdown table with a line a method, in order of appearance; measures that no row has are left out."""
    methods = list(dict.fromkeys(row.method for row in rows))
    shown = [m for m in measures if any(values(rows, method, m) for method in methods)]
    lines = ["| method | " + " | ".join(shown) + " |", "|---|" + "---:|" * len(shown)]
    for method in methods:
        cells = " | ".join(figure(rows, method, m) for m in shown)
        lines.append(f"| {method} | {cells} |")
    return "\n".join(lines)


def verdict(rows: Sequence[Row]) -> list[str]:
    """What the figures say about each method, in words: whether the representation forgot as retraining does."""
    said: list[str] = []
    gold = _mean(rows, "retrain", "cka_forget_original")
    for method in dict.fromkeys(row.method for row in rows):
        same = _mean(rows, method, "cka_forget_original")
        if method in ("original", "retrain"):
            continue
        moved = _mean(rows, method, "moved_forget")
        if _same_inside(rows, method):
            text = "its embeddings are the original's: the representation forgot nothing"
            if (black_box := _mean(rows, method, "test_f")) < 0.05:
                text += f", although it names the class in {black_box:.1%} of tests"
        elif moved < STILL:
            text = f"it moved nothing: the forget images lie within {STILL:.0%} of where the original had them"
        elif same > 0.999:
            text = "it moved next to nothing: on the forget images its CKA to the original is still above .999"
        elif math.isnan(same):
            text = f"{_mean(rows, method, 'images_forget'):.0f} forget images are too few to compare representations by"
        else:
            text = f"CKA to the original on {_mean(rows, method, 'images_forget'):.0f} forget images {same:.2f}"
            text += "" if math.isnan(gold) else f" (retrained: {gold:.2f})"
        if regained := _regained(rows, method):
            others = [f"{name} {found}" for name in ("retrain", "original") if (found := _regained(rows, name))]
            text += f"; re-probed it regains {regained} ({', '.join(others)})"
        share = _mean(rows, method, "member_share_outputs"), _mean(rows, "retrain", "member_share_outputs")
        if not any(map(math.isnan, share)):
            text += f"; {share[0]:.0%} of the forget images pass for members (retrained: {share[1]:.0%})"
        text += way(rows, method) + stopped(rows, method)
        said.append(f"{method}: {text}.")
    return said + told_apart(rows)


def way(rows: Sequence[Row], method: str) -> str:
    """How far accuracy on the forget images, and the attack on them, went from the original's to the retrained one's.

    A clause each; none where those two are alike, or not known.
    """
    text = ""
    for measure, name in (("train_f", "accuracy"), ("mia_auc_outputs", "attack AUC")):
        before, after, gold = (_mean(rows, who, measure) for who in ("original", method, "retrain"))
        if any(map(math.isnan, (before, after, gold))) or abs(before - gold) < 0.02:
            continue
        share = (before - after) / (before - gold)
        end = "less than half-way" if share < 0.5 else "beyond it" if share > 1.5 else "at least half-way"
        shown = [f"{value:.0%}" if is_share(measure) else f"{value:.2f}" for value in (after, before, gold)]
        text += f"; on the forget images its {name} is {shown[0]} (original {shown[1]}, retrained {shown[2]}): {end}"
    return text


def stopped(rows: Sequence[Row], method: str) -> str:
    """Where a method's stopping rule ended it, as a clause; none where it had none, or over several seeds."""
    said = [row.facts.get("stopping", {}) for row in rows if row.method == method]
    if len(said) != 1 or "told_apart_after" not in said[0]:
        return ""
    fact = said[0]
    end = "it stopped after" if fact["reached"] else "it was not done after all"
    return (
        f"; {end} {fact['steps']} steps: by how well the network knows them they are told from unseen images with an "
        f"AUC of {fact['told_apart_after']:.2f} (before: {fact['told_apart_before']:.2f})"
    )


def _same_inside(rows: Sequence[Row], method: str) -> bool:
    """Whether a method left the original's extractor as it was, bit for bit, for every seed."""
    before = {row.seed: row.extractor for row in rows if row.method == "original"}
    after = {row.seed: row.extractor for row in rows if row.method == method}
    return bool(after) and all(print_ and print_ == before.get(seed) for seed, print_ in after.items())


def told_apart(rows: Sequence[Row]) -> list[str]:
    """Which re-probes tell the first method from head-only, the control that forgets nothing inside.

    A probe does if it regains less of the class after the method than after head-only, by more than 2 points and by
    more than that difference varies between seeds. A line, or none where no class was removed.
    """
    method = next((r.method for r in rows if r.method not in ("original", "retrain", "head_only")), None)
    shown, telling = [], []
    for probe, name in PROBES.items():
        pair = [{r.seed: r.measures.get(probe, math.nan) for r in rows if r.method == m} for m in (method, "head_only")]
        lost = [pair[1][seed] - value for seed, value in pair[0].items() if seed in pair[1]]
        if not lost or math.isnan(sum(lost)):
            return []
        shown.append(f"{name} {_mean(rows, str(method), probe):.1%} against {_mean(rows, 'head_only', probe):.1%}")
        if np.mean(lost) > max(0.02, float(np.std(lost))):
            telling.append(name)
    if telling:
        end = (
            f"the class is harder to regain after {method} with {' and with '.join(telling)}; head_only kept all of it"
        )
    else:
        end = "no probe tells them apart, only the CKA to the original does"
    return [f"{method} beside head_only, re-probed with {', '.join(shown)}: {end}."]


def _regained(rows: Sequence[Row], method: str) -> str:
    found = [_mean(rows, method, probe) for probe in PROBES]
    return "" if any(map(math.isnan, found)) else "/".join(f"{100 * v:.1f}" for v in found) + " %"


def _mean(rows: Sequence[Row], method: str, measure: str) -> float:
    found = values(rows, method, measure)
    return float(np.mean(found)) if found else math.nan
