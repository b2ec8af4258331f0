"""The epoch loop that all forgetting algorithms share: resumable, stateless in its randomness."""

from __future__ import annotations

import hashlib
import io
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from unlabeled.core import files
from unlabeled.core.errors import Diverged
from unlabeled.core.progress import progress


class Seconds(NamedTuple):
    """Time spent on a piece of work; ``processor`` does not count waiting for a processor that others use."""

    wall: float
    processor: float

    @staticmethod
    def now() -> Seconds:
        return Seconds(time.perf_counter(), time.process_time())


class Checkpoint:
    """States between epochs, and the seconds spent on them; in a folder, or nowhere.

    Args:
        folder: where the states live; ``None`` keeps nothing.
        key: fixes what the states belong to. A state under another key is ignored.

    Attributes:
        facts: what the work says of itself for the record, by name; empty at first.
    """

    def __init__(self, folder: Path | None = None, key: str = "") -> None:
        self.folder = folder
        self.key = key
        self.facts: dict[str, Any] = {}
        self._before = Seconds(0.0, 0.0)
        self._start = Seconds.now()

    def keyed(self, *parts: object) -> Checkpoint:
        """The same folder, bound to further facts (settings, seed, model, data)."""
        self.key = hashlib.blake2b("|".join([self.key, *map(str, parts)]).encode(), digest_size=12).hexdigest()
        return self

    @property
    def seconds(self) -> Seconds:
        """Time spent so far, that before an interruption included."""
        now = Seconds.now()
        return Seconds(
            self._before.wall + now.wall - self._start.wall,
            self._before.processor + now.processor - self._start.processor,
        )

    def time_unknown(self) -> None:
        """Say that time was spent before, and that nobody knows how much: ``seconds`` is NaN from now on."""
        self._start = Seconds(math.nan, math.nan)

    def load(self, stage: str) -> dict[str, Any] | None:
        """Return the state saved for ``stage``, or ``None``."""
        if self.folder is None or not (path := self.folder / f"{stage}.pt").is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # a damaged state is as good as none: start the stage again
            return None
        if state.get("key") != self.key:
            return None
        self._before = max(self._before, Seconds(*state["seconds"]))
        return state

    def save(self, stage: str, state: Mapping[str, Any]) -> None:
        """Save ``state`` for ``stage``, whole or not at all."""
        if self.folder is None:
            return
        buffer = io.BytesIO()
        torch.save({**state, "key": self.key, "seconds": tuple(self.seconds)}, buffer)
        files.atomic_write(self.folder / f"{stage}.pt", lambda handle: handle.write(buffer.getvalue()))


class Stateful(Protocol):
    """A module or an optimiser."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


class Rule(Stateful, Protocol):
    """Says when to stop, and how large steps should be until then (``training/stopping.py``)."""

    @property
    def pace(self) -> float: ...

    def __call__(self, model: Any) -> bool: ...

    def finish(self, model: Any, checkpoint: Checkpoint) -> None: ...


@dataclass(frozen=True)
class Epoch:
    """What an epoch reports: its mean loss, and whether to stop after it."""

    loss: float
    stop: bool = False


@contextmanager
def without_denormals() -> Iterator[None]:
    """Let the processor round numbers below 1e-38 to zero.

    Weight decay draws the weights of dead units, and Adam's moments, down to such numbers; computing with them takes
    microcode, and made a step of the 2-conv network ten times as slow. PyTorch's default is restored afterwards.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def run_epochs(
    stage: str, epochs: int, parts: Mapping[str, Stateful], epoch: Callable[[int], Epoch], checkpoint: Checkpoint
) -> None:
    """Call ``epoch(0)``, …, saving ``parts`` after each; continue from the last saved epoch.

    ``epoch`` must draw all randomness from its number, so that a resumed run ends in the same bits.

    Raises:
        Diverged: an epoch's loss is not finite.
    """
    first, stopped = 0, False
    if (state := checkpoint.load(stage)) is not None and parts.keys() <= state.keys():
        for name, part in parts.items():
            part.load_state_dict(state[name])
        first, stopped = int(state["epoch"]), bool(state["stopped"])
    if stopped or first >= epochs:
        return
    with progress(stage, epochs, first, "epoch") as tick, without_denormals():
        for number in range(first, epochs):
            outcome = epoch(number)
            if not math.isfinite(outcome.loss):
                raise Diverged(f"{stage}: the loss is {outcome.loss} in epoch {number + 1}; lower the learning rate.")
            states = {name: part.state_dict() for name, part in parts.items()}
            checkpoint.save(stage, {**states, "epoch": number + 1, "stopped": outcome.stop})
            tick(info=f"loss {outcome.loss:.4f}")
            if outcome.stop:
                return


def adam(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Adam in its fused form (the same update, one kernel)."""
    return torch.optim.Adam([p for p in parameters if p.requires_grad], lr=lr, weight_decay=weight_decay, fused=True)


def descend(loss: Tensor, optimiser: torch.optim.Optimizer) -> Tensor:
    """One step down ``loss``; return its value, detached."""
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    optimiser.step()
    return loss.detach()


def mean_loss(losses: Sequence[Tensor]) -> float:
    """The mean of detached losses; the host waits for the device here, so once an epoch.

    >>> mean_loss([torch.tensor(1.0), torch.tensor(2.0)])
    1.5
    """
    return float(torch.stack(tuple(losses)).mean()) if losses else 0.0


def train_epochs(
    stage: str,
    epochs: int,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    losses: Callable[[int], Iterable[Tensor]],
    checkpoint: Checkpoint,
    stop: Callable[[], bool] | None = None,
    rule: Rule | None = None,
) -> None:
    """Train ``model`` in train mode, one step for each loss that ``losses(epoch)`` yields.

    Args:
        losses: a generator; it is resumed after the step, so that each loss is of the weights as they are by then.
        stop: asked after each epoch.
        rule: asked after each step.
    """
    full = [group["lr"] for group in optimiser.param_groups]

    def epoch(number: int) -> Epoch:
        model.train()
        seen, enough = [], False
        for loss in losses(number):
            seen.append(descend(loss, optimiser))
            if rule is not None:
                if enough := rule(model):
                    break
                for group, lr in zip(optimiser.param_groups, full, strict=True):
                    group["lr"] = lr * rule.pace
        return Epoch(mean_loss(seen), enough or (stop is not None and stop()))

    parts: dict[str, Stateful] = {"model": model, "optimiser": optimiser}
    run_epochs(stage, epochs, parts if rule is None else {**parts, "rule": rule}, epoch, checkpoint)
    if rule is not None:
        rule.finish(model, checkpoint)
