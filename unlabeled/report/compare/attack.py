"""What an attacker learns from a pair of runs: scores as histograms with a threshold that moves, and the worst case."""

from __future__ import annotations

import json

import numpy as np
from sklearn.metrics import roc_auc_score

from unlabeled.forgetting.judge.attacks import auc_interval
from unlabeled.forgetting.judge.privacy import Worst, worst_case
from unlabeled.report.blocks import figure, sortable
from unlabeled.report.compare.content import GROUPS, Array, Reading, Shown
from unlabeled.report.markup import Markup, join, tag
from unlabeled.report.tables import percent

BINS = 24
WIDTH, HEIGHT, LEFT, BELOW = 460, 170, 8, 22


def rates(members: Array, others: Array, threshold: float) -> tuple[float, float]:
    """The true and the false positive rate of an attacker who calls members what scores above the threshold.

    >>> rates(np.array([0.2, 0.8, 0.9, 0.7]), np.array([0.1, 0.75]), 0.7)
    (0.5, 0.5)
    """
    return float((members > threshold).mean()), float((others > threshold).mean())


def attack_view(shown: Shown, first: Reading, second: Reading) -> Markup:
    """Every attack on both runs, with one threshold for both."""
    members, others = shown.rows(shown.members), shown.rows("unseen")
    attacks = [name for name in first.scores if name in second.scores]
    if not attacks or not len(members) or not len(others):
        return Markup("")
    hint = (
        f"P(member) that an attacker gives images {GROUPS[shown.members]} and images {GROUPS['unseen']}. It learned, "
        "by logistic regression, from other images of which it knows whether the run was trained on them. Everything "
        "above the threshold it calls a member: move it."
    )
    blocks = []
    for attack in attacks:
        charts = [_chart(r.name, r.scores[attack][members], r.scores[attack][others]) for r in (first, second)]
        slider = tag(
            "input", type="range", min="0", max="1", step="0.01", value="0.5", aria_label=f"threshold, {attack}"
        )
        label = tag("label", f"By {attack}, threshold ", tag("output", "0.50", class_="at"), slider)
        blocks.append(tag("div", label, tag("div", charts, class_="columns"), class_="attack", data_name=attack))
    marks = [tag("span", tag("i", class_=f"mark bars {kind}"), GROUPS[group])
             for kind, group in (("members", shown.members), ("others", "unseen"))]  # fmt: skip
    return join([tag("p", hint, class_="hint"), tag("p", marks, class_="legend"), blocks])


def _chart(name: str, members: Array, others: Array) -> Markup:
    edges = np.linspace(0, 1, BINS + 1)
    sides = {"others": others, "members": members}
    shares = {kind: np.histogram(values, edges)[0] / len(values) for kind, values in sides.items()}
    top = max(float(share.max()) for share in shares.values())
    step = (WIDTH - 2 * LEFT) / BINS
    bars = [
        tag(
            "rect", class_=kind, x=round(LEFT + i * step + 0.5, 1), width=round(step - 1, 1),
            y=round((HEIGHT - BELOW) * (1 - value / top), 1), height=round((HEIGHT - BELOW) * value / top, 1),
        )
        for kind, share in shares.items()
        for i, value in enumerate(share.tolist())
        if value
    ]  # fmt: skip
    ticks = [
        tag("text", f"{x:g}", class_="tick", x=LEFT + x * (WIDTH - 2 * LEFT), y=HEIGHT - 6, text_anchor=anchor)
        for x, anchor in ((0, "start"), (0.5, "middle"), (1, "end"))
    ]
    x = WIDTH / 2
    line = tag("line", class_="threshold", x1=x, x2=x, y1=0, y2=HEIGHT - BELOW)
    axis = tag("line", class_="grid", x1=LEFT, x2=WIDTH - LEFT, y1=HEIGHT - BELOW, y2=HEIGHT - BELOW)
    svg = tag("svg", axis, bars, ticks, line, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=f"scores, {name}")
    true, false = rates(members, others, 0.5)
    auc = float(roc_auc_score(np.repeat([1, 0], [len(members), len(others)]), np.concatenate([members, others])))
    low, high = auc_interval(auc, len(members), len(others))
    said = tag(
        "p", "TPR ", tag("output", percent(true), class_="tpr"), " %, FPR ",
        tag("output", percent(false), class_="fpr"), f" % · AUC {auc:.3f} [{low:.3f}, {high:.3f}]", class_="rates",
    )  # fmt: skip
    return tag(
        "figure", tag("figcaption", name), svg, said,
        class_="hist", data_members=_numbers(members), data_others=_numbers(others),
    )  # fmt: skip


def _numbers(values: Array) -> str:
    return json.dumps([round(float(value), 4) for value in values])


def privacy_table(shown: Shown, first: Reading, second: Reading) -> Markup:
    """Members against others in each run, and one run against the other on the members: the worst case of each."""
    members, others = shown.rows(shown.members), shown.rows("unseen")
    attacks = [name for name in first.scores if name in second.scores]
    if not attacks or not len(members) or not len(others):
        return Markup("")
    sides = {
        f"{reading.name}: images {GROUPS[shown.members]} against images {GROUPS['unseen']}": worst_case(
            {a: reading.scores[a][members] for a in attacks}, {a: reading.scores[a][others] for a in attacks}
        )
        for reading in (first, second)
    }
    sides[f"{first.name} against {second.name} on images {GROUPS[shown.members]}"] = worst_case(
        {a: first.scores[a][members] for a in attacks}, {a: second.scores[a][members] for a in attacks}
    )
    rows = [tag("tr", tag("td", name, class_="words"), _worst(found)) for name, found in sides.items()]
    hint = (
        "exp(−ε) for the attack and threshold that tell the two sides apart best. 1: none is shown to, at 95 % "
        "confidence; 0.25: an attacker meets one side four times as often as the other. With few images little can be "
        "shown: the last column is the smallest score that so many could give."
    )
    columns = ["told apart", "score", "ε, at least", "by", "at threshold", "score could be"]
    return join([tag("p", hint, class_="hint"), sortable(columns, rows, "privacy")])


def _worst(found: Worst) -> list[Markup]:
    where = "–" if found.threshold is None else f"{found.threshold:.2f}"
    return [
        figure(found.score, f"{found.score:.2f}", strong=True),
        figure(found.epsilon, f"{found.epsilon:.2f}"),
        tag("td", found.attack or "–"),
        figure(found.threshold, where),
        figure(found.least_score, f"{found.least_score:.2f}"),
    ]
