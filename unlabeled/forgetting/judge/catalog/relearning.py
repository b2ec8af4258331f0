"""How soon the model knows again what it was made to forget."""

from __future__ import annotations

import math

from unlabeled.forgetting.contract import need_labels
from unlabeled.forgetting.judge import measures
from unlabeled.forgetting.judge.case import Case, View
from unlabeled.forgetting.judge.measure import Found, Measure, Words
from unlabeled.forgetting.judge.relearn import RelearnCurve, relearn_curve, relearn_ratio, watched


def curve(case: Case, view: View) -> RelearnCurve:
    """Accuracy on the forget images as they are learned again, up to what the original had."""
    forget = need_labels(case.sets["forget"], "relearning")
    seen = watched(len(forget), case.seed)
    target = measures.accuracy(case.original.logits["forget"][seen], forget.labels[seen])
    return relearn_curve(view.model, forget, target, seed=case.seed, device=case.device)


def of(case: Case, view: View) -> Found:
    """Steps until it knows them as the original did, and over those of the retrained network."""
    again, gold = curve(case, view), case.retrained
    found = {"relearn_steps": math.nan if again.reached is None else float(again.reached)}
    if gold is not None:
        found["relearn_ratio"] = relearn_ratio(again, case.once("relearning", lambda: curve(case, gold)))
    return Found(found, relearn={"steps": again.steps, "accuracy": again.accuracy, "target": again.target})


MEASURE = Measure(
    of,
    {
        "relearn_steps": Words("steps to learn them again", "few: much of them is still inside"),
        "relearn_ratio": Words(
            "steps to learn them again, over the retrained's",
            "1: as new to it as to the retrained",
            ("representation",),
        ),
    },
    needs_labels=True,
    needs_head=True,
)
