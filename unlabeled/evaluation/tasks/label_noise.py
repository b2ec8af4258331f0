"""What a probe learns where some labels are wrong."""

from __future__ import annotations

import numpy as np

from unlabeled.core.rng import numpy_generator
from unlabeled.data.rows import wrong_labels
from unlabeled.evaluation.tasks.base import Curve, Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import chosen_probe, options
from unlabeled.probes.base import class_codes


def label_noise(config: TaskConfig, bench: Workbench) -> Outcome:
    """Mean test accuracy over shares of training labels that are flipped to another class.

    For each share η above 0, the gaps of Bansal, Kaplun & Barak 2021 (Def. 1): ``robustness`` (training accuracy
    without noise less that with it, both against the true labels), ``rationality`` (accuracy on the training images
    whose labels were flipped, against the true ones, less that on test images) and ``memorisation`` (training accuracy
    with noise less that on the flipped ones); none below 0. Test accuracy is that without noise, as in the paper.
    Options: ``probe`` (``logistic``), ``shares`` ([0.0, 0.1, 0.2, 0.3, 0.4]; the first must be 0).
    """
    chosen = options(config, probe="logistic", shares=[0.0, 0.1, 0.2, 0.3, 0.4])
    kind, shares = chosen_probe(config, chosen["probe"]), [float(share) for share in chosen["shares"]]
    if not shares or shares[0] != 0 or not all(0 < share < 1 for share in shares[1:]):
        raise config.refuse("shares", "must be 0.0 and then shares below 1")
    train, test = bench.bank(config, "train"), bench.bank(config, "test")
    assert train.labels is not None
    classes, codes = class_codes(train.labels)
    right, measures = [], dict[str, float]()
    fitted_clean = clean = 0.0
    for share in shares:
        rows = np.sort(
            numpy_generator(bench.seed, "flip", str(share)).permutation(len(codes))[: round(share * len(codes))]
        )
        noisy = codes.copy()
        noisy[rows] = wrong_labels(codes[rows], len(classes), bench.seed, "wrong", str(share))
        probe = kind.for_suite(bench.seed, bench.device).fit(train.features, classes[noisy])
        right.append((np.asarray(probe.predict(test.features)) == test.labels).astype(float))
        fitted = np.asarray(probe.predict(train.features)) == train.labels
        at = f"@{round(100 * share)}%"
        measures[f"accuracy{at}"] = float(right[-1].mean())
        if not share:
            fitted_clean, clean = float(fitted.mean()), float(right[-1].mean())
            continue
        on_flipped = float(fitted[rows].mean())
        gaps = {
            "robustness": fitted_clean - float(fitted.mean()),
            "rationality": on_flipped - clean,
            "memorisation": float(fitted.mean()) - on_flipped,
        }
        measures |= {f"{name}{at}": max(gap, 0.0) for name, gap in gaps.items()}
    per_image = np.mean(right, axis=0)
    curve = Curve("share of wrong labels", tuple((s, float(r.mean())) for s, r in zip(shares, right, strict=True)))
    return Outcome(float(per_image.mean()), measures, per_image, curve=curve)
