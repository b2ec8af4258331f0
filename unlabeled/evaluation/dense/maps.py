"""Feature maps of any backbone at any resolution: patch tokens laid out again, or the last map of a ConvNet."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor

from unlabeled.backbones import Backbone
from unlabeled.core.errors import UserError


def at_size(backbone: Backbone, height: int, width: int) -> Backbone:
    """The backbone for images of another size: a copy of a transformer, its position tables resampled; others as is.

    Raises:
        UserError: sides that are no multiples of its patches.
    """
    model: Any = backbone.model
    if hasattr(model, "set_input_size"):
        patch = getattr(getattr(model, "patch_embed", None), "patch_size", (1, 1))
        if height % patch[0] or width % patch[1]:
            raise UserError(
                f"dense: images of {height}x{width} do not divide into patches of {patch[0]}x{patch[1]}; choose sides "
                "that are multiples of them."
            )
        if tuple(getattr(getattr(model, "patch_embed", None), "img_size", None) or ()) == (height, width):
            return backbone
        backbone = copy.deepcopy(backbone)  # tables that are resampled to and fro are not what they were
        try:
            cast(Any, backbone.model).set_input_size(img_size=(height, width))
        except (AssertionError, ValueError, TypeError, RuntimeError) as error:
            raise UserError(f"dense: this backbone takes no images of {height}x{width} ({error}).") from error
    return backbone


def feature_map(backbone: Backbone, images: Tensor) -> Tensor:
    """Normalised images (B, C, H, W) to feature maps (B, D, h, w).

    Raises:
        UserError: the backbone has no spatial features.
    """
    model: Any = backbone.model
    height, width = images.shape[-2:]
    out = model.forward_features(images)
    if isinstance(out, Tensor) and out.ndim == 4:
        return out.permute(0, 3, 1, 2) if getattr(model, "output_fmt", "NCHW") == "NHWC" else out
    if isinstance(out, Tensor) and out.ndim == 3:
        tokens = out[:, int(getattr(model, "num_prefix_tokens", 0)) :]
        rows = math.isqrt(tokens.shape[1] * height // width)
        if rows and tokens.shape[1] % rows == 0:
            found: Tensor = tokens.transpose(1, 2).reshape(len(tokens), tokens.shape[2], rows, -1)
            return found
    raise UserError(
        f"dense: this backbone has no spatial features (they are of shape {tuple(getattr(out, 'shape', ()))}); use one "
        "with feature maps or patch tokens."
    )


@torch.inference_mode()
def maps(backbone: Backbone, images: Tensor, batch_size: int = 16) -> Iterator[Tensor]:
    """Feature maps (b, D, h, w) of uint8 images (B, C, H, W), a batch at a time, in evaluation mode.

    The backbone must take images of their size (:func:`at_size`).
    """
    backbone.eval()
    for part in torch.split(images, batch_size):
        x = part.to(backbone.mean.device).float() / 255
        yield feature_map(backbone, (x - backbone.mean) / backbone.std).float()
