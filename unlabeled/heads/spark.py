"""SparK's decoder: from the maps of a network that saw a part of the image to the whole of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class _Double(nn.Module):
    """Twice the size: a transposed convolution, then two convolutions with BatchNorm (appendix A)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(width, width, 4, stride=2, padding=1)
        self.mix = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(inplace=True),
            nn.Conv2d(width, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(self.up(x))
        return mixed


class SparKDecoder(nn.Module):
    """Fill the holes of each map with a token, and add them up from the smallest to the image's size.

    Tian et al. 2023, section 3.2 "Hierarchical encoding and decoding", https://arxiv.org/abs/2301.03580. Where the
    smallest map has the decoder's width already, the paper leaves out its projection.

    Args:
        channels: of the maps, from the smallest to the largest; each is twice as large as the one before.
        ratio: the image's side over that of the smallest map, a power of two.
        dim: width at the smallest map, halved with every doubling.
        out: values to predict per pixel.
    """

    def __init__(self, channels: Sequence[int], ratio: int, dim: int, out: int) -> None:
        super().__init__()
        widths = [max(dim // 2**level, 1) for level in range(round(math.log2(ratio)) + 1)]
        self.tokens = nn.ParameterList([nn.Parameter(torch.empty(1, own, 1, 1)) for own in channels])
        self.norms = nn.ModuleList([nn.BatchNorm2d(own) for own in channels])
        self.fill = nn.ModuleList(
            [
                nn.Conv2d(own, widths[level], 3 if level else 1, padding=1 if level else 0)
                for level, own in enumerate(channels)
            ]
        )
        self.larger = nn.ModuleList([_Double(*pair) for pair in pairwise(widths)])
        self.predict = nn.Conv2d(widths[-1], out, 1)
        for token in self.tokens:
            nn.init.trunc_normal_(token, std=0.02, a=-0.02, b=0.02)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor], hidden: Tensor) -> Tensor:
        """Predict every pixel.

        Args:
            maps: ``(B, C, h, w)`` from the smallest to the largest, normalised already.
            hidden: ``(B, 1, h, w)`` bool at the smallest map's size.

        Returns:
            ``(B, out, H, W)``.
        """
        x: Tensor | None = None
        for level, larger in enumerate(self.larger):
            if level < len(maps):
                holes = hidden.repeat_interleave(2**level, 2).repeat_interleave(2**level, 3)
                filled = self.fill[level](torch.where(holes, self.tokens[level].to(maps[level].dtype), maps[level]))
                x = filled if x is None else x + filled
            assert x is not None
            x = larger(x)
        predicted: Tensor = self.predict(x)
        return predicted
