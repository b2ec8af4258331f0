"""When is enough forgotten? Rules that read no labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlabeled.core import rng
from unlabeled.core.errors import UserError
from unlabeled.core.progress import say
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.frame import Frame, stops_unseen
from unlabeled.forgetting.images import Rows, UnlabelledImages
from unlabeled.forgetting.training.familiarity import Familiarity, told_apart

LIMIT = 512
"""Images of a kind that a rule looks at."""
LEAST = 20
"""Unseen images with which images to forget are compared unasked."""
CHANCE = 0.5
SLOW, FAST = 0.02, 0.1
"""Between two looks a model is to go so much of the way from where it was to where unseen images are."""
FASTER, SLOWEST, FASTEST = 1.4, 0.25, 10.0
"""By what steps get larger where it went less, and how far from the settings they may get."""


class StoppingRule:
    """Counts steps, and never stops: what the other rules are made of.

    A loop asks it after every step, shortens the step to :attr:`pace`, and calls :meth:`finish` at its end.

    Args:
        every: steps between two looks at the model.
    """

    does = "all steps were taken"
    pace = 1.0
    """The share of a full step that is to be taken next."""

    def __init__(self, every: int = 10) -> None:
        self._every = every
        self._state: dict[str, Any] = {"steps": 0, "stopped": False}

    def __call__(self, model: Classifier) -> bool:
        """Whether to stop after this step."""
        self._state["steps"] += 1
        if self._state["steps"] % self._every == 0:
            self._state["stopped"] = self._enough(model)
        return bool(self._state["stopped"])

    def still(self, rows: Rows) -> Rows:
        """Those of some positions in the forget set that are yet to be forgotten."""
        return rows

    def finish(self, model: Classifier, checkpoint: Checkpoint) -> None:
        """Note for the record what was reached."""
        checkpoint.facts["stopping"] = {"rule": self.does, "steps": self._state["steps"]} | self._reached()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return self._state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._state = state

    def _enough(self, model: Classifier) -> bool:
        return False

    def _reached(self) -> dict[str, Any]:
        return {}


class LikeUnseen(StoppingRule):
    """Until the images to forget look like images the network never met.

    At the start it knows them better (:class:`Familiarity`), so that they can be :func:`told_apart` from unseen ones;
    by a retrained network they could not. Each image has its own way to go: the best known of the images to forget has
    to come down to the best known of the unseen ones, the median to the median. An image that is there is left alone
    until it stands out again. Steps get larger while hardly anything happens, and smaller where much does; the state is
    kept in which the two were most alike. Neither labels nor a retrained network are looked at.

    It is meant for images that have their like among the retain images, not for whole classes: see
    :class:`OwnAnswers`.

    Args:
        model: the original.
        data: must hold ``unseen`` images, like those to forget but never trained on; at most 512 are looked at.
        device: where to compute.
        seed: picks those.
        every: steps between two looks; more where many images to forget make a look expensive.

    Raises:
        UserError: there are no unseen images.
    """

    does = "until the images to forget look like unseen ones"

    def __init__(
        self, model: Classifier, data: ForgetData, device: torch.device | str, seed: int, every: int = 10
    ) -> None:
        super().__init__(max(every, len(data.forget) // 64))
        unseen = sample(data.need_unseen("stop=unseen"), seed)
        self._unseen, self._familiarity = len(unseen), Familiarity(model, data.forget, unseen, device)
        self._look(model)
        self._state |= {"before": self._state["told"], "pace": 1.0}

    @property
    def pace(self) -> float:  # type: ignore[override]
        return float(self._state["pace"])

    def still(self, rows: Rows) -> Rows:
        picked: Rows = rows[self._state["still"].numpy()[rows]]
        return picked

    def finish(self, model: Classifier, checkpoint: Checkpoint) -> None:
        """Give ``model`` the best state there was."""
        if self._state["steps"] % self._every:
            self._look(model)
        model.load_state_dict(self._state["best"])
        super().finish(model, checkpoint)

    def _enough(self, model: Classifier) -> bool:
        last, way = self._state["told"], self._state["before"] - CHANCE
        self._look(model)
        went = (last - self._state["told"]) / way if way > 0 else 1.0
        pace = self._state["pace"] * (FASTER if went < SLOW else 1 / FASTER**2 if went > FAST else 1.0)
        self._state["pace"] = min(max(pace, SLOWEST), FASTEST)
        return bool(self._state["told"] <= CHANCE)

    def _look(self, model: Classifier) -> None:
        forget, unseen = self._familiarity(model)
        told, places = told_apart(forget, unseen), (forget.argsort().argsort() + 0.5) / len(forget)
        still = forget > unseen.quantile(places)
        self._state |= {"told": told, "still": still if bool(still.any()) else ~still}
        nearest = abs(self._state.get("reached", torch.inf) - CHANCE)
        if self._state["steps"] and not abs(told - CHANCE) >= nearest:
            best = {name: value.detach().clone() for name, value in model.state_dict().items()}
            self._state |= {"reached": told, "best": best}

    def _reached(self) -> dict[str, Any]:
        names = {"before": "told_apart_before", "reached": "told_apart_after", "stopped": "reached"}
        return {names[key]: self._state[key] for key in names} | {"unseen_images": self._unseen}


class OwnAnswers(StoppingRule):
    """Until hardly any forget image gets an answer that belongs to the forget set.

    An answer (a class, as the original's head names it) belongs to the forget set if the original gives it to more
    images to forget than retain images. A model that never met such a class gives it to nobody. Answers are not
    labels: the rule asks the model alone.

    Args:
        model: the original; needs a head.
        retain, forget: its embeddings of retain images and of those to forget.
        weight: how many retain images each row of ``retain`` stands for.
        data: the images.
        share: at most this share of the forget images may still get such an answer.
        every: steps between two looks.

    Raises:
        UserError: no answer belongs to the forget set, as when it is a random part of every class.
    """

    does = "until hardly any image to forget gets an answer that only they got"

    def __init__(
        self,
        model: Classifier,
        retain: Tensor,
        forget: Tensor,
        weight: float,
        data: ForgetData,
        device: torch.device | str,
        seed: int,
        share: float,
        every: int = 10,
    ) -> None:
        super().__init__(every)
        model.need_head("stop=answers")
        outputs = [apply_head(model, embeddings) for embeddings in (retain, forget)]
        self.own = own_answers(outputs[0], outputs[1], weight)
        if not bool(self.own.any()):
            raise UserError(
                "stop=answers waits for a class to go, but the images to forget make up none; use stop=unseen."
            )
        self._forget, self._device, self._share = sample(data.forget, seed), device, share

    def _enough(self, model: Classifier) -> bool:
        answers = apply_head(model, embed_all(model, self._forget, self._device)).argmax(1)
        self._state["share"] = float(self.own[answers].float().mean())
        return bool(self._state["share"] <= self._share)

    def _reached(self) -> dict[str, Any]:
        return {"reached": self._state["stopped"], "share_of_own_answers": self._state.get("share", 1.0)}


def own_answers(retain: Tensor, forget: Tensor, weight: float) -> Tensor:
    """Which of K answers belong to the forget set, ``(K,)``: those that more of its images get than retain images.

    Args:
        retain, forget: ``(N, K)`` logits of the original.
        weight: how many retain images a row stands for, over how many forget images one does.
    """
    classes = torch.arange(retain.shape[1], device=retain.device)
    # bincount would wait for the device to learn the largest class
    counts = [(logits.argmax(1)[:, None] == classes).sum(0) for logits in (retain, forget)]
    own: Tensor = counts[1] > weight * counts[0]
    return own


def rule_of(model: Classifier, data: ForgetData, frame: Frame[Any]) -> StoppingRule:
    """The rule that the settings ``stop`` and ``stop_every`` ask for.

    Where ``stop`` is ``None`` and there is nothing to compare with, that is said, and all steps are taken.
    """
    stop, every = getattr(frame.config, "stop", "never"), getattr(frame.config, "stop_every", 10)
    if not stops_unseen(stop, head=model.head is not None, task=data.task):
        return StoppingRule()
    if stop is None and (data.unseen is None or len(data.unseen) < LEAST):
        say(f"there are fewer than {LEAST} images that the model never met to compare with: all steps are taken")
        return StoppingRule()
    return LikeUnseen(model, data, frame.device, frame.seed, every)


def sample(images: UnlabelledImages, seed: int) -> UnlabelledImages:
    """At most 512 images, always the same ones."""
    order = rng.numpy_generator("forgetting", "stopping", seed).permutation(len(images))[:LIMIT]
    return images.subset(np.sort(order).astype(np.int64))
