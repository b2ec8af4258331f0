"""What every forgetting algorithm is, and the epoch loop they share: resumable, stateless in its randomness."""

from __future__ import annotations

import hashlib
import io
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import nn

from unlabeled.core import files
from unlabeled.core.config import Config
from unlabeled.core.errors import Diverged, UserError
from unlabeled.core.progress import progress
from unlabeled.probes.forgetting.classifier import Classifier, fingerprint
from unlabeled.probes.forgetting.images import LabelledImages, UnlabelledImages


class ForgetterConfig(Config):
    """Settings of a forgetting algorithm."""


class TrainConfig(ForgetterConfig):
    """Settings of an algorithm that takes gradient steps."""

    epochs: int = Field(default=5, ge=1, description="passes over the data the algorithm walks through")
    batch_size: int = Field(default=32, ge=1)
    lr: float = Field(default=1e-4, gt=0, description="Adam's learning rate")
    weight_decay: float = Field(default=0.0, ge=0)


@dataclass(frozen=True)
class ForgetData:
    """What an algorithm is given.

    Attributes:
        retain: images to keep.
        forget: images to forget.
        unseen: images the model never met, for a stopping rule that reads no labels; optional.
    """

    retain: UnlabelledImages
    forget: UnlabelledImages
    unseen: UnlabelledImages | None = None

    def without_labels(self) -> ForgetData:
        """The same images, from which no label can be had."""
        unseen = None if self.unseen is None else self.unseen.without_labels()
        return ForgetData(self.retain.without_labels(), self.forget.without_labels(), unseen)


def need_labels(images: UnlabelledImages, who: str) -> LabelledImages:
    """Return ``images`` if they are labelled.

    Raises:
        UserError: they are not.
    """
    if not isinstance(images, LabelledImages):
        raise UserError(f"{who} needs labels, but this data has none; laf, lfssd and bad_teacher need none.")
    return images


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
    """

    def __init__(self, folder: Path | None = None, key: str = "") -> None:
        self.folder = folder
        self.key = key
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
    if (state := checkpoint.load(stage)) is not None:
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


def prepared(model: Classifier, device: torch.device | str) -> Classifier:
    """A trainable copy on ``device``, laid out for fast convolutions."""
    layout: Any = model.copy().to(device)
    copied: Classifier = layout.to(memory_format=torch.channels_last)
    return copied


class Forgetter(ABC):
    """An algorithm that makes a copy of a model forget.

    Subclasses declare what they need and hold a frozen ``config``. :meth:`forget` never changes the model it
    is given, and with ``needs_labels`` false it is handed data that cannot yield labels.
    """

    name: ClassVar[str]
    Config: ClassVar[type[ForgetterConfig]]
    needs_labels: ClassVar[bool] = False
    needs_retain: ClassVar[bool] = True
    needs_head: ClassVar[bool] = False
    config: ForgetterConfig

    def forget(
        self,
        model: Classifier,
        data: ForgetData,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        checkpoint: Checkpoint | None = None,
    ) -> Classifier:
        """Return a new model in eval mode; ``model`` stays as it is.

        Args:
            model: the original.
            data: what to keep and what to forget.
            seed: fixes every random choice.
            device: where to compute.
            checkpoint: where to save states between epochs, and to continue from.

        Raises:
            UserError: the data or the model lack what this algorithm needs.
            Diverged: a loss is not finite.
        """
        if len(data.forget) == 0 or (self.needs_retain and len(data.retain) == 0):
            raise UserError(f"{self.name}: the {'forget' if len(data.forget) == 0 else 'retain'} set is empty.")
        if self.needs_head:
            model.need_head(self.name)
        if self.needs_labels:
            need_labels(data.forget, self.name)
            if self.needs_retain:
                need_labels(data.retain, self.name)
        else:
            data = data.without_labels()
        state = (checkpoint or Checkpoint()).keyed(
            self.name,
            self.config.model_dump_json(),
            seed,
            fingerprint(model),
            data.retain.fingerprint,
            data.forget.fingerprint,
        )
        return self._forget(prepared(model, device), data, seed, device, state).eval().cpu()

    @abstractmethod
    def _forget(
        self, model: Classifier, data: ForgetData, seed: int, device: torch.device | str, checkpoint: Checkpoint
    ) -> Classifier:
        """Change ``model``, which is a copy in train or eval mode as the original was, and return it."""
