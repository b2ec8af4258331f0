"""Few rows: the penalty is chosen over folds, each of which is a fit of its own."""

import numpy as np
import pytest

from unlabeled.data.rows import splits_to_choose
from unlabeled.probes.logistic import LogisticProbe


def test_of_few_rows_each_is_held_out_once():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 4
    X = (rng.normal(size=(4, 12))[y] + 1.5 * rng.normal(size=(300, 12))).astype(np.float32)
    probe = LogisticProbe((1e-1, 1e-2, 1e-3), tol=1e-8).fit(X, y)
    splits = splits_to_choose(y, 0.2, 0, "logistic")
    assert sorted(np.concatenate([held for _, held in splits])) == list(range(300))
    for point in probe.path_:
        alone = [LogisticProbe(point.penalty, tol=1e-8).fit(X[a], y[a]).score(X[b], y[b]) for a, b in splits]
        assert point.folds == pytest.approx(alone)
        assert point.accuracy == pytest.approx(np.mean(alone))
    assert probe.penalty_ == min(probe.path_, key=lambda point: point.loss).penalty
    assert len(probe.chosen()["accuracy in folds"]) == 5
