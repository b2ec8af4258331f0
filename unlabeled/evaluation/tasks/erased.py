"""What is left of the other classes when one class can no longer be read linearly."""

from __future__ import annotations

import numpy as np

from unlabeled.evaluation.erasure import ERASERS
from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import choice, options
from unlabeled.probes.logistic import LogisticProbe


def erased(config: TaskConfig, bench: Workbench) -> Outcome:
    """Accuracy among the other classes after erasing one; ``readable`` is the balanced accuracy at finding it again.

    Options: ``class`` (its number, 0), ``eraser`` (``leace``).
    """
    chosen = options(config, **{"class": 0, "eraser": "leace"})
    train, test = bench.bank(config, "train"), bench.bank(config, "test")
    assert train.labels is not None
    assert test.labels is not None
    of_train, of_test = train.labels == chosen["class"], test.labels == chosen["class"]
    eraser = choice(config, "eraser", chosen["eraser"], ERASERS)().fit(train.features, of_train)
    X, Z = (eraser.transform(bank.features).astype(np.float32) for bank in (train, test))
    again = np.asarray(LogisticProbe(seed=bench.seed, device=bench.device).fit(X, of_train).predict(Z))
    readable = float(np.mean([(again == of_test)[of_test == one].mean() for one in (False, True)]))
    probe = LogisticProbe(seed=bench.seed, device=bench.device).fit(X[~of_train], train.labels[~of_train])
    right = (np.asarray(probe.predict(Z[~of_test])) == test.labels[~of_test]).astype(float)
    return Outcome(float(right.mean()), {"rest": float(right.mean()), "readable": readable}, right)
