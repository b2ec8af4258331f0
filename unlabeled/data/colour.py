"""Brightness, contrast, saturation, hue and gray as one affine map of the colours per image.

With w the luma weights (ITU-R BT.601, those of PIL and torchvision), Y = wᵀx a pixel's gray and Ȳ the image's mean
gray, torchvision's four adjustments are, apart from its clamping to [0, 1] after each,

    brightness b:  x → b·x                    contrast c:  x → c·x + (1 − c)·Ȳ·1
    saturation s:  x → s·x + (1 − s)·Y·1      hue h:       a shift of the hue in HSV

A hue shift is not linear. Here the chroma (I − 1wᵀ)x is turned by 2πh around the gray axis, which keeps Y. Then all
four maps commute, so one matrix stands for all of the 24 orders torchvision draws from:

    x → bc·[1wᵀ + s·cos(2πh)·(I − 1wᵀ) + s·sin(2πh)·Q]·x + b(1 − c)·Ȳ·1,    Q = (I − 1wᵀ)J

where J is the quarter turn around (1, 1, 1); gray is s = 0. A third of a turn permutes the channels' chroma as it does
in HSV. The usual linear choice, a turn in YIQ, stretches the plane of the chroma: on photographs its chroma is 1.7 to
9 times as far from that of an HSV shift (h between 0.02 and 0.2).

The differences from torchvision are two. A turned hue keeps the luma of a pixel, where a shift in HSV keeps its value
(the largest channel) and so makes, say, a yellow that turns green darker. And colours are clamped once, at the end:
what torchvision's brightness drives beyond white is flat for good, even if its contrast then makes it gray; here the
contrast may bring it back. That is all that tells gray views from torchvision's; how often it does, and what is learned
with either, is measured in benchmarks/RESULTS.md (view_statistics, view_parity).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from unlabeled.core.device import send
from unlabeled.core.model_input import LUMA
from unlabeled.data.views_draw import Draw


@lru_cache
def _basis(device: torch.device) -> Tensor:
    """``(3, 9)``: the flattened 1wᵀ, I − 1wᵀ and Q."""
    gray = torch.tensor([LUMA] * 3)
    chroma = torch.eye(3) - gray
    quarter = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    return send(torch.stack([gray, chroma, chroma @ quarter]).flatten(1), device)


@dataclass(frozen=True)
class Affine:
    """``x → matrix·x + base + lift·Ȳ`` for pixels in [0, 255], with the normalisation folded in.

    ``matrix`` is ``(B, 3, 3)`` where colours mix; else ``gain`` ``(B or 1, C)`` scales each channel. ``base`` is
    ``(1, C)`` and ``lift`` ``(B, C)``, ``None`` without contrast; Ȳ is the image's mean over pixels, weighted by
    ``luma`` ``(C,)`` over channels.
    """

    matrix: Tensor | None
    gain: Tensor
    base: Tensor
    lift: Tensor | None
    luma: Tensor

    def __getitem__(self, rows: slice) -> Affine:
        matrix, lift = (None if x is None else x[rows] for x in (self.matrix, self.lift))
        return Affine(matrix, self.gain if len(self.gain) == 1 else self.gain[rows], self.base, lift, self.luma)

    def __call__(self, view: Tensor, out: Tensor) -> None:
        """Write the image of float ``view`` ``(B, C, h, w)`` into ``out``, contiguous and of the same shape."""
        B, C, h, w = out.shape
        flat, into = view.reshape(B, C, h * w), out.view(B, C, h * w)
        shift = self.base
        if self.lift is not None:
            shift = torch.addcmul(shift, (flat.mean(2) @ self.luma)[:, None], self.lift)
        if self.matrix is not None:
            torch.baddbmm(shift[:, :, None], self.matrix, flat, out=into)
        else:
            torch.mul(flat, self.gain[:, :, None], out=into).add_(shift[:, :, None])


@dataclass(frozen=True)
class Normalisation:
    """How pixels in [0, 1] are normalised and weighed: ``mean``, ``std`` and ``luma``, ``(C,)`` on the device.

    Only three channels have colours; for any other number, gray is the mean of all. ``limits`` are the normalised 0
    and 1 of each channel, or once for all of them.
    """

    mean: Tensor
    std: Tensor
    luma: Tensor
    limits: list[tuple[float, float]]

    @staticmethod
    def of(mean: Sequence[float], std: Sequence[float], channels: int, device: torch.device) -> Normalisation:
        """One value of ``mean`` and ``std`` serves all channels."""
        luma = LUMA if channels == 3 else (1 / channels,) * channels
        limits = [(-m / s, (1 - m) / s) for m, s in zip(mean, std, strict=True)]
        centre, spread, weights = (send(torch.tensor(x).expand(channels), device) for x in (mean, std, luma))
        return Normalisation(centre, spread, weights, limits)


def affine(drawn: Draw, normal: Normalisation) -> Affine:
    """The colour adjustments that were drawn, then ``(x / 255 − mean) / std``.

    Saturation, hue and gray do nothing unless there are three channels.
    """
    gain, lift = normal.std.reciprocal()[None] / 255, None
    if drawn.brightness is not None:
        gain = gain * drawn.brightness[:, None]
    if drawn.contrast is not None:
        lift = gain * (1 - drawn.contrast)[:, None]
        gain = gain * drawn.contrast[:, None]
    matrix = _mix(drawn) if len(normal.mean) == 3 else None
    if matrix is not None:
        matrix = matrix * gain[:, :, None]
    return Affine(matrix, gain, -(normal.mean / normal.std)[None], lift, normal.luma)


def _mix(drawn: Draw) -> Tensor | None:
    """``(B, 3, 3)``: saturation, hue and gray, or ``None`` where colours do not mix."""
    if drawn.hue is None:
        if drawn.saturation is None:
            return None
        parts = torch.stack([torch.ones_like(drawn.saturation), drawn.saturation], 1)
    else:
        angle = drawn.hue * (2 * math.pi)
        radius = torch.ones_like(angle) if drawn.saturation is None else drawn.saturation
        parts = torch.stack([torch.ones_like(angle), radius * angle.cos(), radius * angle.sin()], 1)
    return (parts @ _basis(parts.device)[: parts.shape[1]]).view(-1, 3, 3)
