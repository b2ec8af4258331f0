"""The few collectives the mathematics needs, and the group they run in. All are the identity in a single process."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from unlabeled.core.device import on_gpu
from unlabeled.core.errors import Interrupted, UserError
from unlabeled.core.launch import launched

_LOST = ("gloo", "nccl", "connection", "socket", "timed out", "timeout", "broken pipe", "monitoredbarrier")
"""Words of the errors that torch raises when another rank has gone; most have no type of their own."""
_alone = False
_control: dist.ProcessGroup | None = None
"""Small messages on the CPU, beside a group of GPUs."""


def active() -> bool:
    """Whether more than one process takes part."""
    return not _alone and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@contextmanager
def alone() -> Iterator[None]:
    """Within it no other process is asked: all collectives are the identity."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def rank() -> int:
    """This process's number, 0 in a single process."""
    return dist.get_rank() if active() else 0


def world_size() -> int:
    """How many processes take part."""
    return dist.get_world_size() if active() else 1


@contextmanager
def joined(accelerator: str = "auto", timeout: float = 600.0) -> Iterator[None]:
    """Meet the processes that were started together with this one; nothing to do for one that was started alone.

    Args:
        accelerator: ``"cpu"`` talks through gloo, ``"gpu"`` through NCCL (and gloo for small messages); ``"auto"``.
        timeout: seconds without an answer from another rank after which it is given up.

    Raises:
        Interrupted: another rank ended, or gave no answer.
    """
    global _control
    place = launched()
    if place is None or dist.is_initialized():
        yield
        return
    gpu = on_gpu(accelerator)
    patience = timedelta(seconds=timeout)
    with watched(timeout):
        if gpu:
            torch.cuda.set_device(place.local_rank)
        # env:// honours torchrun's own store; elsewhere rank 0 opens one
        method = "env://" if dist.is_torchelastic_launched() else f"tcp://{place.address}:{place.port}"
        dist.init_process_group(
            "nccl" if gpu else "gloo", init_method=method, rank=place.rank, world_size=place.world, timeout=patience
        )
        if gpu:
            group = dist.new_group(backend="gloo", timeout=patience)
            _control = group if isinstance(group, dist.ProcessGroup) else None
        try:
            yield
        finally:
            _control = None
            # gloo's threads must have ended before the process does; NCCL would wait for ranks that are gone
            if not gpu or sys.exc_info()[0] is None:
                dist.destroy_process_group()


@contextmanager
def watched(timeout: float | None = None) -> Iterator[None]:
    """Turn torch's errors about ranks that have gone into one line.

    Raises:
        Interrupted: another rank ended, or gave no answer.
    """
    try:
        yield
    except RuntimeError as error:
        place, text = launched(), str(error).strip()
        known = isinstance(error, dist.DistError) or any(word in text.lower() for word in _LOST)
        if place is None or not known:
            raise
        waited = f" for {timeout:.0f} s" if timeout else ""
        raise Interrupted(
            f"rank {place.rank} of {place.world} (on {socket.gethostname()}) lost the others: another rank ended, or "
            f"gave no answer{waited} ({text.splitlines()[0][-120:]})"
        ) from error


def everyone(value: Any) -> list[Any]:
    """The ``value`` of every rank, in order; any picklable object, for small messages only."""
    if not active():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value, group=_control)
    return values


def votes(mine: Sequence[int]) -> list[int]:
    """The largest of all ranks' small numbers, position by position."""
    if not active():
        return list(mine)
    ballot = torch.tensor(mine, dtype=torch.int64)
    dist.all_reduce(ballot, dist.ReduceOp.MAX, group=_control)
    return [int(vote) for vote in ballot]


def wait_for_all(days: float = 1.0) -> None:
    """Wait until every rank is here, however long a first one must prepare, unless one has gone."""
    if active():
        dist.monitored_barrier(_control, timeout=timedelta(days=days))


def require_same(facts: Mapping[str, object]) -> None:
    """Make sure that all ranks are about to do the same.

    Raises:
        UserError: they differ in a fact; the message names it, and the ranks.
    """
    everywhere = everyone((socket.gethostname(), dict(facts)))
    host, first = everywhere[0]
    for number, (other, theirs) in enumerate(everywhere):
        for name, value in first.items():
            if theirs[name] != value:
                raise UserError(
                    f"the processes of this job differ in their {name}: {str(value)[:80]} on {host} (rank 0), "
                    f"{str(theirs[name])[:80]} on {other} (rank {number}); start them with the same command, the same "
                    "data and a run folder that all of them see."
                )


def from_first(tensor: Tensor) -> None:
    """Give every rank, in place, what rank 0 has in ``tensor``, which lies on the CPU."""
    if active():
        dist.broadcast(tensor, 0, group=_control)


def mean_over_ranks(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean of 0-d tensors over all ranks, which hold the same names."""
    if not active() or not values:
        return dict(values)
    stacked = torch.stack([value.detach().double().cpu() for value in values.values()])
    dist.all_reduce(stacked, group=_control)
    return dict(zip(values, (stacked / world_size()).unbind(), strict=True))


def _group(tensor: Tensor) -> dist.ProcessGroup | None:
    """Where ``tensor`` can be talked about: NCCL takes nothing that lies on the host."""
    return _control if tensor.device.type == "cpu" else None


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum ``tensor`` over all ranks in place (no gradient) and return it."""
    if active():
        dist.all_reduce(tensor, group=_group(tensor))
    return tensor


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(world_size())]
        dist.all_gather(parts, tensor.contiguous(), group=_group(tensor))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> Tensor:
        grad = grads[0].clone(memory_format=torch.contiguous_format)  # what comes in may be another's gradient, too
        dist.all_reduce(grad, group=_group(grad))
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
