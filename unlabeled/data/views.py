"""Batched augmentation: uint8 images in, normalised float views out, on the images' device.

An image's augmentation is a function of the key and of its position in the global batch: the parameters are drawn on
the CPU as vectors for the whole global batch and sliced, so any number of ranks sees the same views. All pixel work is
batched: one resampling (crop, resize, flip, rotation), one affine map of the colours with the normalisation folded in,
then blur and solarisation of the rows that were drawn for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unlabeled.core import rng
from unlabeled.core.device import send
from unlabeled.core.errors import UserError
from unlabeled.data import colour, resample
from unlabeled.data.blur import NEGLIGIBLE, gaussian_blur, radius
from unlabeled.data.colour import Normalisation
from unlabeled.data.resample import Source
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views_draw import Box, Draw, draw, largest_box, view_size

CHUNK_BYTES = 2 << 20
"""Float images worked on at once on a CPU: a chunk and its intermediate results stay in the cache."""


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
        self._normal: dict[tuple[int, torch.device], Normalisation] = {}

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
            One float32 ``(B, C, h, w)`` tensor per view, ``(pixel / 255 − mean) / std``, whatever autocast does around.
        """
        with torch.autocast(images.device.type, enabled=False):
            return self._draw(images, key, first, total)

    def _draw(self, images: Tensor, key: tuple[int | str, ...], first: int, total: int | None) -> list[Tensor]:
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise UserError(f"views need uint8 images (B, C, H, W), not {images.dtype} of shape {tuple(images.shape)}")
        B, C, H, W = images.shape
        if len(self.mean) not in (1, C):
            raise UserError(f"mean and std have {len(self.mean)} values but the images {C} channels: give one or {C}")
        total = first + B if total is None else total
        device = images.device
        if (C, device) not in self._normal:
            self._normal[C, device] = Normalisation.of(self.mean, self.std, C, device)
        normal = self._normal[C, device]
        plans = [
            _Plan(spec, draw(spec, (H, W), total, rng.torch_generator(*key, number))[first : first + B], images, normal)
            for number, spec in enumerate(self.specs)
        ]
        chunks = max(1, math.ceil(4 * images.numel() / CHUNK_BYTES)) if device.type == "cpu" else 1
        step = max(1, math.ceil(B / chunks))
        for start in range(0, B, step):
            rows = slice(start, min(start + step, B))
            source = Source(images[rows])
            for plan in plans:
                plan.render(source, rows)
        return [plan.out for plan in plans]


class _Plan:
    """One view of the whole batch: what was drawn, and where it is written."""

    def __init__(self, spec: ViewSpec, drawn: Draw, images: Tensor, normal: Normalisation) -> None:
        B, C, H, W = images.shape
        self.spec, self.image, self.size, self.normal = spec, (H, W), view_size(spec, (H, W)), normal
        self.host, self.drawn = drawn, drawn.to(images.device)
        self.out = images.new_empty((B, C, *self.size), dtype=torch.float32)
        self.colours = colour.affine(self.drawn, normal)
        self.box = self.drawn.box(B, self.image, images.device)
        cut = drawn.box(B, self.image, torch.device("cpu"))
        self.shrinks = (cut.height > self.size[0]) | (cut.width > self.size[1])
        self.resizes = spec.crop == "resized" or (spec.crop == "none" and self.size != self.image)
        overshoots = spec.interpolation == "bicubic" and (self.resizes or spec.rotate > 0)
        self.limits = normal.limits if spec.jitter or overshoots else []

    def render(self, source: Source, rows: slice) -> None:
        out = self.out[rows]
        self.colours[rows](self._geometry(source, rows), out)
        for c, (low, high) in enumerate(self.limits):  # bounds in tensors would take eight times as long
            (out if len(self.limits) == 1 else out[:, c]).clamp_(low, high)
        self._blur(out, rows)
        self._solarize(out, rows)

    def _geometry(self, source: Source, rows: slice) -> Tensor:
        """Crop, resize, flip, rotate: float ``(B, C, h, w)`` in [0, 255], not always contiguous."""
        spec, size = self.spec, self.size
        box = Box(*(x[rows] for x in self.box))
        mirror = None if self.drawn.flip is None else self.drawn.flip[rows]
        if self.drawn.angle is not None:
            # of the specification, not of the boxes drawn: an image's view must not depend on its neighbours
            height, width = largest_box(spec, self.image)
            finer = max(1, math.ceil(max(height / size[0], width / size[1])))
            angle = self.drawn.angle[rows]
            return resample.rotate(source.floats, box, mirror, angle, size, spec.interpolation, finer)
        if self.resizes:
            return resample.resized_crop(source, box, self.shrinks[rows], mirror, size, spec.interpolation)
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
        mean, std = self.normal.mean[:, None, None], self.normal.std[:, None, None]
        out.index_copy_(0, chosen, torch.where(bright >= (0.5 - mean) / std, (1 - 2 * mean) / std - bright, bright))


def _where(chosen: Tensor, like: Tensor) -> Tensor:
    """The row numbers of the true entries of ``chosen`` (on the CPU), on the device of ``like``."""
    return send(chosen.nonzero().squeeze(1), like.device)
