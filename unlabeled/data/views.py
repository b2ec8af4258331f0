"""Batched augmentation: uint8 images in, normalised float views out, on the images' device.

An image's augmentation is a function of the key and of its position in the global batch: the parameters are drawn on
the CPU as vectors for the whole global batch and sliced, so any number of ranks sees the same views. All pixel work is
batched: one resampling (crop, resize, flip, rotation), one affine map of the colours with the normalisation folded in,
then blur and solarisation of the rows that were drawn for them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unlabeled.core import rng
from unlabeled.core.errors import UserError
from unlabeled.data import colour, resample
from unlabeled.data.blur import NEGLIGIBLE, gaussian_blur, radius
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views_draw import Draw, draw, view_size


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
        views = []
        for number, spec in enumerate(self.specs):
            drawn = draw(spec, (H, W), total, rng.torch_generator(*key, number)).slice(first, first + B)
            views.append(self._render(images, spec, drawn))
        return views

    def _render(self, images: Tensor, spec: ViewSpec, drawn: Draw) -> Tensor:
        view = self._colours(_geometry(images, spec, drawn), spec, drawn)
        if drawn.sigma is not None:
            rows = (drawn.sigma > NEGLIGIBLE).nonzero().squeeze(1)
            if len(rows):
                reach = radius(spec.blur_sigma[1] * min(view.shape[2:]) / 224)
                sigma, rows = drawn.sigma[rows].to(view.device), rows.to(view.device)
                view.index_copy_(0, rows, gaussian_blur(view.index_select(0, rows), sigma, reach))
        if drawn.solarize is not None:
            rows = drawn.solarize.nonzero().squeeze(1).to(view.device)
            bright = view.index_select(0, rows)
            mean, std = self._per_channel(view)
            view.index_copy_(0, rows, torch.where(bright >= (0.5 - mean) / std, (1 - 2 * mean) / std - bright, bright))
        return view

    def _per_channel(self, view: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(x, device=view.device).expand(view.shape[1]) for x in (self.mean, self.std))
        return mean.view(-1, 1, 1), std.view(-1, 1, 1)

    def _colours(self, view: Tensor, spec: ViewSpec, drawn: Draw) -> Tensor:
        """Float ``(B, C, h, w)`` in [0, 255] → adjusted, clamped to [0, 1], normalised."""
        B, C, h, w = view.shape
        device = view.device
        mean, std = self._per_channel(view)
        gain = torch.full((B, 1), 1 / 255, device=device)
        offset = torch.zeros(B, 1, device=device)
        if drawn.brightness is not None:
            gain = gain * drawn.brightness.to(device)[:, None]
        if drawn.contrast is not None:
            contrast = drawn.contrast.to(device)[:, None]
            average = view.mean((2, 3))
            luma = average @ average.new_tensor(colour.LUMA) if C == 3 else average.mean(1)
            offset = gain * (1 - contrast) * luma[:, None]
            gain = gain * contrast
        mix = colour.matrices(drawn) if C == 3 else None
        scale = std.reciprocal().view(1, C)
        shift = ((offset - mean.view(1, C)) * scale)[:, :, None]
        if mix is not None:
            matrix = mix.to(device) * (gain * scale)[:, :, None]
            view = torch.baddbmm(shift, matrix, view.reshape(B, C, h * w)).view(B, C, h, w)
        else:
            view = view.contiguous().mul_((gain * scale)[:, :, None, None]).add_(shift[:, :, :, None])
        if spec.jitter or spec.interpolation == "bicubic":
            for c, (low, high) in enumerate(zip((-mean / std).flatten(), ((1 - mean) / std).flatten(), strict=True)):
                view[:, c].clamp_(low.item(), high.item())
        return view


def _geometry(images: Tensor, spec: ViewSpec, drawn: Draw) -> Tensor:
    """Crop, resize, flip, rotate: uint8 ``(B, C, H, W)`` → float ``(B, C, h, w)`` in [0, 255]."""
    B, _, H, W = images.shape
    size = view_size(spec, (H, W))
    device = images.device
    mirror = None if drawn.flip is None else drawn.flip.to(device)
    whole = torch.zeros(B), torch.zeros(B), torch.full((B,), float(H)), torch.full((B,), float(W))
    given = (drawn.top, drawn.left, drawn.height, drawn.width)
    box = tuple(b if g is None else g for b, g in zip(whole, given, strict=True))
    top, left, height, width = (x.to(device) for x in box)
    if drawn.angle is not None:
        shrink = resample.shrink_factor((box[0], box[1], box[2], box[3]), size)
        return resample.rotate(
            images.float(), (top, left, height, width), mirror, drawn.angle.to(device), size, spec.interpolation, shrink
        )
    if spec.crop == "resized" or (spec.crop == "none" and size != (H, W)):
        lines = images.permute(0, 2, 1, 3).to(torch.float32, memory_format=torch.contiguous_format)
        wy = resample.weights(top, height, size[0], H, spec.interpolation, None)
        wx = resample.weights(left, width, size[1], W, spec.interpolation, mirror)
        return resample.resize(lines, wy, wx)
    if spec.crop == "padded":
        images = resample.padded_crop(images, top, left, spec.padding, size)
    return (images if mirror is None else resample.flip(images, mirror)).float()
