"""Which patches of an image are hidden: at random, in squares, in blocks, or all but a context.

All masks are a function of (seed, step, position of the image in the global batch), so any number of ranks hides the
same. They are drawn on the CPU, where their sizes are known without waiting for a device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unlabeled.ssl.method import Step

ATTEMPTS = 24
"""Blocks tried per image; where they do not suffice, single patches make the number whole."""
ASPECT = math.log(0.3)
"""Blocks are up to 1/0.3 times as long as wide (Bao et al. 2022, algorithm 1)."""


def shuffled(step: Step, rows: int, patches: int) -> Tensor:
    """``(rows, patches)`` patch numbers of this rank's images in random order, int64."""
    noise = torch.rand(step.batch_size, patches, generator=step.generator("mask"))
    return noise[step.first : step.first + rows].argsort(dim=1, stable=True)


def squares(step: Step, rows: int, grid: tuple[int, int], hidden: int, unit: int) -> Tensor:
    """Hide ``hidden`` squares of ``unit`` x ``unit`` patches each: ``(rows, patches)`` bool.

    Args:
        grid: rows and columns of patches, both multiples of ``unit``.
    """
    height, width = grid[0] // unit, grid[1] // unit
    order = shuffled(step, rows, height * width)
    units = torch.zeros_like(order, dtype=torch.bool).scatter(1, order[:, :hidden], True)
    return units.view(rows, 1, height, width).repeat_interleave(unit, 2).repeat_interleave(unit, 3).flatten(1)


def blocks(step: Step, rows: int, grid: tuple[int, int], hidden: Tensor, *keys: int | str) -> Tensor:
    """Hide rectangles of patches until each image has its number: ``(rows, patches)`` bool.

    Block-wise masking of Bao et al. 2022 (BEiT, algorithm 1, https://arxiv.org/abs/2106.08254). A block covers at
    least the square of a third of the shorter side (the paper's 16 of 14 x 14 patches) and never more than is left to
    hide; the remainder is single patches.

    Args:
        grid: rows and columns of patches.
        hidden: ``(batch_size,)`` int64, how many patches to hide of each image of the global batch.
        keys: what else the draw depends on (the number of the view).

    >>> step = Step(number=0, per_epoch=1, total=1, seed=0, batch_size=2)
    >>> blocks(step, 2, (4, 4), torch.tensor([0, 6])).sum(dim=1)
    tensor([0, 6])
    """
    (height, width), mine = grid, slice(step.first, step.first + rows)
    generator = step.generator("blocks", *keys)
    draws = torch.rand(ATTEMPTS, step.batch_size, 4, generator=generator)[:, mine]
    noise = torch.rand(step.batch_size, height * width, generator=generator)[mine]
    wanted = hidden[mine]
    y, x = torch.arange(height).view(1, -1, 1), torch.arange(width).view(1, 1, -1)
    smallest = (min(grid) // 3) ** 2
    covered = torch.zeros(rows, height, width, dtype=torch.bool)
    for draw in draws:
        size, shape, down, right = draw.unbind(1)
        left = wanted - covered.sum(dim=(1, 2))
        area = smallest + size * (left - smallest).clamp(min=0)
        ratio = torch.exp(ASPECT * (1 - 2 * shape))
        high = (area * ratio).sqrt().round().long().clamp(1, height)
        wide = (area / ratio).sqrt().round().long().clamp(1, width)
        top = (down * (height - high + 1)).long().view(-1, 1, 1)
        start = (right * (width - wide + 1)).long().view(-1, 1, 1)
        inside = (y >= top) & (y < top + high.view(-1, 1, 1)) & (x >= start) & (x < start + wide.view(-1, 1, 1))
        gain = (inside & ~covered).sum(dim=(1, 2))
        covered |= inside & (gain <= left).view(-1, 1, 1)
    rank = (covered.flatten(1) + noise).argsort(dim=1, descending=True).argsort(dim=1)
    return rank < wanted[:, None]  # covered patches come first, then others at random


def context_and_targets(
    step: Step,
    rows: int,
    grid: tuple[int, int],
    *,
    targets: int,
    target_scale: tuple[float, float],
    target_aspect: tuple[float, float],
    context_scale: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """One block to see and several to predict from it (Assran et al. 2023, section 3, arXiv:2301.08243).

    Sizes are drawn once for the whole batch, places for each image. The context loses what the targets cover; then it
    is cut, at random, to the number of patches that every image of the global batch has. An image whose targets cover
    the whole context, which happens on small grids, sees one patch.

    Args:
        grid: rows and columns of patches.
        targets: blocks to predict.
        target_scale, context_scale: least and greatest share of the patches in a block.
        target_aspect: least and greatest height over width of a target.

    Returns:
        ``(rows, visible)`` and ``(rows, targets, covered)`` patch numbers, int64; targets may overlap.
    """
    generator = step.generator("context")
    (height, width), count = grid, grid[0] * grid[1]
    scale, aspect, seen = torch.rand(3, generator=generator).numpy()
    places = torch.rand(targets + 1, step.batch_size, 2, generator=generator)
    noise = torch.rand(step.batch_size, count, generator=generator)

    def block(scale: float, aspect: float, place: Tensor) -> Tensor:
        """Patch numbers of a rectangle at a random place in each image."""
        high = min(max(round(math.sqrt(scale * count * aspect)), 1), height)
        wide = min(max(round(math.sqrt(scale * count / aspect)), 1), width)
        top = (place[..., 0] * (height - high + 1)).long()
        start = (place[..., 1] * (width - wide + 1)).long()
        inside = (torch.arange(high)[:, None] * width + torch.arange(wide)).flatten()
        return (top * width + start)[..., None] + inside

    wanted = block(_between(scale, target_scale), _between(aspect, target_aspect), places[1:]).transpose(0, 1)
    context = block(_between(seen, context_scale), 1.0, places[0])
    visible = torch.zeros(step.batch_size, count, dtype=torch.bool).scatter(1, context, True)
    visible.scatter_(1, wanted.flatten(1), False)
    kept = max(int(visible.numpy().sum(axis=1).min()), 1)
    order = (visible + noise).argsort(dim=1, descending=True)[:, :kept]
    mine = slice(step.first, step.first + rows)
    return order[mine], wanted[mine]


def _between(share: float, limits: tuple[float, float]) -> float:
    return limits[0] + float(share) * (limits[1] - limits[0])
