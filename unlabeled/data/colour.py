"""Brightness, contrast, saturation, hue and gray as one affine map of the colours per image.

With w the luma weights (ITU-R BT.601, those of PIL and torchvision), Y = wᵀx a pixel's gray and Ȳ the image's mean
gray, torchvision's four adjustments are, apart from its clamping to [0, 1] after each,

    brightness b:  x → b·x                    contrast c:  x → c·x + (1 − c)·Ȳ·1
    saturation s:  x → s·x + (1 − s)·Y·1      hue h:       a shift of the hue in HSV

Here the hue is turned by 2πh in the chroma plane of YIQ, which is linear and keeps Y. Then all four maps commute, so
one matrix stands for all of the 24 orders torchvision draws from:

    x → bc·[1wᵀ + s·cos(2πh)·(I − 1wᵀ) + s·sin(2πh)·Q]·x + b(1 − c)·Ȳ·1

where Q is the quarter turn of the chroma. Gray is s = 0. The differences from torchvision are two: colours are clamped
once, at the end, and a turn in YIQ keeps the luma where a shift in HSV keeps the value (the maximum of the channels).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unlabeled.data.views_draw import Draw

LUMA = (0.299, 0.587, 0.114)


def _basis() -> Tensor:
    """``(3, 9)``: the flattened 1wᵀ, I − 1wᵀ and Q."""
    to_yiq = torch.tensor(
        [LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)], dtype=torch.float64
    )
    # HSV runs red → yellow → green; in (I, Q) that is clockwise
    quarter = torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=torch.float64)
    gray = torch.tensor([LUMA] * 3, dtype=torch.float64)
    turn = torch.linalg.inv(to_yiq) @ quarter @ to_yiq
    return torch.stack([gray, torch.eye(3, dtype=torch.float64) - gray, turn]).flatten(1).float()


BASIS = _basis()


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


def affine(drawn: Draw, mean: Tensor, std: Tensor) -> Affine:
    """The colour adjustments that were drawn, then ``(x / 255 − mean) / std`` with ``mean`` and ``std`` ``(C,)``.

    Only three channels have a saturation, a hue and a gray; for any other number they do nothing, and the mean of the
    contrast is that of all channels.
    """
    channels, device = len(mean), mean.device
    scale = std.reciprocal()[None]
    gain, lift = scale / 255, None
    if drawn.brightness is not None:
        gain = gain * drawn.brightness[:, None]
    if drawn.contrast is not None:
        lift = gain * (1 - drawn.contrast)[:, None]
        gain = gain * drawn.contrast[:, None]
    colours = channels == 3
    luma = torch.tensor(LUMA if colours else (1 / channels,) * channels, device=device)
    matrix = _mix(drawn) if colours else None
    if matrix is not None:
        matrix = matrix * gain[:, :, None]
    return Affine(matrix, gain, -(mean / std)[None], lift, luma)


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
    return (parts @ BASIS[: parts.shape[1]].to(parts.device)).view(-1, 3, 3)
