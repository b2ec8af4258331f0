"""The ways to read a checkpoint: under which key, which prefix and which names a network's tensors lie."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from unlabeled.backbones.fitting import fits
from unlabeled.backbones.layouts import LAYOUTS, Weights, settle

CONTAINERS = (
    "state_dict", "model", "target_encoder", "teacher", "model_state_dict", "model_ema", "state_dict_ema", "student",
    "backbone", "encoder", "net", "module",
)  # fmt: skip
"""Under which keys checkpoints keep their weights; DINO and I-JEPA are evaluated with their teachers, hence before."""
SECOND_CHOICE = ("momentum", "teacher", "target", "encoder_k", "ema")
"""Copies that follow the trained network: taken only where nothing else matches as well."""
DEPTH = 4


@dataclass(frozen=True)
class Reading:
    """One way to read a checkpoint: its tensors under timm's names."""

    where: str
    layout: str
    weights: Weights
    around: Weights
    """Everything in the same container, under the file's own names: a classifier often lies beside the backbone."""

    def __str__(self) -> str:
        return self.layout + (f" under '{self.where}'" if self.where else "")


def best_reading(content: Any, model: nn.Module, target: Mapping[str, Tensor]) -> Reading | None:
    """The reading of a checkpoint in which most of ``target``'s tensors are found in shapes that fit.

    Args:
        content: what :func:`unlabeled.backbones.foreign.read_weights` returns.
        model: a timm model.
        target: those of its tensors that are to be found.
    """
    reading = _best(_readings(content, target), model, target)
    if reading is not None and _score(reading.weights, model, target) == len(target):
        return reading
    own = _best(_by_timm(content, model), model, target)  # timm knows its networks' original files
    if own is None or reading is None:
        return own or reading
    return max(reading, own, key=lambda one: _score(one.weights, model, target))


def _score(weights: Weights, model: nn.Module, target: Mapping[str, Tensor]) -> int:
    return sum(name in target and fits(name, value, target[name], model) for name, value in weights.items())


def _best(readings: Iterator[tuple[int, Reading]], model: nn.Module, target: Mapping[str, Tensor]) -> Reading | None:
    best: tuple[tuple[int, int], Reading] | None = None
    for penalty, reading in readings:
        key = (_score(reading.weights, model, target), -penalty)
        if key[0] and (best is None or key > best[0]):
            best = key, reading
    return None if best is None else best[1]


def _readings(content: Any, target: Mapping[str, Tensor]) -> Iterator[tuple[int, Reading]]:
    for rank, (container, weights) in enumerate(containers(content)):
        for prefix in _prefixes(weights):
            inside = {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)}
            where = ".".join(part for part in (container, prefix.rstrip(".")) if part)
            second = any(word in prefix.lower() for word in SECOND_CHOICE)
            for layout, rename in LAYOUTS.items():
                yield 2 * rank + second, Reading(where, layout, settle(rename(inside, target), target), weights)


def _by_timm(content: Any, model: nn.Module) -> Iterator[tuple[int, Reading]]:
    convert: Any = getattr(sys.modules.get(type(model).__module__), "checkpoint_filter_fn", None)
    for rank, (container, weights) in enumerate(containers(content) if convert is not None else ()):
        for prefix in ("", "module.", "backbone.", "module.backbone."):
            inside = {name.removeprefix(prefix): v for name, v in weights.items() if name.startswith(prefix)}
            # it is made for one file each, and does with another what it likes: fail, or print
            with contextlib.suppress(Exception), contextlib.redirect_stdout(io.StringIO()):
                found = {name: value for name, value in convert(inside, model).items() if isinstance(value, Tensor)}
                where = ".".join(part for part in (container, prefix.rstrip(".")) if part)
                yield rank, Reading(where, "read as timm does", found, weights)


def containers(content: Any, name: str = "") -> list[tuple[str, Weights]]:
    """Every state dict in a checkpoint with its key, the likeliest first."""
    if not isinstance(content, Mapping):
        return []
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    found = [(name, tensors)] if tensors else []
    for key in CONTAINERS if name.count(".") < DEPTH else ():  # a file may hold itself
        if isinstance(content.get(key), Mapping):
            found += containers(content[key], f"{name}.{key}" if name else key)
    return found


def _prefixes(weights: Weights) -> list[str]:
    """Beginnings of names that could be a wrapper's, the shortest first."""
    counts: Counter[str] = Counter()
    for name in weights:
        parts = name.split(".")
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, min(DEPTH, len(parts) - 1) + 1))
    # a stage of a network is not a wrapper, and numbers in a Sequential are read by the layouts
    return ["", *(prefix for prefix in counts if counts[prefix] >= 4 and not re.search(r"\.\d+\.$|^\d+\.$", prefix))]
