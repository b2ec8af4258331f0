"""From stored pixels to what a network takes, the only way there is: for training's readings, probes and embeddings.

Training itself draws views (``unlabeled.data.views``), which normalise alike.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from unlabeled.core.errors import UserError
from unlabeled.core.pixels import Bands, DecodeError, Mode

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue are (ITU-R BT.601, as Pillow and torchvision have it)."""
_MODES: dict[int, Mode] = {1: "L", 3: "RGB"}


def sized(pixels: Tensor, size: int | None, channels: int | None = None) -> Tensor:
    """uint8 ``(B, C, H, W)`` to ``(B, channels, size, size)``, exactly as files are decoded to that size.

    Args:
        pixels: stored images, on any device.
        size: side of the wanted square; ``None``: as they are.
        channels: 1 or 3 turns colours gray or gray into colours; ``None``: as they are.

    Raises:
        UserError: they have other channels than can be turned into ``channels``.

    >>> sized(torch.zeros(2, 3, 20, 30, dtype=torch.uint8), 16, 1).shape
    torch.Size([2, 1, 16, 16])
    """
    own, height, width = pixels.shape[1:]
    high, wide, wanted = size or height, size or width, channels or own
    if (own, height, width) == (wanted, high, wide) or not len(pixels):
        return pixels
    from unlabeled.core.fit import fit_array  # Pillow, which probes of finished features do without

    out = np.empty((len(pixels), high, wide, wanted), dtype=np.uint8)
    try:
        for image, place in zip(pixels.cpu().numpy().transpose(0, 2, 3, 1), out, strict=True):
            place[:] = fit_array(Bands(image, _MODES.get(own)), high, wide, wanted)
    except DecodeError as error:
        raise UserError(f"the images do not fit the model: {error}.") from error
    return torch.from_numpy(np.ascontiguousarray(out.transpose(0, 3, 1, 2))).to(pixels.device)


def sized_views(views: Tensor, size: int, channels: int) -> Tensor:
    """Views ``(B, C, h, w)`` in [0, 1] to ``(B, channels, size, size)``: :func:`sized` for drawn pixels.

    Gray becomes colour and colour gray; other sides are resampled (bicubic, antialiased) and clamped to [0, 1].

    >>> sized_views(torch.ones(2, 1, 20, 20), 16, 3).shape
    torch.Size([2, 3, 16, 16])
    """
    if views.shape[1] != channels:
        luma = views.new_tensor(LUMA).view(1, 3, 1, 1)
        views = views.expand(-1, 3, -1, -1) if channels == 3 else (views * luma).sum(1, keepdim=True)
    if views.shape[-2:] != (size, size):
        views = F.interpolate(views, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
    return views


def normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 ``(B, C, H, W)`` to float32 ``(pixels / 255 − mean) / std``, to the bit as timm's transforms do it.

    Floats are taken for pixels in 0..1 already.

    >>> normalised(torch.full((1, 1, 1, 1), 255, dtype=torch.uint8), torch.tensor([0.5]), torch.tensor([0.25])).item()
    2.0
    """
    shape = (1, -1, 1, 1)
    images = pixels.float().clone() if pixels.is_floating_point() else pixels.float().div_(255)
    return images.sub_(mean.view(shape)).div_(std.view(shape))
