"""All forgetting algorithms by name. Adding one: write its file and list it here (docs/add_a_forgetter.md).

Paths stand here, not classes: the command line offers the names without waiting for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from unlabeled.core.errors import UserError, nearest

if TYPE_CHECKING:
    from unlabeled.forgetting.contract import AnyForgetter

METHODS = {
    "laf": "laf.LAF",
    "laf_r": "laf_r.LAFR",
    "retrain": "retrain.Retrain",
    "head_only": "head_only.HeadOnly",
    "finetune": "finetune.FineTune",
    "l1_sparse": "l1_sparse.L1Sparse",
    "negative_gradient": "negative_gradient.NegativeGradient",
    "sam": "sam.SAM",
    "slug": "slug.SLUG",
    "i2i": "i2i.I2I",
    "alignment_calibration": "alignment_calibration.AlignmentCalibration",
    "random_label": "random_label.RandomLabel",
    "boundary_shrink": "boundary.BoundaryShrink",
    "boundary_expand": "boundary.BoundaryExpand",
    "scrub": "scrub.Scrub",
    "bad_teacher": "bad_teacher.BadTeacher",
    "stochastic_teacher": "bad_teacher.StochasticTeacher",
    "noise_finetune": "noise_finetune.NoiseFineTune",
    "gs_lora": "gs_lora.GSLoRA",
    "scar": "scar.SCAR",
    "ssd": "ssd.SSD",
    "lfssd": "ssd.LFSSD",
    "salun": "salun.SalUn",
    "duck": "duck.Duck",
    "nmc": "exact_head.ExactNMC",
    "lda": "exact_head.ExactLDA",
    "ridge": "exact_head.ExactRidge",
}
"""Module and class of each, below ``unlabeled.forgetting.methods``."""


def forgetter_class(name: str) -> type[AnyForgetter]:
    """The class of a method in :data:`METHODS`.

    Raises:
        UserError: there is none of this name.

    >>> forgetter_class("laf").needs_labels
    False
    """
    if name not in METHODS:
        raise UserError(f"there is no forgetting method '{name}'.{nearest(name, METHODS)}")
    module, _, kind = METHODS[name].partition(".")
    return cast("type[AnyForgetter]", getattr(importlib.import_module(f"{__name__}.{module}"), kind))
