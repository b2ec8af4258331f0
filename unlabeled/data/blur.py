"""Gaussian blur of a batch, each image with its own sigma; separable, borders reflected as in torchvision.

Two forms of the same function. For small images each pass is one product with a banded matrix that holds the kernel
and the reflection: a batched matrix product needs no set-up for each new number of images, and is up to three times as
fast on a CPU as the convolution. For large images, where most of the matrix would be zeros, it is a depthwise
convolution.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NEGLIGIBLE = 0.23
"""Sigma in pixels below which the nearest neighbours weigh less than 1e-4, a fortieth of a gray level."""
MATRIX_SIDE = 128
"""Largest side in pixels that is blurred by matrices."""
CONVOLVED = 4
"""Images convolved at once on a CPU: more fall out of the cache."""


def radius(sigma: float) -> int:
    """Pixels on each side of the kernel: four sigma, beyond which the weights are below those of 8 bits.

    A 224-pixel view blurred by up to 2 pixels gets 17 taps; SimCLR (Chen 2020, appendix A) takes a tenth of the side,
    23, of which the outer six weigh nothing.
    """
    return max(1, math.ceil(4 * sigma))


def gaussian_blur(images: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Blur float ``(B, C, H, W)`` by ``sigma`` ``(B,)`` > 0, in pixels, with kernels of ``2·reach + 1`` taps."""
    reach = min(reach, min(images.shape[2:]) - 1)
    at = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.softmax(at.square() * (-0.5 / sigma.square())[:, None], 1)
    if max(images.shape[2:]) <= MATRIX_SIDE:
        return _multiplied(images, kernel, reach)
    if images.device.type != "cpu":
        return _convolved(images, kernel, reach)
    parts = zip(images.split(CONVOLVED), kernel.split(CONVOLVED), strict=True)
    return torch.cat([_convolved(part, taps, reach) for part, taps in parts])


def _multiplied(images: Tensor, kernel: Tensor, reach: int) -> Tensor:
    B, C, H, W = images.shape
    rows = _banded(kernel, reach, H)
    columns = rows if H == W else _banded(kernel, reach, W)
    wide = torch.bmm(images.view(B, C * H, W), columns.mT).view(B, C, H, W)
    out = torch.empty_like(wide)
    for c in range(C):
        torch.bmm(rows, wide[:, c], out=out[:, c])
    return out


def _banded(kernel: Tensor, reach: int, n: int) -> Tensor:
    """``(B, n, n)``: row i holds the kernel around pixel i, folded back at the borders."""
    width = n + 2 * reach
    # one element more per line moves the kernel by one from line to line
    flat = kernel.new_zeros(len(kernel), n * (width + 1))
    flat.view(len(kernel), n, width + 1)[:, :, : 2 * reach + 1] = kernel[:, None]
    padded = flat[:, : n * width].view(len(kernel), n, width)
    banded = padded[:, :, reach : reach + n].contiguous()
    banded[:, :, 1 : reach + 1] += padded[:, :, :reach].flip(2)
    banded[:, :, n - 1 - reach : n - 1] += padded[:, :, n + reach :].flip(2)
    return banded


def _convolved(images: Tensor, kernel: Tensor, reach: int) -> Tensor:
    B, C, H, W = images.shape
    taps = kernel.repeat_interleave(C, 0)[:, None]
    padded = F.pad(images, (reach,) * 4, mode="reflect").view(1, B * C, H + 2 * reach, W + 2 * reach)
    tall = F.conv2d(padded, taps[:, :, :, None], groups=B * C)
    return F.conv2d(tall, taps[:, :, None, :], groups=B * C).view(B, C, H, W)
