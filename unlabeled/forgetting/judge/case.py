"""What is judged: a task, and what its models answer and embed on the images that are measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlabeled.core import rng
from unlabeled.data.forget_sets import ForgetSplit
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.images import LabelledImages, Rows, UnlabelledImages
from unlabeled.forgetting.judge.shadows import Shadows
from unlabeled.forgetting.own_loss import OwnLoss


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be forgotten, from which model, and on what it is judged.

    Attributes:
        original: the model as it was trained, on all of ``train``.
        train: its training images, with the labels it was trained on (wrong ones included) where there are any.
        test: images of the same kind that it never met.
        split: the rows of ``train`` to forget and to retain.
        unseen: further images it never met, for the label-free stopping rule; never used to judge.
        own: the self-supervised loss that trained the original, for methods that go on with it.
        limit: at most this many retain (and forget, and test) images are measured, drawn at random.
        shadows: models trained like the original on random halves of its data, for attacks image by image.
    """

    original: Classifier
    train: UnlabelledImages
    test: UnlabelledImages
    split: ForgetSplit
    unseen: UnlabelledImages | None = None
    limit: int = 10_000
    own: OwnLoss | None = None
    shadows: Shadows | None = None


class View:
    """One model, and its embeddings and logits of the measured ``retain``, ``forget`` and ``test`` images.

    Attributes:
        model: the model itself, for measures that train it further.
        embeddings: ``(N, D)`` by set.
        logits: ``(N, K)`` by set; of a model without head, its embeddings.
    """

    def __init__(self, model: Classifier, sets: dict[str, UnlabelledImages], device: torch.device | str) -> None:
        self.model = model
        used = model.copy().to(device).eval()
        self.embeddings = {name: embed_all(used, images, device).cpu() for name, images in sets.items()}
        used = used.cpu()
        self.logits = {name: apply_head(used, e) for name, e in self.embeddings.items()}


class Case:
    """A task as every measure gets it: the same images, the original and the retrained model, one seed.

    Args:
        task: the task.
        retrained: the model that never met the forget set; without it, what compares with it is left out.
        seed: of samples and attacks.
        device: where to embed.

    Attributes:
        sets: the measured images, ``retain``, ``forget`` and ``test``.
        labels: of each set, where all of them have labels.
        parts: rows of ``test`` by name: ``test``, or ``test_r`` and ``test_f`` where classes were removed.
        retained: the part that says what forgetting has cost.
    """

    def __init__(
        self, task: Task, retrained: Classifier | None, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self.task, self.seed, self.device = task, seed, device
        split = task.split
        self.sets = {
            "retain": self._sample(task.train.subset(split.retain_rows), "retain"),
            "forget": self._sample(task.train.subset(split.forget_rows), "forget"),
            "test": self._sample(task.test, "test"),
        }
        self.has_head = task.original.head is not None
        self.labels = {n: s.labels for n, s in self.sets.items() if isinstance(s, LabelledImages)}
        self.labelled = len(self.labels) == 3
        gone = torch.tensor(split.classes if split.removes_classes else (), dtype=torch.long)
        count = len(self.sets["test"])
        removed = torch.isin(self.labels["test"], gone) if self.labelled else torch.zeros(count, dtype=torch.bool)
        rest = torch.ones(count, dtype=torch.bool) if bool(removed.all()) else ~removed
        self.parts = {"test_r": rest, "test_f": removed} if bool(removed.any()) else {"test": rest}
        self.retained = next(iter(self.parts))
        self.original = self.view(task.original)
        self.retrained = None if retrained is None else self.view(retrained)
        self._made: dict[str, Any] = {}

    def view(self, model: Classifier) -> View:
        """What a model answers and embeds on the measured images."""
        return View(model, self.sets, self.device)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What several models are compared with is made once."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def like_the_data(self, purpose: str) -> Tensor:
        """As many measured forget images per retain image as there are in the data, however many were drawn."""
        split = self.task.split
        count = round(len(split.forget_rows) / len(split.retain_rows) * len(self.sets["retain"]))
        return torch.randperm(len(self.sets["forget"]), generator=rng.torch_generator(purpose, self.seed))[:count]

    def true_labels(self, part: str) -> np.ndarray[Any, Any]:
        """Labels to match classes by; wrong ones (``noisy:``) say nothing of the image, so the classes are ignored."""
        labels = self.labels[part].numpy()
        return labels if self.task.split.noisy_labels is None else self.original.logits[part].argmax(1).numpy()

    def _sample(self, images: UnlabelledImages, name: str) -> UnlabelledImages:
        if len(images) <= self.task.limit:
            return images
        order = rng.numpy_generator("evaluate", name, self.seed).permutation(len(images))[: self.task.limit]
        rows: Rows = np.sort(order).astype(np.int64)
        return images.subset(rows)
