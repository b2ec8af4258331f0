"""Masks from frozen patch tokens."""

from __future__ import annotations

from unlabeled.evaluation.dense.masks import MaskedImages
from unlabeled.evaluation.dense.score import Confusion
from unlabeled.evaluation.dense.segment import READERS, collect, segment
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
    found = Confusion.total(segment(backbone, make(patches), test, chosen["classes"])).measures()
    return Outcome(found["miou"], found)
