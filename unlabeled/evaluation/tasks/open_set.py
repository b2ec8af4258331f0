"""A classifier that may refuse: known classes answered, unknown ones let go."""

from __future__ import annotations

import numpy as np

from unlabeled.core.rng import numpy_generator
from unlabeled.evaluation.detectors import DETECTORS
from unlabeled.evaluation.paired import resampled
from unlabeled.evaluation.tasks.base import Curve, Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import choice, options
from unlabeled.evaluation.unknown import rejection_curve, separation
from unlabeled.probes.base import class_codes
from unlabeled.probes.logistic import LogisticProbe

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Of unknown images that are let in, at which the curve is read."""


def open_set(config: TaskConfig, bench: Workbench) -> Outcome:
    """Area under the open-set curve (OSCR): right answers among known images over unknown images that are let in.

    Half of the classes, drawn by the seed, are never shown to the classifier nor to the detector. With it: ``closed``,
    the accuracy without refusing, ``auroc`` and ``fpr95`` of the detector, and the curve.
    Options: ``detector`` (``msp``), ``known``, how many classes are (0: half).
    """
    chosen = options(config, detector="msp", known=0)
    detector = choice(config, "detector", chosen["detector"], DETECTORS)(device=bench.device)
    train, test = bench.bank(config, "train"), bench.bank(config, "test")
    assert train.labels is not None
    assert test.labels is not None
    classes = class_codes(train.labels)[0]
    number = chosen["known"] or (len(classes) + 1) // 2
    if not 2 <= number < len(classes):
        raise config.refuse("known", f"must lie between 2 and {len(classes) - 1} of {len(classes)} classes")
    known = classes[np.sort(numpy_generator(bench.seed, "known classes").permutation(len(classes))[:number])]
    shown, inside = np.isin(train.labels, known), np.isin(test.labels, known)
    seen, labels = train.features[shown], train.labels[shown]
    detector.fit(seen, labels)
    probe = LogisticProbe(seed=bench.seed, device=bench.device).fit(seen, labels)
    right = np.asarray(probe.predict(test.features[inside])) == test.labels[inside]
    familiar, strange = (np.asarray(detector.score_samples(test.features[part])) for part in (inside, ~inside))
    curve = rejection_curve(familiar, right, strange)
    draws = resampled(
        lambda k, u: rejection_curve(familiar[k], right[k], strange[u]).area, len(right), len(strange), seed=bench.seed
    )
    read = tuple((share, float(np.interp(share, curve.accepted, curve.right))) for share in SHARES)
    measures = {"oscr": curve.area, "closed": float(right.mean()), **separation(familiar, strange)}
    over = Curve("share of unknown images let in", read)
    return Outcome(curve.area, measures, resamples=draws, images=len(test.labels), curve=over)
