"""What methods that paint in hidden patches share: the mean over what was hidden, a picture, a look at their health."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from unlabeled.backbones.tokens import PatchGrid
from unlabeled.heads.mae import unpatchify
from unlabeled.ssl.method import DataInfo, Picture

FLAT = 0.05
"""A contrast below this says that (almost) the same is painted into all images."""


def over_hidden(errors: Tensor, hidden: Tensor) -> Tensor:
    """Mean of the patches' ``(B, N)`` errors where ``hidden`` is true (a mask as an index would make the host wait)."""
    chosen = hidden.to(errors)
    return (errors * chosen).sum() / chosen.sum()


@torch.no_grad()
def contrast(painted: Tensor, target: Tensor) -> Tensor:
    """How much ``(B, N, values)`` differ from image to image, over what they should: 1 when as much, 0 when not.

    >>> float(contrast(torch.ones(4, 2, 3), torch.randn(4, 2, 3)))
    0.0
    """
    deviations = [values.detach().float().std(dim=0, correction=0).mean() for values in (painted, target)]
    return deviations[0] / deviations[1].clamp(min=1e-6)


def flat(logged: Mapping[str, float], name: str, remedy: str) -> str | None:
    """The sentence for a logged ``contrast`` that has gone to zero."""
    value = logged.get("contrast", 1.0)
    if value >= FLAT:
        return None
    said = f"{name} has collapsed: it paints the same into all images"
    return f"{said} (contrast {value:.3f}, healthy: above 0.3); {remedy}."


def before_and_after(
    title: str, original: Tensor, painted: Tensor, hidden: Tensor, cut: PatchGrid, info: DataInfo
) -> Picture:
    """Originals, what the encoder sees, and the hidden patches painted in.

    Args:
        original, painted: ``(B, N, values)`` normalised pixels of patches.
        hidden: ``(B, N)`` bool.
        cut: how the images were cut.
        info: of the data, for mean and deviation.
    """
    chosen, middle = hidden[:, :, None], torch.zeros_like(original)
    rows = [original, original.where(~chosen, middle), original.where(~chosen, painted.to(original))]
    pixels = torch.stack([unpatchify(row, cut.patch, cut.grid) for row in rows])
    return Picture(title, info.pixels(pixels), ("original", "masked", "reconstructed"))
