"""The random numbers behind the views: drawn on the CPU as vectors, one entry per image of the global batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from unlabeled.core.errors import UserError
from unlabeled.data.spec import ViewSpec

TRIES = 10
"""Attempts at a random box before the centre crop is taken, as in torchvision's ``RandomResizedCrop``."""


@dataclass(frozen=True)
class Draw:
    """What was drawn for the ``n`` images of one view; ``None`` where the specification asks for nothing.

    ``top, left, height, width`` are integers (as float32) in the image's pixels, ``angle`` is in radians,
    ``sigma`` in pixels of the view (0: no blur), ``hue`` in turns; the rest are factors or flags.
    """

    top: Tensor | None = None
    left: Tensor | None = None
    height: Tensor | None = None
    width: Tensor | None = None
    flip: Tensor | None = None
    angle: Tensor | None = None
    brightness: Tensor | None = None
    contrast: Tensor | None = None
    saturation: Tensor | None = None
    hue: Tensor | None = None
    sigma: Tensor | None = None
    solarize: Tensor | None = None

    def slice(self, first: int, stop: int) -> Draw:
        """The entries ``first`` to ``stop``."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Draw(**{name: value if value is None else value[first:stop] for name, value in values.items()})


def view_size(spec: ViewSpec, image: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the view of an image of height and width ``image``."""
    return image if spec.size is None else (spec.size, spec.size)


def draw(spec: ViewSpec, image: tuple[int, int], n: int, generator: torch.Generator) -> Draw:
    """Draw one view of ``n`` images of height and width ``image``.

    The distributions are torchvision's: ``RandomResizedCrop``, ``RandomCrop(padding)``, ``RandomHorizontalFlip``,
    ``RandomRotation``, ``RandomApply(ColorJitter)``, ``RandomGrayscale`` (a saturation of zero),
    ``RandomApply(GaussianBlur)``, ``RandomSolarize``.

    Raises:
        UserError: a padded crop that is larger than the padded image.
    """
    drawn: dict[str, Tensor] = {}
    if spec.crop == "resized":
        boxes = random_boxes(spec, image, n, generator)
        drawn.update(zip(("top", "left", "height", "width"), boxes, strict=True))
    elif spec.crop == "padded":
        for axis, extent, length, view in zip(
            ("top", "left"), ("height", "width"), image, view_size(spec, image), strict=True
        ):
            room = length + 2 * spec.padding - view
            if room < 0:
                raise UserError(
                    f"a padded crop of {view} pixels does not fit an image of {length} padded by {spec.padding}: "
                    f"lower size or raise padding to {-(room // 2) + spec.padding} in the view"
                )
            drawn[axis] = torch.randint(room + 1, (n,), generator=generator).float() - spec.padding
            drawn[extent] = torch.full((n,), float(view))
    if spec.flip:
        drawn["flip"] = _chance(spec.flip, n, generator)
    if spec.rotate:
        drawn["angle"] = _uniform(-spec.rotate, spec.rotate, n, generator) * (math.pi / 180)
    drawn.update(_colour(spec, n, generator))
    if spec.blur:
        low, high = spec.blur_sigma
        sigma = _uniform(low, high, n, generator) * (min(view_size(spec, image)) / 224)
        drawn["sigma"] = sigma * _chance(spec.blur, n, generator)
    if spec.solarize:
        drawn["solarize"] = _chance(spec.solarize, n, generator)
    return Draw(**drawn)


def random_boxes(
    spec: ViewSpec, image: tuple[int, int], n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``(top, left, height, width)`` of ``n`` random boxes, as torchvision's ``RandomResizedCrop`` draws them.

    The area is uniform in ``spec.scale`` and the aspect ratio log-uniform in ``spec.ratio``; the first of ten
    attempts that fits is taken, else the largest centred box of an allowed ratio.
    """
    H, W = image
    area = _uniform(*spec.scale, (n, TRIES), generator) * (H * W)
    low, high = spec.ratio
    root = _uniform(math.log(low) / 2, math.log(high) / 2, (n, TRIES), generator).exp()
    side = area.sqrt()
    widths, heights = (side * root).round(), (side / root).round()
    fits = (widths >= 1) & (widths <= W) & (heights >= 1) & (heights <= H)
    first = fits.int().argmax(1, keepdim=True)  # the first of equals; 0 where nothing fits
    width, height = widths.gather(1, first).squeeze(1), heights.gather(1, first).squeeze(1)
    place = torch.rand((2, n), generator=generator)
    # the modulus below one may round up to the room itself: hold it inside
    top = torch.minimum((place[0] * (H - height + 1)).floor(), H - height)
    left = torch.minimum((place[1] * (W - width + 1)).floor(), W - width)

    whole_h, whole_w = H, W
    if low > W / H:
        whole_h = round(W / low)
    elif high < W / H:
        whole_w = round(H * high)
    fitted = fits.any(1)
    return (
        torch.where(fitted, top, float((H - whole_h) // 2)),
        torch.where(fitted, left, float((W - whole_w) // 2)),
        torch.where(fitted, height, float(whole_h)),
        torch.where(fitted, width, float(whole_w)),
    )


def _colour(spec: ViewSpec, n: int, generator: torch.Generator) -> dict[str, Tensor]:
    drawn: dict[str, Tensor] = {}
    if spec.jitter:
        skip = ~_chance(spec.jitter, n, generator)
        for name in ("brightness", "contrast", "saturation"):
            strength = getattr(spec, name)
            if strength:
                factor = _uniform(max(0.0, 1 - strength), 1 + strength, n, generator)
                drawn[name] = factor.masked_fill_(skip, 1.0)
        if spec.hue:
            drawn["hue"] = _uniform(-spec.hue, spec.hue, n, generator).masked_fill_(skip, 0.0)
    if spec.gray:
        gray = _chance(spec.gray, n, generator)
        drawn["saturation"] = drawn.get("saturation", torch.ones(n)).masked_fill(gray, 0.0)
    return drawn


def _uniform(low: float, high: float, shape: int | tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _chance(probability: float, n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator) < probability
