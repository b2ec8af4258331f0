"""Depth of each pixel from frozen patch tokens."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from unlabeled.core.errors import UserError
from unlabeled.core.rng import numpy_generator
from unlabeled.evaluation.dense.depth import LinearBins, errors, patch_depth
from unlabeled.evaluation.dense.maps import at_size, maps
from unlabeled.evaluation.dense.masks import MaskedImages
from unlabeled.evaluation.tasks.base import Outcome, TaskConfig, Workbench
from unlabeled.evaluation.tasks.options import options

TOKENS = 50_000
"""Training patches that are kept, the same number of each image."""


def depth(config: TaskConfig, bench: Workbench) -> Outcome:
    """Mean over test images of δ1, the share of pixels whose depth is right to within a factor of 1.25.

    ``data`` is a folder of ``train``, ``traindepth``, ``test`` and ``testdepth``; depth maps are gray PNGs of 8 or 16
    bits, 0 where nothing is known. Options: ``height`` and ``width`` of the pictures (192, 256).
    """
    chosen = options(config, height=192, width=256)
    backbone, root = bench.backbone(), bench.folder(config.data)
    sides = chosen["height"], chosen["width"]
    train, test = (
        MaskedImages.folder(root, split, *sides, channels=backbone.in_chans, beside="depth").first(config.images)
        for split in ("train", "test")
    )
    model, rows, known = at_size(backbone, *sides), [], []
    for number, (pictures, truths) in enumerate(train.batches()):
        for batch in maps(model, pictures, len(pictures)):
            for place, (tokens, truth) in enumerate(zip(batch.cpu(), truths, strict=True)):
                wanted = patch_depth(truth.float(), *tokens.shape[1:]).flatten()
                some = torch.from_numpy(numpy_generator(bench.seed, "depth", number, place).permutation(len(wanted)))
                some = some[wanted[some].isfinite()][: max(1, TOKENS // len(train))]
                rows.append(tokens.flatten(1).T[some])
                known.append(wanted[some])
    if not sum(map(len, known)):
        raise UserError(f"depth: no pixel of {root / 'traindepth'} is known; all are 0.")
    reader, found = LinearBins(torch.cat(rows), torch.cat(known)), []
    for pictures, truths in test.batches():
        for batch in maps(model, pictures, len(pictures)):
            for tokens, truth in zip(batch.cpu(), truths, strict=True):
                answer = reader.read(tokens.flatten(1).T).view(1, 1, *tokens.shape[1:])
                whole = F.interpolate(answer, tuple(truth.shape), mode="bilinear", align_corners=False)[0, 0]
                if bool((truth > 0).any()):
                    found.append(errors(whole, truth.float()))
    if not found:
        raise UserError(f"depth: no pixel of {root / 'testdepth'} is known; all are 0.")
    measures = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    return Outcome(measures["delta1"], measures, np.array([one["delta1"] for one in found]))
