"""The few collectives the mathematics needs. Every one is the identity in a single process."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def active() -> bool:
    """Whether more than one process takes part."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's number, 0 in a single process."""
    return dist.get_rank() if active() else 0


def world_size() -> int:
    """How many processes take part."""
    return dist.get_world_size() if active() else 1


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum ``tensor`` over all ranks in place (no gradient) and return it."""
    if active():
        dist.all_reduce(tensor)
    return tensor


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous()
        dist.all_reduce(grad)
        return grad.chunk(world_size())[rank()]


def gather(tensor: Tensor) -> Tensor:
    """Concatenate equally sized ``tensor`` of all ranks along dim 0, differentiably.

    The backward pass sums the gradients that all ranks hold for the local slice. With DDP's averaging,
    a loss that every rank computes as the mean over *its own* rows (against the gathered batch) then has
    exactly the gradient of one process on the whole batch.
    """
    if not active():
        return tensor
    gathered: Tensor = _Gather.apply(tensor)
    return gathered
