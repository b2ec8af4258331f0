"""What every forgetting algorithm is: what it is given, what it declares to need, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

import torch

from unlabeled.core.errors import UserError
from unlabeled.forgetting.classifier import Classifier, fingerprint
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.frame import ForgetterConfig, Frame
from unlabeled.forgetting.images import LabelledImages, UnlabelledImages


@dataclass(frozen=True)
class ForgetData:
    """What an algorithm is given.

    Attributes:
        retain: images that stay.
        forget: images to forget.
        unseen: images the model never met, for a stopping rule that reads no labels; optional.
        task: single images, whole classes or wrong labels are to go; some papers have settings for each.
    """

    retain: UnlabelledImages
    forget: UnlabelledImages
    unseen: UnlabelledImages | None = None
    task: Literal["data", "class", "noisy"] = "data"

    def without_labels(self) -> ForgetData:
        """The same images, from which no label can be had."""
        unseen = None if self.unseen is None else self.unseen.without_labels()
        return ForgetData(self.retain.without_labels(), self.forget.without_labels(), unseen, self.task)


def need_labels(images: UnlabelledImages, who: str) -> LabelledImages:
    """Return ``images`` if they are labelled.

    Raises:
        UserError: they are not.
    """
    if not isinstance(images, LabelledImages):
        raise UserError(f"{who} needs labels, but this data has none; laf and lfssd need none.")
    return images


def prepared(model: Classifier, device: torch.device | str) -> Classifier:
    """A trainable copy on ``device``, laid out for fast convolutions."""
    layout: Any = model.copy().to(device)
    copied: Classifier = layout.to(memory_format=torch.channels_last)
    return copied


C = TypeVar("C", bound=ForgetterConfig)


class Forgetter(ABC, Generic[C]):
    """An algorithm that makes a copy of a model forget.

    Subclasses declare what they need and hold a frozen ``config``. :meth:`forget` never changes the model it
    is given, and with ``needs_labels`` false it is handed data that cannot yield labels.

    Attributes:
        name: as people write it.
        does: what it does, in a few words, for tables of methods.
        Config: its settings.
        needs_labels, needs_retain, needs_head: what it cannot do without.
    """

    name: ClassVar[str]
    does: ClassVar[str]
    Config: ClassVar[type[ForgetterConfig]]
    needs_labels: ClassVar[bool] = False
    needs_retain: ClassVar[bool] = True
    needs_head: ClassVar[bool] = False

    def __init__(self, config: C | None = None) -> None:
        self.config = config or cast("C", self.Config())

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
            data: what to retain and what to forget.
            seed: fixes every random choice.
            device: where to compute.
            checkpoint: where to save states between epochs, and to continue from.

        Raises:
            UserError: the data or the model lack what this algorithm needs.
            Diverged: a loss is not finite.
        """
        self.check(model, data)
        if not self.needs_labels:
            data = data.without_labels()
        state = (checkpoint or Checkpoint()).keyed(
            self.name,
            self.config.model_dump_json(),
            seed,
            fingerprint(model),
            data.retain.fingerprint,
            data.forget.fingerprint,
            "" if data.unseen is None else data.unseen.fingerprint,
            data.task,
        )
        return self._forget(prepared(model, device), data, Frame(self.config, seed, device, state)).eval().cpu()

    def check(self, model: Classifier, data: ForgetData) -> None:
        """Refuse what this algorithm cannot work on, before anything is computed.

        Raises:
            UserError: an empty set, or no labels or no head where it needs them.
        """
        if len(data.forget) == 0 or (self.needs_retain and len(data.retain) == 0):
            raise UserError(f"{self.name}: the {'forget' if len(data.forget) == 0 else 'retain'} set is empty.")
        if self.needs_head:
            model.need_head(self.name)
        if self.needs_labels:
            need_labels(data.forget, self.name)
            if self.needs_retain:
                need_labels(data.retain, self.name)

    def blank(self, model: Classifier) -> Classifier:
        """A model of the architecture that :meth:`forget` returns; its weights mean nothing."""
        return model

    @abstractmethod
    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[C]) -> Classifier:
        """Change ``model``, which is a copy in train or eval mode as the original was, and return it."""


AnyForgetter = Forgetter[Any]
