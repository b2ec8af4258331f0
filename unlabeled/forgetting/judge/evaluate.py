"""All measures of one model in one place: what it answers, what it embeds, what an attacker learns from either."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlabeled.core import rng
from unlabeled.data.forget_sets import ForgetSplit
from unlabeled.forgetting.classifier import Classifier, reinitialised
from unlabeled.forgetting.contract import need_labels
from unlabeled.forgetting.embed import apply_head, embed_all
from unlabeled.forgetting.images import LabelledImages, Rows, UnlabelledImages
from unlabeled.forgetting.judge import attacks, measures
from unlabeled.forgetting.judge.relearn import RelearnCurve, relearn_curve, relearn_ratio, watched
from unlabeled.forgetting.judge.reprobe import reprobe


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be forgotten, from which model, and on what it is judged.

    Attributes:
        original: the model as it was trained, on all of ``train``.
        train: its training images, with the labels it was trained on (wrong ones included) where there are any.
        test: images of the same kind that it never met.
        split: the rows of ``train`` to forget and to keep.
        unseen: further images it never met, for the label-free stopping rule; never used to judge.
        limit: at most this many retain (and forget, and test) images are measured, drawn at random.
    """

    original: Classifier
    train: UnlabelledImages
    test: UnlabelledImages
    split: ForgetSplit
    unseen: UnlabelledImages | None = None
    limit: int = 10_000


@dataclass
class Findings:
    """Measures by name, each class's test accuracy, and the arrays behind the pictures."""

    measures: dict[str, float]
    class_accuracy: list[float]
    relearn: dict[str, Any] | None
    arrays: dict[str, np.ndarray[Any, Any]] = field(repr=False)


class View:
    """Embeddings and logits of one model on the measured retain, forget and test images."""

    def __init__(self, model: Classifier, sets: dict[str, UnlabelledImages], device: torch.device | str) -> None:
        model = model.copy().to(device).eval()
        self.embeddings = {name: embed_all(model, images, device).cpu() for name, images in sets.items()}
        model = model.cpu()
        self.logits = {name: apply_head(model, e) for name, e in self.embeddings.items()}


