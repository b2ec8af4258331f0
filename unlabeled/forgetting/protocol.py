"""The protocol: original, retrained, head-only and any other method, measured alike; nothing is computed twice."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from unlabeled.core import files
from unlabeled.core.progress import say
from unlabeled.data.forget_sets import ForgetSplit
from unlabeled.forgetting.classifier import Classifier, fingerprint
from unlabeled.forgetting.contract import AnyForgetter, ForgetData
from unlabeled.forgetting.epochs import Checkpoint, Seconds
from unlabeled.forgetting.images import LabelledImages
from unlabeled.forgetting.judge.case import Task
from unlabeled.forgetting.judge.evaluate import Evaluator
from unlabeled.forgetting.methods.head_only import HeadOnly
from unlabeled.forgetting.store import Trained, cached
from unlabeled.forgetting.tuning import badness, best_of, candidates

Retrainer = Callable[[int], Trained]
"""From a seed to the model that never met the forget set."""


@dataclass(frozen=True)
class Row:
    """One method and seed: times, measures (fractions in [0, 1]; NaN: cannot be had), and what to draw."""

    method: str
    seed: int
    seconds: float
    processor_seconds: float
    time_ratio: float
    """Time over retraining's: processor time (comparable on a machine that others use too), on a GPU wall time."""
    model: str
    """Fingerprint of the model."""
    measures: dict[str, float]
    class_accuracy: list[float]
    relearn: dict[str, Any] | None
    folder: str
    extractor: str = ""
    """Fingerprint of its extractor alone: the same as the original's where nothing was forgotten inside."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the method says of its work, such as where it stopped."""


