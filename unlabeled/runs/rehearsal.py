"""A first step on two images that changes nothing: what cannot be trained is found before anything is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from unlabeled.core import dist
from unlabeled.core.errors import UserError, first_line
from unlabeled.data import ImageSet
from unlabeled.data.views import Views
from unlabeled.recipes.schema import Recipe
from unlabeled.ssl.method import Batch, Method, Step

IMAGES = 2
"""As few as any batch has; less only where an accumulated part is a single image, which BatchNorm may refuse."""


def rehearse(recipe: Recipe, method: Method, images: ImageSet, views: Views) -> None:
    """Make the recipe's views of two images and pass them through the method, on this process alone.

    Parameters, buffers and the global generator stay as they are.

    Raises:
        UserError: the views do not fit the method, or the backbone cannot take images of their sizes.
    """
    count = min(IMAGES, recipe.batch_size // recipe.optimizer.accumulate)
    rows = np.arange(count) % len(images)
    labels = torch.from_numpy(images.labels[rows]) if method.needs_labels and images.labels is not None else None
    step = Step(number=0, per_epoch=1, total=1, seed=recipe.seed, batch_size=count)
    with dist.alone(), torch.no_grad(), torch.random.fork_rng(devices=[]):
        batch = Batch(views(images.gather(rows), key=(recipe.seed, "rehearsal")), torch.from_numpy(rows), labels)
        untouched = {name: buffer.clone() for name, buffer in method.named_buffers()}
        try:
            functional_call(method, untouched, (batch, step))
        except (RuntimeError, AssertionError, ValueError) as error:
            sizes = ", ".join(dict.fromkeys(f"{view.shape[2]}x{view.shape[3]}" for view in batch.views))
            reason = first_line(error).rstrip(".")
            remedy = (
                _any_size(method, batch.views) or "change 'size' in the recipe's views, data.size, or backbone.name"
            )
            raise UserError(
                f"method '{recipe.method.name}' with the backbone '{recipe.backbone.name}' cannot be trained on views "
                f"of {sizes} pixels ({reason}); {remedy}."
            ) from error


def _any_size(method: Method, views: Sequence[Tensor]) -> str | None:
    """How a transformer for images of a single size takes several sizes; ``None`` if that is not why it fails."""
    network: Any = method.backbone
    sides = {side for view in views for side in view.shape[2:]}
    if len(sides) == 1 or getattr(network, "dynamic_img_size", True):
        return None
    common, patches = math.gcd(*sides), network.patch_embed.patch_size
    smaller = "" if all(common % side == 0 for side in patches) else f" and backbone.args.patch_size={common}"
    return f"for views of several sizes set backbone.args.dynamic_img_size=true{smaller}"
