"""What an attacker with shadow models learns of each image: LiRA."""

from __future__ import annotations

import numpy as np

from unlabeled.forgetting.contract import need_labels
from unlabeled.forgetting.judge.case import Case, View
from unlabeled.forgetting.judge.lira import leak, lira, log_odds
from unlabeled.forgetting.judge.measure import SURE, Found, Measure, Words

SETS = ("forget", "test")


def of(case: Case, view: View) -> Found:
    """LiRA on forget against test images; nothing without shadow models.

    Online where some shadow models saw the test images, too (a pool from which the training set was drawn), offline
    otherwise: both sides must be scored alike.
    """
    shadows = case.task.shadows
    if shadows is None:
        return Found({})
    sets = [need_labels(case.sets[name], "LiRA") for name in SETS]
    inside = np.concatenate([shadows.inside(images) for images in sets], axis=1)
    odds = np.concatenate([shadows.log_odds(images, case.device) for images in sets], axis=1)
    ours = np.concatenate([log_odds(view.logits[name], images.labels) for name, images in zip(SETS, sets, strict=True)])
    scores = lira(ours, odds, inside, offline=not inside.any(0).all())
    found = leak(scores[: len(sets[0])], scores[len(sets[0]) :])
    values = {"lira_auc": found.auc, "lira_tpr": found.tpr}
    for name, ends in (("lira_auc", found.auc_interval), ("lira_tpr", found.tpr_interval)):
        values |= {f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return Found(values, {"lira_scores": scores.astype(np.float32)})


MEASURE = Measure(
    of,
    {
        "lira_auc": Words("attack image by image (LiRA), AUC", "0.5: the attacker learns nothing", ("leakage",)),
        "lira_tpr": Words(
            "images to forget found by LiRA at 1 % false alarms",
            "1 %: the attacker guesses",
            ("leakage",),
            percent=True,
        ),
        "lira_auc_low": Words("LiRA, AUC at least", SURE),
        "lira_auc_high": Words("LiRA, AUC at most", SURE),
        "lira_tpr_low": Words("found by LiRA, at least", SURE, percent=True),
        "lira_tpr_high": Words("found by LiRA, at most", SURE, percent=True),
    },
    needs_labels=True,
    needs_head=True,
)
