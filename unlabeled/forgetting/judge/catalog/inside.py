"""Attacks that need no head and no labels, and see what no plane through the embeddings does."""

from __future__ import annotations

import numpy as np

from unlabeled.core import rng
from unlabeled.forgetting.images import Rows
from unlabeled.forgetting.judge import attacks
from unlabeled.forgetting.judge.case import Case, View
from unlabeled.forgetting.judge.features import embedded_views, geometry, view_similarities
from unlabeled.forgetting.judge.measure import SURE, Found, Measure, Words

VIEWED = 500
"""Of the forget and of the test images: each is embedded several times."""


def of(case: Case, view: View) -> Found:
    """Where embeddings lie among those of retain images; of a bare encoder also how alike views of an image are."""
    sides = _sides(case)
    bank = view.embeddings["retain"]
    where = [geometry(view.embeddings[name][rows], bank) for name, rows in sides.items()]
    found = _named("geometry", attacks.balanced_attack(*where, seed=case.seed, trees=True))
    if case.has_head:
        return Found(found)
    model = view.model.copy().to(case.device).eval()
    shown = {name: case.sets[name].subset(rows[:VIEWED]) for name, rows in sides.items()}
    alike = [view_similarities(embedded_views(model, s, case.device, seed=case.seed)) for s in shown.values()]
    return Found(found | _named("views", attacks.balanced_attack(*alike, seed=case.seed)))


def _sides(case: Case) -> dict[str, Rows]:
    """Rows of the forget and of the test images, the classes equally often on both sides where they are known."""
    rows = {name: np.arange(len(case.sets[name])) for name in ("forget", "test")}
    if case.labelled:
        pair = attacks.matched(case.true_labels("forget"), case.labels["test"].numpy(), case.seed)
        rows = dict(zip(rows, pair, strict=True))
    return {n: rng.numpy_generator("sides", n, case.seed).permutation(r).astype(np.int64) for n, r in rows.items()}


def _named(name: str, attack: attacks.Attack) -> dict[str, float]:
    low, high = attack.interval
    return {f"mia_auc_{name}": attack.auc, f"mia_auc_{name}_low": low, f"mia_auc_{name}_high": high}


NOTHING = "0.5: the attacker learns nothing"
MEASURE = Measure(
    of,
    {
        "mia_auc_geometry": Words(
            "attack on norms and neighbours of the embeddings, AUC", NOTHING, ("leakage", "representation")
        ),
        "mia_auc_views": Words(
            "attack on the likeness of views (EncoderMI), AUC", NOTHING, ("leakage", "representation")
        ),
        "mia_auc_geometry_low": Words("attack on norms and neighbours, AUC at least", SURE),
        "mia_auc_geometry_high": Words("attack on norms and neighbours, AUC at most", SURE),
        "mia_auc_views_low": Words("attack on the likeness of views, AUC at least", SURE),
        "mia_auc_views_high": Words("attack on the likeness of views, AUC at most", SURE),
    },
)
