"""Pictures of dense features: their first three principal components as colours, and classes as colours."""

from __future__ import annotations

import colorsys

import torch
import torch.nn.functional as F
from torch import Tensor


def pca_colours(maps: Tensor) -> Tensor:
    """(B, D, h, w) feature maps to (B, 3, h, w) uint8: three principal components over all places of all images.

    Each component is stretched from its 1st to its 99th percentile, and has the sign that makes its mean cube positive.
    """
    rows = maps.permute(0, 2, 3, 1).flatten(0, 2).double()
    rows = rows - rows.mean(0)
    vectors = torch.linalg.eigh(rows.T @ rows).eigenvectors[:, -3:].flip(1)
    parts = rows @ vectors
    parts = F.pad(parts * parts.pow(3).mean(0).sign(), (0, 3 - parts.shape[1]))
    low, high = parts.quantile(0.01, dim=0), parts.quantile(0.99, dim=0)
    shades = ((parts - low) / (high - low).clamp_min(1e-12)).clamp(0, 1) * 255
    count, _, height, width = maps.shape
    return shades.round().to(torch.uint8).view(count, height, width, 3).permute(0, 3, 1, 2)


def class_colours(mask: Tensor) -> Tensor:
    """(H, W) class numbers to (3, H, W) uint8: hues a golden angle apart; void (-1) is black."""
    hues = [colorsys.hsv_to_rgb(i * 0.381966 % 1, 0.65, 0.95 - 0.25 * (i % 2)) for i in range(int(mask.max()) + 1)]
    palette = (torch.tensor([*hues, (0.0, 0.0, 0.0)]) * 255).round().to(torch.uint8)
    return palette[mask].permute(2, 0, 1)
