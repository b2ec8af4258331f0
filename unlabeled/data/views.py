"""Batched augmentation: uint8 images in, normalised float views out, on the images' device.

An image's augmentation is a function of the key and of its position in the global batch: the parameters are drawn on
the CPU as vectors for the whole global batch and sliced, so any number of ranks sees the same views. All pixel work is
batched: one resampling (crop, resize, flip, rotation), one affine map of the colours with the normalisation folded in,
then blur and solarisation of the rows that were drawn for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from unlabeled.core import rng
from unlabeled.core.errors import UserError
from unlabeled.data import colour, resample
from unlabeled.data.blur import NEGLIGIBLE, gaussian_blur, radius
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views_draw import Box, Draw, draw, largest_box, view_size

CHUNK_BYTES = 3 << 20
"""Float images worked on at once on a CPU: a chunk and its intermediate results stay in the cache."""
ENLARGE_ABOVE = 48
"""Side in pixels above which sampling along a grid beats the matrices where nothing shrinks."""


class Views:
    """Draws the views that ``specs`` describe.

    Args:
        specs: what the views are; one with ``count=n`` gives n of them.
        mean, std: per channel, for pixels in [0, 1]; a single value serves all channels.

    Example:
        >>> views = Views([ViewSpec(count=2, crop="resized", flip=0.5)], mean=(0.5,), std=(0.5,))
        >>> one, two = views(torch.zeros(4, 1, 28, 28, dtype=torch.uint8), key=(0, 1))
        >>> one.shape, float(one.min())
        (torch.Size([4, 1, 28, 28]), -1.0)
    """

    def __init__(self, specs: Sequence[ViewSpec], mean: Sequence[float], std: Sequence[float]) -> None:
        self.specs = [spec for spec in specs for _ in range(spec.count)]
        self.mean, self.std = tuple(mean), tuple(std)
        if len(self.mean) != len(self.std) or min(self.std, default=0.0) <= 0:
            raise UserError(f"mean and std need one value per channel and std > 0, not {self.mean} and {self.std}")

    def __len__(self) -> int:
        return len(self.specs)

    @torch.no_grad()
    def __call__(
        self, images: Tensor, *, key: tuple[int | str, ...], first: int = 0, total: int | None = None
    ) -> list[Tensor]:
        """Draw the views of ``images``.

        Args:
            images: uint8 ``(B, C, H, W)``, this rank's share of the global batch.
            key: what the randomness is a function of, e.g. ``(seed, epoch, step)``.
            first: the position of ``images[0]`` in the global batch.
            total: images in the global batch; default ``first + B``.

        Returns:
            One float32 ``(B, C, h, w)`` tensor per view, ``(pixel / 255 − mean) / std``.
        """
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise UserError(f"views need uint8 images (B, C, H, W), not {images.dtype} of shape {tuple(images.shape)}")
        B, C, H, W = images.shape
        if len(self.mean) not in (1, C):
            raise UserError(f"mean and std have {len(self.mean)} values but the images {C} channels: give one or {C}")
        total = first + B if total is None else total
        plans = [
            _Plan(spec, draw(spec, (H, W), total, rng.torch_generator(*key, number))[first : first + B], images, self)
            for number, spec in enumerate(self.specs)
        ]
        step = B if images.device.type != "cpu" else max(1, CHUNK_BYTES // (4 * C * H * W))
        for start in range(0, B, step):
            rows = slice(start, min(start + step, B))
            source = _Source(images[rows])
            for plan in plans:
                plan.render(source, rows)
        return [plan.out for plan in plans]

    def normalisation(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and std of each of the images' channels ``(C,)``, on their device."""
        both = torch.tensor((self.mean, self.std)).expand(2, images.shape[1])
        mean, std = both.to(images.device, non_blocking=True)
        return mean, std


