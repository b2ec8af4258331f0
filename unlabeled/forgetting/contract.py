"""What every forgetting algorithm is: what it is given, what it declares to need, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

import torch

from unlabeled.core.errors import UserError
from unlabeled.forgetting.classifier import Classifier, fingerprint
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.frame import ForgetterConfig, Frame, stops_unseen
from unlabeled.forgetting.images import LabelledImages, UnlabelledImages
from unlabeled.forgetting.own_loss import OwnLoss


@dataclass(frozen=True)
class ForgetData:
    """What an algorithm is given.

    Attributes:
        retain: images that stay.
        forget: images to forget.
        unseen: images like these that the model never met, for methods that compare with them; optional.
        task: single images, whole classes or wrong labels are to go; some papers have settings for each.
        own: the self-supervised loss the model was trained with, for methods that go on with it; optional.
    """

    retain: UnlabelledImages
    forget: UnlabelledImages
    unseen: UnlabelledImages | None = None
    task: Literal["data", "class", "noisy"] = "data"
    own: OwnLoss | None = None

    def need_unseen(self, who: str) -> UnlabelledImages:
        """Return the unseen images.

        Raises:
            UserError: there are none; ``who`` names what asked for them.
        """
        if self.unseen is None or len(self.unseen) == 0:
            raise UserError(f"{who} needs images the model never met: give unseen images, such as test images.")
        return self.unseen

    def need_own(self, who: str) -> OwnLoss:
        """Return the loss the model was trained with.

        Raises:
            UserError: there is none; ``who`` names what asked for it.
        """
        if self.own is None:
            raise UserError(
                f"{who} goes on with the loss an encoder was trained with, and nobody says which (own=…); "
                "laf and lfssd do without."
            )
        return self.own

    def without_labels(self) -> ForgetData:
        """The same images, from which no label can be had."""
        unseen = None if self.unseen is None else self.unseen.without_labels()
        return replace(self, retain=self.retain.without_labels(), forget=self.forget.without_labels(), unseen=unseen)

    def prints(self) -> list[str]:
        """Fingerprints of all of it."""
        unseen = "" if self.unseen is None else self.unseen.fingerprint
        own = [] if self.own is None else [self.own.fingerprint]
        return [self.retain.fingerprint, self.forget.fingerprint, unseen, *own]


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
    is given, and where :meth:`reads_labels` is false it is handed data that cannot yield labels.

    Attributes:
        name: as people write it.
        does: what it does, in a few words, for tables of methods.
        Config: its settings.
        needs_labels, needs_retain, needs_head, needs_unseen: what it cannot do without.
        own_loss: it goes on with the loss the model was trained with. On a model without head that is the run's own
            self-supervised loss, which then takes the place of the labels and the head it needs.
        ascends: it learns from the views of the images to forget, too, and not only from those of the rest.
    """

    name: ClassVar[str]
    does: ClassVar[str]
    Config: ClassVar[type[ForgetterConfig]]
    needs_labels: ClassVar[bool] = False
    needs_retain: ClassVar[bool] = True
    needs_head: ClassVar[bool] = False
    needs_unseen: ClassVar[bool] = False
    own_loss: ClassVar[bool] = False
    ascends: ClassVar[bool] = False

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
        if not self.reads_labels(model):
            data = data.without_labels()
        if not self.uses_own_loss(model):
            data = replace(data, own=None)
        state = (checkpoint or Checkpoint()).keyed(
            self.name,
            self.config.model_dump_json(),
            seed,
            fingerprint(model),
            *data.prints(),
            data.task,
        )
        return self._forget(prepared(model, device), data, Frame(self.config, seed, device, state)).eval().cpu()

    def reads_unseen(self, model: Classifier, task: str) -> bool:
        """Whether it looks at images the model never met, by what it is or by its settings."""
        stop = getattr(self.config, "stop", "never")
        return self.needs_unseen or stops_unseen(stop, head=model.head is not None, task=task)

    def check(self, model: Classifier, data: ForgetData) -> None:
        """Refuse what this algorithm cannot work on, before anything is computed.

        Raises:
            UserError: an empty set, or no labels, no head, no loss or no unseen images where it needs them.
        """
        if len(data.forget) == 0 or (self.needs_retain and len(data.retain) == 0):
            raise UserError(f"{self.name}: the {'forget' if len(data.forget) == 0 else 'retain'} set is empty.")
        if self.needs_unseen:
            data.need_unseen(self.name)
        if self.uses_own_loss(model):
            own = data.need_own(self.name)
            sets = {"retain": data.retain, "forget": data.forget} if self.ascends else {"retain": data.retain}
            for part, images in sets.items():
                own.check(min(len(images), getattr(self.config, "batch_size", len(images))), part)
            return
        if self.needs_head:
            model.need_head(self.name)
        if self.needs_labels:
            need_labels(data.forget, self.name)
            if self.needs_retain:
                need_labels(data.retain, self.name)

    def uses_own_loss(self, model: Classifier) -> bool:
        """Whether it goes on with the run's self-supervised loss."""
        return self.own_loss and (model.head is None or not self.needs_head)

    def reads_labels(self, model: Classifier) -> bool:
        """Whether it is given labels."""
        return self.needs_labels and not self.uses_own_loss(model)

    def blank(self, model: Classifier) -> Classifier:
        """A model of the architecture that :meth:`forget` returns; its weights mean nothing."""
        return model

    @abstractmethod
    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[C]) -> Classifier:
        """Change ``model``, which is a copy in train or eval mode as the original was, and return it."""


AnyForgetter = Forgetter[Any]
