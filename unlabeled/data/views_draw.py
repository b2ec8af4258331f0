"""The random numbers behind the views: drawn on the CPU as vectors, one entry per image of the global batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from unlabeled.core.device import send
from unlabeled.core.errors import UserError
from unlabeled.data.spec import ViewSpec

TRIES = 10
"""Attempts at a random box before the centre crop is taken, as in torchvision's ``RandomResizedCrop``."""


class Box(NamedTuple):
    """Whole pixels of the image, as float32 ``(n,)``."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


@dataclass(frozen=True)
class Draw:
    """What was drawn for the ``n`` images of one view, float32 ``(n,)``; ``None`` where nothing is asked for.

    The box is in the image's whole pixels, ``angle`` in radians, ``hue`` in turns, ``sigma`` in pixels of the view
    (0: no blur); ``flip`` and ``solarize`` are 0 or 1, the rest are factors.
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

    def __getitem__(self, rows: slice | Tensor) -> Draw:
        return Draw(**{name: value[rows] for name, value in self._drawn().items()})

    def to(self, device: torch.device) -> Draw:
        """The same on ``device``, in one copy that the host does not wait for."""
        drawn = self._drawn()
        if device.type == "cpu" or not drawn:
            return self
        packed = send(torch.stack(list(drawn.values())), device)
        return Draw(**dict(zip(drawn, packed.unbind(), strict=True)))

    def box(self, n: int, image: tuple[int, int], device: torch.device) -> Box:
        """The cropped box of each of the ``n`` images of height and width ``image``; all of it without a crop."""
        if self.top is None or self.left is None or self.height is None or self.width is None:
            zero = torch.zeros(n, device=device)
            return Box(zero, zero, zero + image[0], zero + image[1])
        return Box(self.top, self.left, self.height, self.width)

    def _drawn(self) -> dict[str, Tensor]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def view_size(spec: ViewSpec, image: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the view of an image of height and width ``image``."""
    return image if spec.size is None else (spec.size, spec.size)


def largest_box(spec: ViewSpec, image: tuple[int, int]) -> tuple[float, float]:
    """Bounds of the height and width in the image's pixels that a view may cover."""
    H, W = image
    if spec.crop == "padded":
        return view_size(spec, image)
    if spec.crop == "none":
        return image
    area = spec.scale[1] * H * W
    height, width = math.sqrt(area / spec.ratio[0]) + 1, math.sqrt(area * spec.ratio[1]) + 1
    # a box that may not fit may be replaced by the whole image
    return (height, width) if height <= H and width <= W else image


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
        drawn.update(random_boxes(spec, image, n, generator)._asdict())
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
        drawn["flip"] = _chance(spec.flip, n, generator).float()
    if spec.rotate:
        drawn["angle"] = _uniform(-spec.rotate, spec.rotate, n, generator) * (math.pi / 180)
    drawn.update(_colour(spec, n, generator))
    if spec.blur:
        low, high = spec.blur_sigma
        sigma = _uniform(low, high, n, generator) * (min(view_size(spec, image)) / 224)
        drawn["sigma"] = sigma * _chance(spec.blur, n, generator)
    if spec.solarize:
        drawn["solarize"] = _chance(spec.solarize, n, generator).float()
    return Draw(**drawn)


def random_boxes(spec: ViewSpec, image: tuple[int, int], n: int, generator: torch.Generator) -> Box:
    """``n`` random boxes, as torchvision's ``RandomResizedCrop`` draws them.

    The area is uniform in ``spec.scale`` and the aspect ratio log-uniform in ``spec.ratio``; the first of ten
    attempts that fits is taken, else the largest centred box of an allowed ratio.
    """
    H, W = image
    low, high = spec.ratio
    side = _uniform(*spec.scale, (n, TRIES), generator).mul_(H * W).sqrt_()
    root = _uniform(math.log(low) / 2, math.log(high) / 2, (n, TRIES), generator).exp_()
    widths, heights = (side * root).round_(), side.div_(root).round_()
    fits = (widths >= 1).logical_and_(widths <= W).logical_and_(heights >= 1).logical_and_(heights <= H)
    found, first = fits.max(1, keepdim=True)  # the first of equals
    height, width = heights.gather(1, first).squeeze(1), widths.gather(1, first).squeeze(1)
    room_y, room_x = H - height, W - width
    place = torch.rand((2, n), generator=generator)
    # a number just below one may round up to the room plus one: hold it inside
    top = torch.minimum((place[0] * (room_y + 1)).floor_(), room_y)
    left = torch.minimum((place[1] * (room_x + 1)).floor_(), room_x)

    whole = (H, min(W, round(H * high))) if H * high < W else (min(H, round(W / low)), W)
    centred = ((H - whole[0]) // 2, (W - whole[1]) // 2, *whole)
    found = found.squeeze(1)
    return Box(*(torch.where(found, x, float(c)) for x, c in zip((top, left, height, width), centred, strict=True)))


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
