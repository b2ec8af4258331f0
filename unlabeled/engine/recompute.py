"""Memory for time: activations that are computed again in the backward pass instead of being kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from unlabeled.core.errors import UserError
from unlabeled.ssl.method import Batch, Step
from unlabeled.ssl.whole_batch import WholeBatchMethod


@contextmanager
def statistics_stay(module: nn.Module) -> Iterator[None]:
    """Within it, BatchNorm's running statistics do not move: a second pass over the same images is none."""
    norms = [child for child in module.modules() if isinstance(child, _BatchNorm)]
    kept = [dict(norm.named_buffers()) for norm in norms]
    try:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer.clone())
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)


def recomputed(function: Callable[..., Any], module: nn.Module, *inputs: Any) -> Any:
    """``function(*inputs)``, of whose activations none are kept; the backward pass calls it again.

    Random numbers are the same in both passes, and running statistics move in the first only.

    Args:
        function: what ``module`` computes.
        module: whose BatchNorm layers are meant.
    """

    def passes() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), statistics_stay(module)

    return checkpoint(function, *inputs, use_reentrant=False, context_fn=passes)


class _Recomputed(nn.Module):
    """Comes before a block's own class: keeps its input alone for the backward pass."""

    def forward(self, *inputs: Any) -> Any:
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(*inputs)
        return recomputed(super().forward, self, *inputs)


def blocks_of(backbone: nn.Module) -> list[nn.Module]:
    """The members of a backbone's sequences and lists.

    Raises:
        UserError: it has none that could be computed again.
    """
    containers = [child for child in backbone.children() if isinstance(child, nn.Sequential | nn.ModuleList)]
    # a layer by itself is not a block: it keeps little else than its input, which the next one may write over
    blocks = [block for container in containers for block in container if any(True for _ in block.children())]
    if not blocks:
        raise UserError(
            f"hardware.checkpoint_activations computes blocks again and this {type(backbone).__name__} has none; "
            "leave it out, or choose a ResNet, ConvNeXt or transformer."
        )
    return blocks


def checkpoint_activations(backbone: nn.Module) -> None:
    """Let every block of ``backbone`` be computed again, in place."""
    for block in blocks_of(backbone):
        if not isinstance(block, _Recomputed):
            block.__class__ = type(f"Recomputed{type(block).__name__}", (_Recomputed, type(block)), {})


class InParts(nn.Module):
    """A method whose global batch passes the network in parts and is compared as a whole (GradCache).

    Gao, Zhang, Han and Callan, "Scaling deep contrastive learning batch size under memory limited setup", 2021,
    https://arxiv.org/abs/2101.06983: the first pass keeps representations only, the loss is that of all of them, and
    the second pass computes each part again to carry the loss's gradients into the network. No activations of two parts
    are alive at once; the gradients are those of the whole batch, except that BatchNorm normalises each part by itself.
    """

    def __init__(self, method: WholeBatchMethod, parts: int) -> None:
        super().__init__()
        self.method, self.parts = method, parts

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """As the method's own."""
        size = len(batch.rows) // self.parts
        found = []
        for first in range(0, len(batch.rows), size):
            share = slice(first, first + size)
            labels = None if batch.labels is None else batch.labels[share]
            part = Batch([view[share] for view in batch.views], batch.rows[share], labels)
            where = replace(step, first=step.first + first)
            found.append(recomputed(self.method.represent, self.method, part, where))
        return self.method.compare(torch.cat(found), batch, step)
