"""Crop, resize, flip and rotation of a batch as one resampling, each image with its own parameters.

Three ways, chosen by what the specification asks for:

* nothing but flips and whole-pixel shifts: a gather of uint8 pixels, exact;
* a box resized to the view: two matrices per image, ``view = W_y · image · W_xᵀ``. A row of a matrix holds the weights
  of one output line: a triangle (or a cubic) as wide as the scale asks for, cut off at the box and normalised. That is
  the antialiased resize of PIL and torchvision; a flip reverses the rows;
* a rotation: sampling along a turned grid, supersampled where the image shrinks.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

Interpolation = str


def flip(images: Tensor, flips: Tensor) -> Tensor:
    """Mirror the images ``(B, C, H, W)`` whose entry of ``flips`` ``(B,)`` is not zero."""
    return torch.where(flips.bool()[:, None, None, None], images.flip(3), images)


def padded_crop(images: Tensor, top: Tensor, left: Tensor, padding: int, size: tuple[int, int]) -> Tensor:
    """Zero-pad ``(B, C, H, W)`` on each side and cut ``size`` at ``top, left`` (in the unpadded image's pixels)."""
    windows = F.pad(images, (padding,) * 4).unfold(2, size[0], 1).unfold(3, size[1], 1)
    rows = torch.arange(len(images), device=images.device)
    return windows[rows, :, top.long() + padding, left.long() + padding]


def weights(
    start: Tensor, length: Tensor, into: int, out_of: int, kind: Interpolation, mirror: Tensor | None
) -> Tensor:
    """The matrices ``(B, into, out_of)`` that resize ``[start, start + length)`` of each line to ``into`` pixels.

    Args:
        start, length: ``(B,)`` whole pixels; the box must lie within ``out_of``.
        kind: ``"bilinear"`` or ``"bicubic"`` (a = −0.5, as PIL).
        mirror: ``(B,)``, not zero where the output runs backwards.
    """
    device = start.device
    scale = length / into
    place = (torch.arange(into, device=device) + 0.5).expand(len(start), into)
    if mirror is not None:
        place = torch.where(mirror[:, None].bool(), into - place, place)
    centre = torch.addcmul(start[:, None], place, scale[:, None]).unsqueeze(2)
    pixel = torch.arange(out_of, device=device) + 0.5
    distance = (pixel - centre).abs_().mul_(scale.clamp(min=1).reciprocal()[:, None, None])
    kernel = distance.neg_().add_(1).clamp_(min=0) if kind == "bilinear" else _cubic(distance)
    inside = (pixel > start[:, None]) & (pixel < (start + length)[:, None])
    kernel *= inside[:, None]
    return kernel.div_(kernel.sum(2, keepdim=True))


def _cubic(x: Tensor) -> Tensor:
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def resize(lines: Tensor, wy: Tensor, wx: Tensor) -> Tensor:
    """``W_y · image · W_xᵀ`` for float ``lines`` of shape ``(B, H, C, W)``; gives ``(B, C, h, w)``.

    Channels inside the lines make both products one matrix product per image, without copies of the matrices.
    """
    B, H, C, W = lines.shape
    h, w = wy.shape[1], wx.shape[1]
    tall = torch.bmm(wy, lines.view(B, H, C * W)).view(B, h * C, W)
    return torch.bmm(tall, wx.mT).view(B, h, C, w).permute(0, 2, 1, 3)


def rotate(
    images: Tensor,
    box: tuple[Tensor, Tensor, Tensor, Tensor],
    mirror: Tensor | None,
    angle: Tensor,
    size: tuple[int, int],
    kind: Interpolation,
    shrink: int,
) -> Tensor:
    """Resize a box of float ``(B, C, H, W)`` to ``size``, mirror it, turn it by ``angle`` (radians, anticlockwise).

    The corners that a turn uncovers show the image beyond the box where there is any, and black beyond the image; the
    image's own border is repeated for half a pixel, so that no black bleeds into it.

    Args:
        box: ``(B,)`` top, left, height, width.
        shrink: supersampling factor; at least the largest scale of a box to the view gives an antialiased view.
    """
    H, W = images.shape[2:]
    h, w = size[0] * shrink, size[1] * shrink
    top, left, height, width = box
    cos, sin = angle.cos(), angle.sin()
    x = (torch.arange(w, device=images.device) + 0.5) / shrink - size[1] / 2
    y = (torch.arange(h, device=images.device) + 0.5) / shrink - size[0] / 2
    # from the view back to the image: turn, mirror, scale to the box
    across, down = width / size[1], height / size[0]
    if mirror is not None:
        across = torch.where(mirror.bool(), -across, across)
    grid = images.new_empty(len(images), h, w, 2)
    for axis, (ax, ay, centre, extent) in enumerate(
        (
            (across * cos, -across * sin, left + width / 2, W),
            (down * sin, down * cos, top + height / 2, H),
        )
    ):
        by_column = (ax[:, None] * x + centre[:, None]) * (2 / extent) - 1
        by_row = ay[:, None] * y * (2 / extent)
        torch.add(by_row[:, :, None], by_column[:, None, :], out=grid[..., axis])
    turned = F.grid_sample(images, grid, mode=kind, padding_mode="border", align_corners=False)
    turned *= (grid.abs().amax(3) <= 1)[:, None]
    return F.avg_pool2d(turned, shrink) if shrink > 1 else turned


def shrink_factor(box: tuple[Tensor, Tensor, Tensor, Tensor], size: tuple[int, int]) -> int:
    """The supersampling that the largest of the boxes (on the CPU) needs."""
    return max(1, math.ceil(float(torch.maximum(box[2].max() / size[0], box[3].max() / size[1])) - 1e-6))
