"""Crop, resize, flip and rotation of a batch as one resampling, each image with its own parameters.

Four ways, chosen by what is asked for and what is fastest:

* nothing but flips and whole-pixel shifts: a gather of uint8 pixels, exact;
* a box resized to the view: two matrices per image, ``view = W_y · image · W_xᵀ``. A row of a matrix holds the weights
  of one output line: a triangle (or a cubic) as wide as the scale asks for, cut off at the box and normalised. That is
  the antialiased resize of PIL and torchvision; a flip reverses the rows. For small images all possible matrices are
  kept in a table;
* a box that is enlarged in a larger image: bilinear sampling along a grid held inside the box, which is the same
  function where nothing shrinks and touches four pixels instead of whole lines;
* a rotation: sampling along a turned grid, supersampled where the image shrinks.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unlabeled.core.device import send
from unlabeled.data.views_draw import Box

Interpolation = Literal["bilinear", "bicubic"]
Size = tuple[int, int]

TABLE_BYTES = 16 << 20
"""Largest table of precomputed matrices: images of up to 48 pixels."""
ENLARGE_ABOVE = 36
"""Side in pixels above which sampling along a grid beats the matrices where nothing shrinks."""


class Source:
    """Some uint8 images ``(B, C, H, W)``, converted at most once for all views."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    @cached_property
    def floats(self) -> Tensor:
        return self.images.float()

    @cached_property
    def lines(self) -> Tensor:
        """``(B, H, C, W)``: channels inside the lines make each step of a resize one matrix product per image."""
        return self.images.permute(0, 2, 1, 3).to(torch.float32, memory_format=torch.contiguous_format)


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Mirror the images ``(B, C, H, W)`` whose entry of ``flips`` ``(B,)`` is 1, not 0."""
    rows = torch.arange(len(images), device=images.device) + flips.int() * len(images)
    return torch.cat([images, images.flip(3)]).index_select(0, rows)


def padded_crop(images: Tensor, box: Box, padding: int, size: Size) -> Tensor:
    """Zero-pad ``(B, C, H, W)`` on each side and cut ``size`` at the box's corner (in the unpadded image's pixels)."""
    windows = F.pad(images, (padding,) * 4).unfold(2, size[0], 1).unfold(3, size[1], 1)
    rows = torch.arange(len(images), device=images.device)
    return windows[rows, :, box.top.long() + padding, box.left.long() + padding]


def weights(
    start: Tensor, length: Tensor, into: int, out_of: int, kind: Interpolation, mirror: Tensor | None
) -> Tensor:
    """The matrices ``(B, into, out_of)`` that resize ``[start, start + length)`` of each line to ``into`` pixels.

    Args:
        start, length: ``(B,)`` whole pixels; the box must lie within ``out_of``.
        kind: ``"bilinear"`` or ``"bicubic"`` (a = −0.5, as PIL).
        mirror: ``(B,)``, not zero where the output runs backwards.
    """
    scale = length / into
    place = (torch.arange(into, device=start.device) + 0.5).expand(len(start), into)
    if mirror is not None:
        place = torch.where(mirror[:, None].bool(), into - place, place)
    centre = torch.addcmul(start[:, None], place, scale[:, None])
    narrow = scale.clamp(min=1).reciprocal()[:, None]
    pixel = torch.arange(out_of, device=start.device) + 0.5
    distance = torch.addcmul((centre * -narrow)[:, :, None], pixel, narrow[:, :, None]).abs_()
    kernel = _cubic(distance) if kind == "bicubic" else torch.rsub(distance, 1).clamp_(min=0)
    kernel *= ((pixel > start[:, None]) & (pixel < (start + length)[:, None]))[:, None]
    return kernel.div_(kernel.sum(2, keepdim=True))


def _cubic(x: Tensor) -> Tensor:
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


@lru_cache(maxsize=8)
def _table(into: int, out_of: int, kind: Interpolation, columns: bool, device: torch.device) -> Tensor:
    """The matrices of every box, shortest first; those for columns are transposed, mirrored ones follow the others."""
    lengths = torch.arange(1, out_of + 1).repeat_interleave(torch.arange(out_of, 0, -1))
    starts = torch.cat([torch.arange(room) for room in range(out_of, 0, -1)])
    rows = weights(starts.float(), lengths.float(), into, out_of, kind, None)
    return send(torch.cat([rows, rows.flip(1)]).mT.contiguous() if columns else rows, device)


def _in_table(into: int, out_of: int) -> bool:
    return out_of * (out_of + 1) // 2 * into * out_of * 4 <= TABLE_BYTES


def _matrices(
    start: Tensor, length: Tensor, into: int, out_of: int, kind: Interpolation, columns: bool, mirror: Tensor | None
) -> Tensor:
    if not _in_table(into, out_of):
        made = weights(start, length, into, out_of, kind, mirror)
        return made.mT if columns else made
    number = (length - 1) * (out_of + 1) - length * (length - 1) / 2 + start
    if mirror is not None:
        number = number + mirror * (out_of * (out_of + 1) // 2)
    return _table(into, out_of, kind, columns, start.device).index_select(0, number.int())


def resized_crop(
    source: Source, box: Box, shrinks: Tensor, mirror: Tensor | None, size: Size, kind: Interpolation
) -> Tensor:
    """Antialiased resize of a box of each image to float ``(B, C, *size)``, not always contiguous.

    Args:
        shrinks: ``(B,)`` on the CPU, whether the box is larger than the view; the way of each image depends on it.
    """
    H, W = source.images.shape[2:]
    if kind == "bicubic" or max(H, W) <= ENLARGE_ABOVE or shrinks.all():
        return resize(source.lines, box, mirror, size, kind)
    if not shrinks.any():
        return enlarge(source.floats, box, mirror, size)
    out = source.floats.new_empty(*source.images.shape[:2], *size)
    for shrunk in (False, True):
        rows = send((shrinks == shrunk).nonzero().squeeze(1), out.device)
        part = Source(source.images.index_select(0, rows))
        boxes = Box(*(x.index_select(0, rows) for x in box))
        turned = None if mirror is None else mirror.index_select(0, rows)
        made = resize(part.lines, boxes, turned, size, kind) if shrunk else enlarge(part.floats, boxes, turned, size)
        out.index_copy_(0, rows, made)
    return out


def resize(lines: Tensor, box: Box, mirror: Tensor | None, size: Size, kind: Interpolation) -> Tensor:
    """The resize of ``lines`` ``(B, H, C, W)`` (see :class:`Source`) by matrices."""
    B, H, C, W = lines.shape
    h, w = size
    rows = _matrices(box.top, box.height, h, H, kind, False, None)
    columns = _matrices(box.left, box.width, w, W, kind, True, mirror)
    tall = torch.bmm(rows, lines.view(B, H, C * W)).view(B, h * C, W)
    return torch.bmm(tall, columns).view(B, h, C, w).permute(0, 2, 1, 3)


def enlarge(images: Tensor, box: Box, mirror: Tensor | None, size: Size) -> Tensor:
    """Bilinear resize of a box of float ``(B, C, H, W)``, none larger than ``size``; equals ``resize`` there."""
    grid = images.new_empty(len(images), *size, 2)
    for axis, (start, length, into, extent, turned) in enumerate(
        (
            (box.left, box.width, size[1], images.shape[3], mirror),
            (box.top, box.height, size[0], images.shape[2], None),
        )
    ):
        place = (torch.arange(into, device=images.device) + 0.5).expand(len(images), into)
        if turned is not None:
            place = torch.where(turned[:, None].bool(), into - place, place)
        at = torch.addcmul(start[:, None], place, (length / into)[:, None])
        first = start[:, None] + 0.5
        at = torch.minimum(torch.maximum(at, first), first + length[:, None] - 1).mul_(2 / extent).sub_(1)
        grid[..., axis] = at[:, None, :] if axis == 0 else at[:, :, None]
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def rotate(
    images: Tensor, box: Box, mirror: Tensor | None, angle: Tensor, size: Size, kind: Interpolation, shrink: int
) -> Tensor:
    """Resize a box of float ``(B, C, H, W)`` to ``size``, mirror it, turn it by ``angle`` (radians, anticlockwise).

    The corners that a turn uncovers show the image beyond the box where there is any, and black beyond the image; the
    image's own border is repeated for half a pixel, so that no black bleeds into it.

    Args:
        shrink: supersampling factor: the largest number of image pixels to one of the view, rounded up.
    """
    H, W = images.shape[2:]
    x = (torch.arange(size[1] * shrink, device=images.device) + 0.5) / shrink - size[1] / 2
    y = (torch.arange(size[0] * shrink, device=images.device) + 0.5) / shrink - size[0] / 2
    cos, sin = angle.cos(), angle.sin()
    # from the view back to the image: turn, mirror, scale to the box
    across, down = box.width / size[1], box.height / size[0]
    if mirror is not None:
        across = torch.where(mirror.bool(), -across, across)
    grid = images.new_empty(len(images), len(y), len(x), 2)
    for axis, (by_x, by_y, centre, extent) in enumerate(
        (
            (across * cos, -across * sin, box.left + box.width / 2, W),
            (down * sin, down * cos, box.top + box.height / 2, H),
        )
    ):
        columns = (by_x[:, None] * x + centre[:, None]) * (2 / extent) - 1
        rows = by_y[:, None] * y * (2 / extent)
        torch.add(rows[:, :, None], columns[:, None, :], out=grid[..., axis])
    turned = F.grid_sample(images, grid, mode=kind, padding_mode="border", align_corners=False)
    turned *= (grid.abs().amax(3) <= 1)[:, None]
    return F.avg_pool2d(turned, shrink) if shrink > 1 else turned
