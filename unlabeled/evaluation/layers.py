"""Layer by layer: what each stage of a backbone makes of images, and how alike the stages of two backbones are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unlabeled.backbones import Backbone
from unlabeled.backbones.features import layer_names
from unlabeled.core.errors import UserError
from unlabeled.core.model_input import normalised, sized
from unlabeled.probes.similarity import unbiased_cka


@torch.inference_mode()
def layer_embeddings(backbone: Backbone, images: Tensor, batch_size: int = 64) -> dict[str, Tensor]:
    """Embeddings of every layer in one pass: by its name (N, D) float32 on the CPU, averaged over places.

    Args:
        backbone: with layers (:func:`unlabeled.backbones.features.layer_names`).
        images: uint8 (N, C, H, W); cut to the backbone's size as everywhere.
        batch_size: images of one forward pass.

    Raises:
        UserError: the backbone has no layers to read.
    """
    model: Any = backbone.model
    names = layer_names(model)
    if not names or not hasattr(model, "forward_intermediates"):
        raise UserError("this backbone has no layers that can be read one by one.")
    training, found = backbone.training, [list[Tensor]() for _ in names]
    backbone.eval()
    for part in torch.split(images, batch_size):
        x = normalised(sized(part.to(backbone.mean.device), backbone.image_size), backbone.mean, backbone.std)
        outputs = model.forward_intermediates(x, indices=list(range(len(names))), intermediates_only=True)
        for kept, output in zip(found, outputs, strict=True):
            kept.append(output.float().mean((2, 3)).cpu())
    backbone.train(training)
    return {name: torch.cat(parts) for name, parts in zip(names, found, strict=True)}


def layerwise_cka(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Tensor:
    """Unbiased linear CKA of every layer of one network with every layer of another (Nguyen et al. 2021, Fig. 1).

    Args:
        first, second: embeddings (N, D) of the same N images by layer (:func:`layer_embeddings`).

    Returns:
        (L, M) float64; NaN where a layer has collapsed to a point, or there are too few images to say.

    >>> X = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    >>> layerwise_cka({"a": X}, {"a": 3 * X + 1}).round(decimals=6).tolist()
    [[1.0]]
    """
    if {len(rows) for rows in first.values()} != {len(rows) for rows in second.values()}:
        raise UserError("layers can only be compared on the same images.")
    return torch.tensor([[unbiased_cka(x, y) for y in second.values()] for x in first.values()], dtype=torch.float64)
