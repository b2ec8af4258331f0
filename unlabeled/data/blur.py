"""Gaussian blur of a batch, each image with its own sigma, as a separable depthwise convolution."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NEGLIGIBLE = 0.23
"""Sigma in pixels below which the nearest neighbours weigh less than 1e-4, a fortieth of a gray level."""


def radius(sigma: float) -> int:
    """Pixels on each side of the kernel: four sigma, beyond which the weights are below those of 8 bits."""
    return max(1, math.ceil(4 * sigma))


def gaussian_blur(images: Tensor, sigma: Tensor, reach: int) -> Tensor:
    """Blur ``(B, C, H, W)`` by ``sigma`` ``(B,)`` > 0 (pixels), kernels of ``2·reach + 1``, borders reflected."""
    B, C, H, W = images.shape
    reach = min(reach, H - 1, W - 1)
    at = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.softmax(at.square() * (-0.5 / sigma.square())[:, None], 1)
    kernel = kernel.repeat_interleave(C, 0)[:, None]
    padded = F.pad(images, (reach,) * 4, mode="reflect").view(1, B * C, H + 2 * reach, W + 2 * reach)
    rows = F.conv2d(padded, kernel[:, :, :, None], groups=B * C)
    return F.conv2d(rows, kernel[:, :, None, :], groups=B * C).view(B, C, H, W)
