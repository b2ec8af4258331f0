"""Masks from frozen patch tokens."""

from __future__ import annotations

import torch

from unlabeled.evaluation.dense.masks import MaskedImages
from unlabeled.evaluation.dense.score import Confusion
from unlabeled.evaluation.dense.segment import READERS, collect, segment
from unlabeled.evaluation.paired import resampled
from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import choice, options


def segmentation(config: TaskConfig, bench: Workbench) -> Outcome:
    """Mean IoU over classes and all test images; ``data`` is a folder of ``train``, ``trainannot``, ``test``, ….

    Options: ``reader`` (``knn``, ``linear`` or ``in_context``), ``classes`` (11), ``void`` (11), ``height`` and
    ``width`` of the pictures (192, 256).
    """
    chosen = options(config, reader="knn", classes=11, void=11, height=192, width=256)
    make = choice(config, "reader", chosen["reader"], READERS)
    backbone, root = bench.backbone(), bench.folder(config.data)
    train, test = (
        MaskedImages.folder(
            root, split, chosen["height"], chosen["width"], channels=backbone.in_chans, void=chosen["void"]
        ).first(config.images)
        for split in ("train", "test")
    )
    patches = collect(backbone, train, chosen["classes"], seed=bench.seed)
    parts = segment(backbone, make(patches), test, chosen["classes"])
    found, counts = Confusion.total(parts).measures(), torch.stack([part.counts for part in parts])
    draws = resampled(lambda rows: Confusion(counts[rows].sum(0)).measures()["miou"], len(parts), seed=bench.seed)
    return Outcome(found["miou"], found, resamples=draws, images=len(parts))
