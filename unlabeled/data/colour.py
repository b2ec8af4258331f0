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


def matrices(drawn: Draw) -> Tensor | None:
    """``(B, 3, 3)`` of the formula above, on the CPU, or ``None`` where the colours do not mix."""
    if drawn.saturation is None and drawn.hue is None:
        return None
    given = [x for x in (drawn.saturation, drawn.hue) if x is not None]
    saturation = drawn.saturation if drawn.saturation is not None else torch.ones_like(given[0])
    angle = (drawn.hue if drawn.hue is not None else torch.zeros_like(given[0])) * (2 * math.pi)
    parts = torch.stack([torch.ones_like(angle), saturation * angle.cos(), saturation * angle.sin()], 1)
    return (parts @ BASIS).view(-1, 3, 3)
