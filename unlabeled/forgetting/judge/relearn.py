"""The relearn curve: how soon does the model know again what it was made to forget?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from unlabeled.core import rng
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import prepared
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.epochs import adam, descend
from unlabeled.forgetting.images import LabelledImages, Rows
from unlabeled.forgetting.judge.measures import accuracy


@dataclass(frozen=True)
class RelearnCurve:
    """Forget accuracy after ``steps[i]`` training steps, and the first step at which it reached ``target``."""

    steps: list[int]
    accuracy: list[float]
    target: float
    reached: int | None


def watched(count: int, seed: int) -> Rows:
    """Which of ``count`` forget images are watched while relearning: at most 1000."""
    return np.sort(rng.numpy_generator("relearn", seed).permutation(count)[:1000]).astype(np.int64)


def relearn_curve(
    model: Classifier,
    forget: LabelledImages,
    target: float,
    *,
    seed: int = 0,
    lr: float = 1e-4,
    batch_size: int = 32,
    every: int = 5,
    max_steps: int = 100,
    device: torch.device | str = "cpu",
) -> RelearnCurve:
    """Train a copy on the forget set again and watch its accuracy on the :func:`watched` images of it.

    Args:
        target: the accuracy to regain, usually the original's on the same images.
    """
    student = prepared(model, device).eval()
    optimiser = adam(student.parameters(), lr)
    order = rng.numpy_generator("relearn", seed).permutation(len(forget))
    some = forget.subset(watched(len(forget), seed))

    def look() -> float:
        return accuracy(apply_head(student, embed_all(student, some, device)), some.labels)

    steps, curve = [0], [look()]
    reached = 0 if curve[0] >= target else None
    while steps[-1] < max_steps and reached is None:
        for step in range(steps[-1], steps[-1] + every):
            positions = order[(step * batch_size + np.arange(batch_size)) % len(order)].astype(np.int64)
            images, labels = forget.labelled(positions, device)
            descend(F.cross_entropy(student(images), labels), optimiser)
        steps.append(steps[-1] + every)
        curve.append(look())
        if curve[-1] >= target:
            reached = steps[-1]
    return RelearnCurve(steps, curve, target, reached)


def relearn_ratio(unlearned: RelearnCurve, retrained: RelearnCurve) -> float:
    """Steps the unlearned model needs over those the retrained one needs: 1 is ideal, less means it remembers.

    A model that never got there counts as if its last step had done it. NaN where the retrained model needs no step and
    the unlearned one does: there is no ratio to nothing.
    """
    needed = [c.steps[-1] if c.reached is None else c.reached for c in (unlearned, retrained)]
    if needed[1] == 0:
        return 1.0 if needed[0] == 0 else math.nan
    return needed[0] / needed[1]
