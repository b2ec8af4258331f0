"""What an attacker learns: was an image trained on? From the embeddings, and from the outputs."""

from __future__ import annotations

import numpy as np
import torch

from unlabeled.forgetting.judge import attacks
from unlabeled.forgetting.judge.case import Case, View
from unlabeled.forgetting.judge.measure import SURE, Found, Measure, Words, and_intervals, with_interval


def attack(case: Case, name: str, retain: attacks.Array, forget: attacks.Array, test: attacks.Array) -> Found:
    """Balanced: forget images against unseen ones of the same classes; and how many pass for members."""
    left, right = np.arange(len(forget)), np.arange(len(test))
    if case.labelled:
        left, right = attacks.matched(case.true_labels("forget"), case.labels["test"].numpy(), case.seed)
    balanced = attacks.balanced_attack(forget[left], test[right], seed=case.seed)
    unseen = test[case.parts[case.retained].numpy()]
    scores = attacks.member_scores(retain, unseen, forget, seed=case.seed)
    values = {
        **with_interval(f"mia_accuracy_{name}", balanced.accuracy, 2 * len(balanced.member_scores)),
        f"mia_auc_{name}": balanced.auc,
        f"mia_auc_{name}_low": balanced.interval[0],
        f"mia_auc_{name}_high": balanced.interval[1],
        **with_interval(f"member_share_{name}", float((scores > 0.5).mean()), len(scores)),
    }
    return Found(values, {f"members_{name}": scores.astype(np.float32)})


def of(case: Case, view: View) -> Found:
    """The attack on embeddings, which needs neither head nor labels; with a head, that on outputs and the papers'."""
    found = attack(case, "features", *(view.embeddings[name].numpy() for name in case.sets))
    if not case.has_head:
        return found
    # a wrong label would give the forget images away by the loss alone
    right = case.labelled and case.task.split.noisy_labels is None
    logits, labels = view.logits, case.labels if right else {}
    other = attack(case, "outputs", *(attacks.output_features(logits[n], labels.get(n)) for n in case.sets))
    train = torch.cat([logits["retain"], logits["forget"][case.like_the_data("asr")]])
    asr = with_interval("asr", *attacks.paper_asr(train, logits["test"], logits["forget"], seed=case.seed))
    return Found({**found.values, **other.values, **asr}, {**found.arrays, **other.arrays})


WHO = "who was trained on? 50 %: the attacker guesses"
NOTHING = "0.5: the attacker learns nothing"
NEAR = "near the retrained is good"
MEASURE = Measure(
    of,
    and_intervals(
        {
            "asr": Words(
                "members found by the attack of the papers",
                "images to forget that pass for training images",
                ("leakage",),
                percent=True,
            ),
            "mia_accuracy_outputs": Words("attack on the outputs, accuracy", WHO, ("leakage",), percent=True),
            "mia_auc_outputs": Words("attack on the outputs, AUC", NOTHING, ("leakage",)),
            "mia_auc_features": Words("attack on the embeddings, AUC", NOTHING, ("leakage", "representation")),
            "member_share_outputs": Words(
                "images to forget that pass for members, by outputs", NEAR, ("leakage",), percent=True
            ),
            "mia_accuracy_features": Words("attack on the embeddings, accuracy", WHO, percent=True),
            "member_share_features": Words("images to forget that pass for members, by embeddings", NEAR, percent=True),
            "mia_auc_outputs_low": Words("attack on the outputs, AUC at least", SURE),
            "mia_auc_outputs_high": Words("attack on the outputs, AUC at most", SURE),
            "mia_auc_features_low": Words("attack on the embeddings, AUC at least", SURE),
            "mia_auc_features_high": Words("attack on the embeddings, AUC at most", SURE),
        }
    ),
)