class _Source:
    """A chunk of images, converted at most once for all views."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    @cached_property
    def floats(self) -> Tensor:
        return self.images.float()

    @cached_property
    def lines(self) -> Tensor:
        """``(B, H, C, W)``, what :func:`resample.resize` reads."""
        return self.images.permute(0, 2, 1, 3).to(torch.float32, memory_format=torch.contiguous_format)


class _Plan:
    """One view of the whole batch: what was drawn, and where it is written."""

    def __init__(self, spec: ViewSpec, drawn: Draw, images: Tensor, views: Views) -> None:
        B, C, H, W = images.shape
        self.spec, self.image, self.size = spec, (H, W), view_size(spec, (H, W))
        self.host, self.drawn = drawn, drawn.to(images.device)
        self.out = images.new_empty((B, C, *self.size), dtype=torch.float32)
        self.mean, self.std = views.normalisation(images)
        self.colours = colour.affine(self.drawn, self.mean, self.std)
        self.box = self.drawn.box(B, self.image)
        height, width = largest_box(spec, self.image)
        self.shrink = max(1, math.ceil(max(height / self.size[0], width / self.size[1])))
        self.limits = None
        if spec.jitter or (spec.interpolation == "bicubic" and self._resizes):
            pairs = zip(views.mean, views.std, strict=True)
            self.limits = [(-mean / std, (1 - mean) / std) for mean, std in pairs]

    @property
    def _resizes(self) -> bool:
        resized = self.spec.crop == "resized" or (self.spec.crop == "none" and self.size != self.image)
        return resized or self.spec.rotate > 0

    def render(self, source: _Source, rows: slice) -> None:
        out = self.out[rows]
        self.colours[rows](self._geometry(source, rows), out)
        if self.limits is not None:
            parts = torch.split(out, 1, dim=1) if len(self.limits) > 1 else (out,)
            for part, (low, high) in zip(parts, self.limits, strict=True):
                part.clamp_(low, high)  # bounds in tensors would take eight times as long
        self._blur(out, rows)
        self._solarize(out, rows)

    def _geometry(self, source: _Source, rows: slice) -> Tensor:
        """Crop, resize, flip, rotate: float ``(B, C, h, w)`` in [0, 255], not always contiguous."""
        spec, size = self.spec, self.size
        box = Box(*(x[rows] for x in self.box))
        mirror = None if self.drawn.flip is None else self.drawn.flip[rows]
        if self.drawn.angle is not None:
            angle = self.drawn.angle[rows]
            return resample.rotate(source.floats, box, mirror, angle, size, spec.interpolation, self.shrink)
        if self._resizes:
            if self.shrink == 1 and spec.interpolation == "bilinear" and min(self.image) > ENLARGE_ABOVE:
                return resample.enlarge(source.floats, box, mirror, size)
            return resample.resize(source.lines, box, mirror, size, spec.interpolation)
        if spec.crop == "none" and mirror is None:
            return source.floats
        pixels = source.images
        if spec.crop == "padded":
            pixels = resample.padded_crop(pixels, box, spec.padding, size)
        return (pixels if mirror is None else resample.flip(pixels, mirror)).float()

    def _blur(self, out: Tensor, rows: slice) -> None:
        if self.host.sigma is None or self.drawn.sigma is None:
            return
        blurred = _where(self.host.sigma[rows] > NEGLIGIBLE, out)
        if len(blurred):
            reach = radius(self.spec.blur_sigma[1] * min(self.size) / 224)
            sigma = self.drawn.sigma[rows].index_select(0, blurred)
            out.index_copy_(0, blurred, gaussian_blur(out.index_select(0, blurred), sigma, reach))

    def _solarize(self, out: Tensor, rows: slice) -> None:
        if self.host.solarize is None:
            return
        chosen = _where(self.host.solarize[rows] > 0, out)
        bright = out.index_select(0, chosen)
        half, invert = (x[:, None, None] for x in ((0.5 - self.mean) / self.std, (1 - 2 * self.mean) / self.std))
        out.index_copy_(0, chosen, torch.where(bright >= half, invert - bright, bright))


def _where(chosen: Tensor, like: Tensor) -> Tensor:
    """The row numbers of the true entries of ``chosen`` (on the CPU), on the device of ``like``."""
    return chosen.nonzero().squeeze(1).to(like.device, non_blocking=True)
