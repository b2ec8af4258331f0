"""Accuracy of a probe that looks at all places of an image."""

from __future__ import annotations

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import options
from unlabeled.probes.attentive import AttentiveProbe


def attentive(config: TaskConfig, bench: Workbench) -> Outcome:
    """Attention over the patch tokens of a transformer (or the last map of a ConvNet), then a linear layer.

    Options: ``queries``, attention maps (4).
    """
    chosen = options(config, queries=4)
    train, test = (bench.bank(config, split, pool="flat") for split in ("train", "test"))
    # the mean over places has a number for each channel
    tokens, rest = divmod(train.dim, bench.bank(config, "test", pool="avg").dim)
    if rest:
        raise UserError(f"'{config.name}' needs tokens of one size, and this backbone gives {train.dim} numbers.")
    probe = AttentiveProbe(tokens, chosen["queries"], seed=bench.seed, device=bench.device).fit(train)
    right = (np.asarray(probe.predict(test.features)) == test.labels).astype(float)
    return Outcome(float(right.mean()), {"accuracy": float(right.mean()), "tokens": float(tokens)}, right)