class Evaluator:
    """Measures models of one task and seed against its original and its retrained model.

    Args:
        task: the task.
        retrained: the model that never met the forget set; without it, what compares with it is left out.
        seed: of samples and attacks.
        device: where to embed.
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
        self.head = task.original.head is not None
        self.labels = {n: s.labels for n, s in self.sets.items() if isinstance(s, LabelledImages)}
        self.labelled = len(self.labels) == 3
        gone = torch.tensor(split.classes if split.removes_classes else (), dtype=torch.long)
        count = len(self.sets["test"])
        removed = torch.isin(self.labels["test"], gone) if self.labelled else torch.zeros(count, dtype=torch.bool)
        kept = torch.ones(count, dtype=torch.bool) if bool(removed.all()) else ~removed
        self.parts = {"test_r": kept, "test_f": removed} if bool(removed.any()) else {"test": kept}
        self.kept_name = next(iter(self.parts))
        self.original = View(task.original, self.sets, device)
        self.retrained = None if retrained is None else View(retrained, self.sets, device)
        self.random = View(reinitialised(task.original, "zrf", seed), {"forget": self.sets["forget"]}, device)
        self._before = self._accuracies(self.original) if self.labelled and self.head else {}
        self._curve = self._relearn(retrained) if retrained is not None and self._before else None

    def _sample(self, images: UnlabelledImages, name: str) -> UnlabelledImages:
        if len(images) <= self.task.limit:
            return images
        order = rng.numpy_generator("evaluate", name, self.seed).permutation(len(images))[: self.task.limit]
        rows: Rows = np.sort(order).astype(np.int64)
        return images.subset(rows)

    def _relearn(self, model: Classifier) -> RelearnCurve:
        forget = need_labels(self.sets["forget"], "relearning")
        seen = watched(len(forget), self.seed)
        target = measures.accuracy(self.original.logits["forget"][seen], forget.labels[seen])
        return relearn_curve(model, forget, target, seed=self.seed, device=self.device)

    def __call__(self, model: Classifier) -> Findings:
        """Measure ``model``; what needs labels or a head is left out where there are none."""
        view = View(model, self.sets, self.device)
        found = self._representation(view)
        arrays = {f"embedding_{n}": view.embeddings[n][:500].numpy().astype(np.float32) for n in ("retain", "forget")}
        per_class: list[float] = []
        curve = None
        found |= self._attack("features", *(view.embeddings[n].numpy() for n in self.sets), arrays=arrays)
        if self.labelled:
            found |= self._reprobe(view)
        if self.head:
            found["zrf"] = measures.zrf(view.logits["forget"], self.random.logits["forget"])
            if self.retrained is not None:
                gold = self.retrained.logits["forget"]
                found["activation_distance"] = measures.activation_distance(view.logits["forget"], gold)
            # A wrong label would give the forget images away by the loss alone.
            right = self.labelled and self.task.split.noisy_labels is None
            logits, labels = view.logits, self.labels if right else {}
            outputs = (attacks.output_features(logits[n], labels.get(n)) for n in self.sets)
            found |= self._attack("outputs", *outputs, arrays=arrays)
            train = torch.cat([logits["retain"], logits["forget"][self._like_the_data("asr")]])
            found["asr"] = attacks.paper_asr(train, logits["test"], logits["forget"], seed=self.seed)
        if self._before:
            found |= self._accuracies(view)
            labels = self.labels
            per_class = measures.class_accuracy(view.logits["test"], labels["test"], view.logits["test"].shape[1])
            test, before = found[self.kept_name], self._before[self.kept_name]
            whole = self.task.split.removes_classes
            found["aus"] = measures.aus(test, before, found["train_f"], None if whole else test)
            again = self._relearn(model)
            found["relearn_steps"] = math.nan if again.reached is None else float(again.reached)
            if self._curve is not None:
                found["relearn_ratio"] = relearn_ratio(again, self._curve)
            curve = {"steps": again.steps, "accuracy": again.accuracy, "target": again.target}
        return Findings(found, per_class, curve, arrays)

    def _accuracies(self, view: View) -> dict[str, float]:
        out = {
            "train_r": measures.accuracy(view.logits["retain"], self.labels["retain"]),
            "train_f": measures.accuracy(view.logits["forget"], self.labels["forget"]),
        }
        for name, rows in self.parts.items():
            out[name] = measures.accuracy(view.logits["test"][rows], self.labels["test"][rows])
        return out

    def _representation(self, view: View) -> dict[str, float]:
        out = {"images_forget": float(len(self.sets["forget"]))}
        for name, other in (("retrained", self.retrained), ("original", self.original)):
            if other is not None:
                for part in ("forget", "retain"):
                    out[f"cka_{part}_{name}"] = measures.unbiased_cka(view.embeddings[part], other.embeddings[part])
        out["moved_forget"] = measures.moved(view.embeddings["forget"], self.original.embeddings["forget"])
        if self.retrained is not None:
            out["rus"] = measures.rus(out["cka_forget_retrained"], out["cka_retain_retrained"])
        return out

    def _attack(
        self,
        name: str,
        retain: np.ndarray[Any, Any],
        forget: np.ndarray[Any, Any],
        test: np.ndarray[Any, Any],
        *,
        arrays: dict[str, np.ndarray[Any, Any]],
    ) -> dict[str, float]:
        """Balanced: forget images against unseen ones of the same classes; and how many pass for members."""
        left, right = np.arange(len(forget)), np.arange(len(test))
        if self.labelled:
            truth = self._true_labels("forget")
            left, right = attacks.matched(truth, self.labels["test"].numpy(), self.seed)
        attack = attacks.balanced_attack(forget[left], test[right], seed=self.seed)
        unseen = test[self.parts[self.kept_name].numpy()]
        scores = attacks.member_scores(retain, unseen, forget, seed=self.seed)
        arrays[f"members_{name}"] = scores.astype(np.float32)
        return {
            f"mia_accuracy_{name}": attack.accuracy,
            f"mia_auc_{name}": attack.auc,
            f"mia_auc_{name}_low": attack.interval[0],
            f"mia_auc_{name}_high": attack.interval[1],
            f"member_share_{name}": float((scores > 0.5).mean()),
        }

    def _like_the_data(self, purpose: str) -> Tensor:
        """As many measured forget images per retain image as there are in the data, however many were drawn."""
        split = self.task.split
        count = round(len(split.forget_rows) / len(split.retain_rows) * len(self.sets["retain"]))
        return torch.randperm(len(self.sets["forget"]), generator=rng.torch_generator(purpose, self.seed))[:count]

    def _true_labels(self, part: str) -> np.ndarray[Any, Any]:
        """Labels to match classes by; wrong ones (``noisy:``) say nothing of the image, so the classes are ignored."""
        labels = self.labels[part].numpy()
        return labels if self.task.split.noisy_labels is None else self.original.logits[part].argmax(1).numpy()

    def _reprobe(self, view: View) -> dict[str, float]:
        rows = self._like_the_data("reprobe")
        if self.task.split.noisy_labels is not None:  # they teach a probe nothing: it sees the retain images alone
            rows = rows[:0]
        embeddings = torch.cat([view.embeddings["retain"], view.embeddings["forget"][rows]])
        labels = torch.cat([self.labels["retain"], self.labels["forget"][rows]])
        tests = {n: (view.embeddings["test"][part], self.labels["test"][part]) for n, part in self.parts.items()}
        return {f"reprobe_{k}": v for k, v in reprobe(embeddings, labels, tests, seed=self.seed).items()}
