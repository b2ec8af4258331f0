"""A convolutional network that sees a part of an image, as if it were sparse, by masking.

Tian, Jiang, Diao, Lin, Wang and Yuan 2023 (SparK, section 3.1, https://arxiv.org/abs/2301.03580): what is hidden is
zero behind every convolution, norm and pooling, so that nothing washes in from the edges layer by layer; statistics are
those of what is visible.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

STATISTICS = (_BatchNorm, nn.GroupNorm)
"""Norms that compare positions: they get the visible ones alone."""
LAYERS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, LayerNorm2d)


class _Visible:
    """Where an image of ``grid`` cells is seen, on maps of any multiple of its size.

    Every image shows equally many cells, so ranks hold equally many visible positions.
    """

    def __init__(self, kept: Tensor, grid: tuple[int, int]) -> None:
        self.kept, self.grid = kept, grid
        self.hidden_on: dict[tuple[int, int], Tensor] = {}
        self.places_on: dict[tuple[int, int], Tensor] = {}
        self.shapes: dict[nn.Module, tuple[int, int]] = {}

    def fits(self, maps: Any) -> bool:
        """Whether these are ``(B, C, h, w)`` maps on which the cells can be told apart."""
        if not isinstance(maps, Tensor) or maps.ndim != 4:
            return False
        return all(side >= cells and side % cells == 0 for side, cells in zip(maps.shape[2:], self.grid, strict=True))

    def hidden(self, height: int, width: int) -> Tensor:
        """``(B, 1, h, w)`` bool."""
        if (height, width) not in self.hidden_on:
            rows, columns = self.grid
            cells = torch.ones(len(self.kept), rows * columns, dtype=torch.bool, device=self.kept.device)
            cells = cells.scatter(1, self.kept, False).view(-1, 1, rows, columns)
            cells = cells.repeat_interleave(height // rows, 2).repeat_interleave(width // columns, 3)
            self.hidden_on[height, width] = cells
        return self.hidden_on[height, width]

    def places(self, height: int, width: int) -> Tensor:
        """``(B, 1, n)`` numbers of the visible positions."""
        if (height, width) not in self.places_on:
            rows, columns = self.grid
            high, wide, device = height // rows, width // columns, self.kept.device
            inside = torch.arange(high, device=device)[:, None] * width + torch.arange(wide, device=device)
            corners = self.kept // columns * (high * width) + self.kept % columns * wide
            self.places_on[height, width] = (corners[:, :, None] + inside.flatten()).flatten(1)[:, None]
        return self.places_on[height, width]

    def hide(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        """Behind a layer: zero what is hidden."""
        return output.masked_fill(self.hidden(*output.shape[2:]), 0) if self.fits(output) else output

    def pick(self, module: nn.Module, inputs: Any) -> Any:
        """Before a norm: take the visible positions only, ``(B, C, n, 1)``."""
        self.shapes.pop(module, None)
        if not self.fits(inputs[0]):
            return None
        (x, *more), (batch, channels, height, width) = inputs, inputs[0].shape
        self.shapes[module] = (height, width)
        places = self.places(height, width).expand(batch, channels, -1)
        return (x.flatten(2).gather(2, places)[..., None], *more)

    def put(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        """Behind a norm: put them where they were, among zeros."""
        if module not in self.shapes:
            return output
        height, width = self.shapes[module]
        places = self.places(height, width).expand(*output.shape[:2], -1)
        whole = output.new_zeros(*output.shape[:2], height * width)
        return whole.scatter(2, places, output.flatten(2)).reshape(*output.shape[:2], height, width)


@contextmanager
def sparse(kept: Tensor, grid: tuple[int, int], *parts: nn.Module) -> Iterator[None]:
    """Within it, the convolutional networks ``parts`` see of each image the cells ``kept`` and nothing else.

    Their parameters, and BatchNorm's running statistics, are trained as ever. The image's own hidden pixels must be
    zero before.

    Args:
        kept: ``(B, V)`` numbers of the visible cells, int64, on the networks' device.
        grid: rows and columns of cells; maps have a multiple of them, or fewer positions (and are left as they are).
        parts: convolutional networks of timm, norms.
    """
    visible = _Visible(kept, grid)
    handles = []
    for module in (module for part in parts for module in part.modules()):
        if isinstance(module, STATISTICS):
            handles += [module.register_forward_pre_hook(visible.pick), module.register_forward_hook(visible.put)]
        elif isinstance(module, LAYERS):
            handles.append(module.register_forward_hook(visible.hide))
        elif isinstance(module, nn.Sequential | nn.ModuleList):
            # a block may end in what is none of these layers (ConvNeXt's)
            blocks = [child for child in module if any(True for _ in child.children())]
            handles += [block.register_forward_hook(visible.hide) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
