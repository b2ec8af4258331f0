"""What one forgetting runs with: settings, seed, device and checkpoint in one object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Generic, Literal, TypeVar

import torch
from pydantic import Field

from unlabeled.core.config import Config
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.images import Key

Tunes = tuple[tuple[str, float, float], ...]
"""Names of settings, and the bounds of what is tried."""


class ForgetterConfig(Config):
    """Settings of a forgetting algorithm; ``tunes`` names those that tuning tries, and between which bounds."""

    tunes: ClassVar[Tunes] = ()


class TrainConfig(ForgetterConfig):
    """Settings of an algorithm that takes gradient steps."""

    tunes: ClassVar[Tunes] = (("lr", 1e-5, 3e-3),)

    epochs: int = Field(default=5, ge=1, description="passes over the data the algorithm walks through")
    batch_size: int = Field(default=32, ge=1)
    lr: float = Field(default=1e-4, gt=0, description="Adam's learning rate")
    weight_decay: float = Field(default=0.0, ge=0)


class StoppingConfig(TrainConfig):
    """Settings of an algorithm that can stop by itself, before it has taken all its steps."""

    stop: Literal["never", "unseen"] = Field(
        default="never", description="'unseen': once forget images look like images the model never met"
    )
    stop_every: int = Field(default=10, ge=1, description="steps between looks at the stopping rule")


def stops_unseen(stop: str | None, *, head: bool, task: str) -> bool:
    """Whether a setting ``stop`` compares with unseen images; ``None`` does for single images of a classifier.

    >>> stops_unseen(None, head=True, task="data"), stops_unseen(None, head=False, task="data")
    (True, False)
    """
    return stop == "unseen" or (stop is None and head and task == "data")


C_co = TypeVar("C_co", bound=ForgetterConfig, covariant=True)


@dataclass(frozen=True)
class Frame(Generic[C_co]):
    """Everything but the model and the images.

    Attributes:
        config: the algorithm's settings.
        seed: fixes every random choice.
        device: where to compute.
        checkpoint: where states between epochs are saved, and found again after an interruption.

    >>> Frame(TrainConfig(), seed=3).key("erase", 0)
    ('forgetting', 'erase', 3, 0)
    """

    config: C_co
    seed: int = 0
    device: torch.device | str = "cpu"
    checkpoint: Checkpoint = field(default_factory=Checkpoint)

    def key(self, stage: str, *numbers: int | str) -> Key:
        """Names the random numbers of a stage of the algorithm, usually of one of its epochs."""
        return ("forgetting", stage, self.seed, *numbers)
