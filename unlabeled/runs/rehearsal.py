"""A first step on two images that changes nothing: what cannot be trained is found before anything is written."""

from __future__ import annotations

import numpy as np
import torch
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
            raise UserError(
                f"method '{recipe.method.name}' with the backbone '{recipe.backbone.name}' cannot be trained on views "
                f"of {sizes} pixels ({reason}); change 'size' in the recipe's views, data.size, or backbone.name."
            ) from error
