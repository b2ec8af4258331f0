"""No training at all: the random initialisation that every method must beat."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from unlabeled.core.errors import UserError
from unlabeled.ssl.method import Batch, Method, MethodConfig, Step


class RandomConfig(MethodConfig):
    name: Literal["random"] = "random"


class RandomInit(Method):
    """The backbone as it was initialised; its recipe has ``epochs: 0``."""

    Config = RandomConfig

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        raise UserError("the method 'random' trains nothing; set epochs=0, or choose another recipe to train.")
