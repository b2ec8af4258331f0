"""A small convolutional autoencoder."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Autoencoder(nn.Module):
    """Three stages down, three mirrored stages up (Chakraborty et al. 2020, section 3.2).

    Encoder: 3x3 convolution, BatchNorm, ReLU, 2x2 max-pooling with 32, 64 and 128 channels. Decoder: the same
    backwards with nearest-neighbour upsampling, so that images of any size from 8x8 come back in their size.

    Args:
        channels: of the images.
    """

    latent_dim = 128

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = (channels, 32, 64, self.latent_dim)
        self.down = nn.ModuleList([_stage(a, b) for a, b in itertools.pairwise(widths)])
        self.up = nn.ModuleList([_stage(128, 128), _stage(128, 64), _stage(64, 32)])
        self.pixels = nn.Conv2d(32, channels, 3, padding=1)

    def _encode(self, images: Tensor) -> tuple[Tensor, list[torch.Size]]:
        sizes = []
        for stage in self.down:
            images = stage(images)
            sizes.append(images.shape[2:])
            images = F.max_pool2d(images, 2)
        return images, sizes

    def latent(self, images: Tensor) -> Tensor:
        """The bottleneck, averaged over positions: ``(B, C, H, W) -> (B, 128)``."""
        return self._encode(images)[0].mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Rebuild ``(B, C, H, W)`` images with values in [0, 1]."""
        x, sizes = self._encode(images)
        for stage, size in zip(self.up, reversed(sizes), strict=True):
            x = F.interpolate(stage(x), size=size)
        rebuilt: Tensor = self.pixels(x).sigmoid()
        return rebuilt