class Protocol:
    """Runs methods on a task and keeps every result under ``out``.

    Args:
        task: what to forget, and from what.
        retrain: makes (or loads) the retrained model of a seed, see :func:`retrain_by`; ``None`` leaves out its row
            and all that is compared with it, where retraining is what forgetting is to save.
        out: models, results and checkpoints live here; interrupted work goes on from here.
        device: where to compute.
        tune: tries of every method over the settings it tunes, see :mod:`unlabeled.forgetting.tuning`; 1: none.
    """

    def __init__(
        self,
        task: Task,
        retrain: Retrainer | None,
        out: Path,
        *,
        device: torch.device | str = "cpu",
        tune: int = 1,
    ) -> None:
        self.task, self.retrain, self.out, self.device, self.tune = task, retrain, out, device, tune
        self._hash = fingerprint(task.original)
        self._evaluators: dict[int, Evaluator] = {}

    def run(self, methods: Mapping[str, AnyForgetter], seeds: Sequence[int] = (0,)) -> list[Row]:
        """Return the rows original, retrain, head_only (where there are head and labels), then ``methods``.

        Raises:
            UserError: a method lacks what it needs; said before the (long) retraining.
        """
        for method in (m for m in methods.values() if m.name != "retrain"):
            method.check(self.task.original, self.data(method))
        self.task.split.save(self.out / "split.npz")
        return [row for seed in seeds for row in self._rows(dict(methods), seed)]

    def _rows(self, methods: dict[str, AnyForgetter], seed: int) -> Iterable[Row]:
        retrained = None if self.retrain is None else self.retrain(seed)
        yield self._measured("original", seed, Trained(self.task.original, Seconds(math.nan, math.nan)), retrained)
        if retrained is not None:
            yield self._measured("retrain", seed, retrained, retrained)
        if self.task.original.head is not None and isinstance(self.task.train, LabelledImages):
            methods = {"head_only": HeadOnly(), **methods}
        for label, method in methods.items():
            if method.name != "retrain":
                yield self._measured(label, seed, self.forgotten(method, seed), retrained)

    def data(self, method: AnyForgetter) -> ForgetData:
        """What ``method`` may see: images with labels only if it declares that it needs them."""
        train, split = self.task.train, self.task.split
        data = ForgetData(
            train.subset(split.retain_rows), train.subset(split.forget_rows), self.task.unseen, kind_of(split)
        )
        if method.uses_own_loss(self.task.original):
            data = replace(data, own=self.task.own)
        return data if method.reads_labels(self.task.original) else data.without_labels()

    def forgotten(self, method: AnyForgetter, seed: int) -> Trained:
        """The model after ``method``, the best of its tries: computed, resumed or read."""
        tries = candidates(method, self.tune)
        if len(tries) == 1:
            return self._made(method, seed)
        data = self.data(method).without_labels()
        return best_of(
            tries,
            lambda each: self._made(each, seed),
            lambda model: badness(self.task.original, model, data, self.device, seed),
        )

    def _made(self, method: AnyForgetter, seed: int) -> Trained:
        data = self.data(method)
        key = _hash(method.name, method.config.model_dump_json(), seed, self._hash, *data.prints())
        task, device = self.task, self.device

        def make(checkpoint: Checkpoint) -> Classifier:
            say(f"{method.name}, seed {seed}: {task.split.description}")
            return method.forget(task.original, data, seed=seed, device=device, checkpoint=checkpoint)

        return cached(method.blank(task.original), self.out / "models", f"{method.name}-s{seed}-{key}", make)

    def _measured(self, label: str, seed: int, trained: Trained, retrained: Trained | None) -> Row:
        model, name = fingerprint(trained.model), "".join(c if c.isalnum() else "-" for c in label)
        gold = "none" if retrained is None else fingerprint(retrained.model)
        key = _hash(
            "facts",
            label,
            seed,
            model,
            self._hash,
            gold,
            self.task.limit,
            self.task.test.fingerprint,
            *self.data(HeadOnly()).prints(),
            *([] if self.task.shadows is None else self.task.shadows.fingerprints()),
        )
        folder = self.out / "rows" / f"{name}-s{seed}-{key}"
        try:
            return Row(**{**json.loads((folder / "row.json").read_text(encoding="utf-8")), "folder": str(folder)})
        except (OSError, ValueError, TypeError, RecursionError):  # missing or damaged: it is measured (again)
            pass
        say(f"measuring {label}, seed {seed}")
        if seed not in self._evaluators:
            after = None if retrained is None else retrained.model
            self._evaluators = {seed: Evaluator(self.task, after, seed=seed, device=self.device)}
        found = self._evaluators[seed](trained.model)
        spent = trained.seconds
        # An accelerator's work costs no processor time: there the clock on the wall is what compares.
        clock = 1 if torch.device(self.device).type == "cpu" else 0
        whole = math.nan if retrained is None else retrained.seconds[clock]
        row = Row(
            label,
            seed,
            spent.wall,
            spent.processor,
            spent[clock] / whole if whole else math.nan,
            model,
            found.measures,
            found.class_accuracy,
            found.relearn,
            str(folder),
            fingerprint(trained.model.extractor),
            trained.facts,
        )
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **found.arrays)  # type: ignore[arg-type]  # numpy's stub wants bool for **
        files.atomic_write(folder / "arrays.npz", lambda handle: handle.write(buffer.getvalue()))
        files.atomic_write_json(folder / "row.json", asdict(row))
        return row


def retrain_by(method: AnyForgetter, task: Task, cache: Path, *, device: torch.device | str = "cpu") -> Retrainer:
    """A :data:`Retrainer` that trains with ``method`` (usually :class:`Retrain`) and keeps its models in ``cache``,
    so that every method, run and process shares them.
    """
    split, train = task.split, task.train
    # Retraining must not look at the forget set; one image stands in for it, since a method is given one.
    data = ForgetData(train.subset(split.retain_rows), train.subset(split.retain_rows[:1]))

    def retrain(seed: int) -> Trained:
        shapes = [(n, tuple(v.shape)) for n, v in task.original.state_dict().items()]
        key = _hash(method.config.model_dump_json(), seed, shapes, data.retain.fingerprint)

        def make(checkpoint: Checkpoint) -> Classifier:
            return method.forget(task.original, data, seed=seed, device=device, checkpoint=checkpoint)

        return cached(task.original, cache, f"{method.name}-s{seed}-{key}", make)

    return retrain


def kind_of(split: ForgetSplit) -> Literal["data", "class", "noisy"]:
    """What is to go: single images, whole classes or wrong labels."""
    if split.noisy_labels is not None:
        return "noisy"
    return "class" if split.removes_classes else "data"


def _hash(*parts: object) -> str:
    return hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).hexdigest()
