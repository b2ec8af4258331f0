"""Corrupted test images: twelve kinds at five severities, by torch and torchvision operations.

They follow ImageNet-C (Hendrycks & Dietterich 2019) in their kinds, and in the strengths of noise, brightness,
contrast, pixelation and JPEG. They are not its images: blurs have widths relative to the image's side; there is no fog,
frost, snow or glass; rotation, scale and hue are added; every draw follows from the seed. Compare only among these.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as T

from unlabeled.core.errors import UserError, nearest
from unlabeled.core.rng import torch_generator

SEVERITIES = 5
Change = Callable[[Tensor, float, Generator], Tensor]


def _noise(x: Tensor, level: float, draw: Generator) -> Tensor:
    return x + level * torch.randn(x.shape, generator=draw)


def _shot(x: Tensor, level: float, draw: Generator) -> Tensor:
    return torch.poisson(x * level, generator=draw) / level


def _impulse(x: Tensor, level: float, draw: Generator) -> Tensor:
    hit = torch.rand(x.shape, generator=draw)
    return torch.where(hit < level / 2, 0.0, torch.where(hit < level, 1.0, x))


def _blur(x: Tensor, level: float, _: Generator) -> Tensor:
    sigma = level * x.shape[-1]
    return T.gaussian_blur(x, [2 * int(3 * sigma + 1) + 1] * 2, [sigma] * 2) if sigma else x


def _motion(x: Tensor, level: float, _: Generator) -> Tensor:
    length = max(2, round(level * x.shape[-1]))
    kernel = torch.full((x.shape[1], 1, 1, length), 1 / length)
    padded = F.pad(x, (length // 2, (length - 1) // 2, 0, 0), mode="replicate")
    return F.conv2d(padded, kernel, groups=x.shape[1])


def _brightness(x: Tensor, level: float, _: Generator) -> Tensor:
    return x + level


def _contrast(x: Tensor, level: float, _: Generator) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) * level + mean


def _hue(x: Tensor, level: float, _: Generator) -> Tensor:
    return T.adjust_hue(x, level) if x.shape[1] == 3 else x


def _pixelate(x: Tensor, level: float, _: Generator) -> Tensor:
    side = [max(1, round(level * n)) for n in x.shape[-2:]]
    return F.interpolate(F.interpolate(x, side, mode="area"), x.shape[-2:], mode="nearest")


def _jpeg(x: Tensor, level: float, _: Generator) -> Tensor:
    whole = (x * 255).round().to(torch.uint8)
    return torch.stack([T.jpeg(one, int(level)) for one in whole]).float() / 255


def _rotate(x: Tensor, level: float, _: Generator) -> Tensor:
    out: Tensor = T.rotate(x, level, interpolation=T.InterpolationMode.BILINEAR)
    return out


def _scale(x: Tensor, level: float, _: Generator) -> Tensor:
    out: Tensor = T.affine(x, 0, [0, 0], level, [0.0], interpolation=T.InterpolationMode.BILINEAR)
    return out


CORRUPTIONS: dict[str, tuple[Change, tuple[float, ...]]] = {
    "gaussian_noise": (_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),
    "shot_noise": (_shot, (60, 25, 12, 5, 3)),
    "impulse_noise": (_impulse, (0.03, 0.06, 0.09, 0.17, 0.27)),
    "gaussian_blur": (_blur, (0.01, 0.015, 0.02, 0.03, 0.045)),
    "motion_blur": (_motion, (0.06, 0.1, 0.15, 0.2, 0.25)),
    "brightness": (_brightness, (0.1, 0.2, 0.3, 0.4, 0.5)),
    "contrast": (_contrast, (0.4, 0.3, 0.2, 0.1, 0.05)),
    "hue": (_hue, (0.05, 0.1, 0.2, 0.35, 0.5)),
    "pixelate": (_pixelate, (0.6, 0.5, 0.4, 0.3, 0.25)),
    "jpeg": (_jpeg, (25, 18, 15, 10, 7)),
    "rotate": (_rotate, (5, 10, 20, 30, 45)),
    "scale": (_scale, (0.9, 0.8, 0.7, 0.6, 0.5)),
}
"""By name: what is done, and how strongly at each severity."""


def corrupt(images: Tensor, kind: str, severity: int, *, seed: int = 0) -> Tensor:
    """Corrupt uint8 images (B, C, H, W); the same images, kind, severity and seed give the same pixels.

    Args:
        images: gray or colour; the hue of gray ones stays.
        kind: a name in :data:`CORRUPTIONS`.
        severity: 1 to 5.
        seed: of the noise.

    Raises:
        UserError: an unknown kind or severity.

    >>> corrupt(torch.full((1, 3, 8, 8), 100, dtype=torch.uint8), "brightness", 2).unique().tolist()
    [151]
    """
    if kind not in CORRUPTIONS:
        raise UserError(f"there is no corruption '{kind}'.{nearest(kind, CORRUPTIONS)}")
    if severity not in range(1, SEVERITIES + 1):
        raise UserError(f"severities go from 1 to {SEVERITIES}, not {severity}.")
    change, levels = CORRUPTIONS[kind]
    out = change(images.float() / 255, levels[severity - 1], torch_generator(seed, kind, severity))
    return (out * 255).round().clamp(0, 255).to(torch.uint8)
