"""Which images to forget: ``class:0``, ``random:40%@5-9``, ``noisy:60%@0-4``, ``memorised:10%``, ``indices:FILE``, …"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.core import files, rng
from unlabeled.core.errors import UserError, nearest
from unlabeled.data.requests import rows_of_files, rows_of_numbers, rows_of_paths
from unlabeled.data.rows import wrong_labels

Array = np.ndarray[Any, np.dtype[np.int64]]
PRINT = "S32"  # 16 bytes as hexadecimal digits, as deletion records name them
Prints = np.ndarray[Any, np.dtype[np.bytes_]]
KINDS = ("class", "random", "noisy", "memorised", "indices", "files", "column")


@dataclass(frozen=True, eq=False)
class ForgetSplit:
    """A training set cut in two, reproducible from (``spec``, ``seed``, data).

    Attributes:
        spec: what was asked for.
        seed: what random choices were made with.
        forget_rows: ``(F,)`` sorted rows to forget.
        retain_rows: ``(R,)`` sorted rows of the retain set; together they are all rows.
        noisy_labels: ``(F,)`` the wrong labels the original was trained with (``noisy:``), else ``None``.
        classes: the classes named in the spec (all of their images for ``class:``), else empty.
        data: fingerprint of the training set, where it may change before the split is used again.
        prints: ``(R,)`` hashes of the pixels of the retain images, by which they are then known.
        passed: how many images the request named besides, and why they needed no forgetting; a line a reason.
    """

    spec: str
    seed: int
    forget_rows: Array
    retain_rows: Array
    noisy_labels: Array | None = None
    classes: tuple[int, ...] = ()
    data: str = ""
    prints: Prints = field(default_factory=lambda: np.empty(0, PRINT))
    passed: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """One line for people."""
        total = len(self.forget_rows) + len(self.retain_rows)
        wrong = ", relabelled wrongly before training" if self.noisy_labels is not None else ""
        besides = f"; {', '.join(self.passed)}" if self.passed else ""
        return f"{self.spec}: {len(self.forget_rows)} of {total} images{wrong}{besides} (seed {self.seed})"

    @property
    def removes_classes(self) -> bool:
        """Whether whole classes go, so that test accuracy is reported for kept and removed classes apart."""
        return self.spec.startswith("class:")

    def training_labels(self, labels: Array) -> Array:
        """The labels the original was trained with: ``labels``, corrupted on the forget rows if ``noisy:``."""
        used = np.array(labels, dtype=np.int64)
        if self.noisy_labels is not None:
            used[self.forget_rows] = self.noisy_labels
        return used

    def save(self, path: Path) -> None:
        """Write as ``.npz`` (arrays only, no pickles)."""
        noisy = np.empty(0, np.int64) if self.noisy_labels is None else self.noisy_labels
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            spec=np.array(self.spec),
            seed=np.array(self.seed),
            forget_rows=self.forget_rows,
            retain_rows=self.retain_rows,
            noisy_labels=noisy,
            classes=np.array(self.classes, dtype=np.int64),
            data=np.array(self.data),
            prints=self.prints,
            passed=np.array(self.passed, dtype=np.str_),
        )
        files.atomic_write(path, lambda handle: handle.write(buffer.getvalue()))

    @staticmethod
    def load(path: Path) -> ForgetSplit:
        """Read what :meth:`save` wrote."""
        try:
            with np.load(path, allow_pickle=False) as kept:
                noisy = kept["noisy_labels"]
                return ForgetSplit(
                    spec=str(kept["spec"]),
                    seed=int(kept["seed"]),
                    forget_rows=kept["forget_rows"],
                    retain_rows=kept["retain_rows"],
                    noisy_labels=noisy if len(noisy) else None,
                    classes=tuple(int(c) for c in kept["classes"]),
                    data=str(kept["data"]),
                    prints=kept["prints"],
                    passed=tuple(map(str, kept["passed"])) if "passed" in kept else (),
                )
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{path} is not a forget split ({error}); make it again with --forget.") from error


def forget_split(
    spec: str,
    count: int,
    labels: Array | None = None,
    *,
    classes: Sequence[str] | None = None,
    paths: Sequence[str] | None = None,
    elsewhere: Mapping[str, str] | None = None,
    rows: Array | None = None,
    scores: np.ndarray[Any, Any] | None = None,
    named: Sequence[str] | None = None,
    seed: int = 0,
) -> ForgetSplit:
    """Parse ``spec`` and choose the rows.

    Args:
        spec: ``class:0``, ``class:3,5`` (numbers or names), ``random:10%``, ``random:40%@5-9`` (40 % of each of
            the classes 5 to 9), ``noisy:60%@0-4``, ``memorised:10%`` (those with the highest ``scores``),
            ``indices:FILE`` (row numbers), ``files:FILE`` (image paths), ``column:person=17`` (of a table).
        count: images in the training set.
        labels: ``(count,)``, needed wherever a class is named.
        classes: class names, if the data has them.
        paths: each image's path, needed by ``files:``.
        elsewhere: paths of images that were not trained on, each with the reason; ``files:`` may name them, too.
        rows: ``(count,)`` numbers by which ``indices:`` names the images, where the training set is a part of the data;
            default: 0, 1, …
        scores: ``(count,)`` how much each image was memorised, needed by ``memorised:``.
        named: the paths that ``column:`` means, needed by it.
        seed: of the random choices.

    Raises:
        UserError: the spec cannot be read, names what is not there, or leaves nothing to forget or to retain.
    """
    kind, _, rest = spec.partition(":")
    if kind not in KINDS or not rest:
        kinds = ", ".join(f"{known}:" for known in KINDS)
        raise UserError(f"--forget {spec}: want one of {kinds}.{nearest(kind, KINDS)}")
    noisy: Array | None = None
    chosen: tuple[int, ...] = ()
    passed: tuple[str, ...] = ()
    if kind == "class":
        known = _need_labels(spec, labels)
        chosen = _classes(spec, rest, known, classes)
        forget = np.flatnonzero(np.isin(known, chosen))
    elif kind == "indices":
        forget = rows_of_numbers(spec, rest, np.arange(count) if rows is None else rows)
    elif kind == "files":
        forget, passed = rows_of_files(spec, rest, paths, elsewhere)
    elif kind == "column":
        if paths is None or named is None:
            raise UserError(f"--forget {spec}: only a table of image paths (data=csv:FILE) has columns.")
        forget, passed = rows_of_paths(spec, {path: path for path in named}, paths, elsewhere)
    elif kind == "memorised":
        if scores is None:
            raise UserError(f"--forget {spec}: who was memorised is known from shadow models only; train some.")
        forget = np.argsort(-scores, kind="stable")[: round(_share(spec, rest) * count)]
    else:
        forget, chosen = _fraction(spec, rest, count, labels, classes, seed)
        if kind == "noisy":
            known = _need_labels(spec, labels)
            number = int(known.max()) + 1 if classes is None else len(classes)
            if number < 2:
                raise UserError(f"--forget {spec}: with a single class there is no wrong label.")
            forget = np.unique(forget)  # the order in which split and labels are kept
            noisy = wrong_labels(known[forget], number, "forget", "noise", seed)
    forget = np.unique(forget).astype(np.int64)
    if len(forget) == 0:
        raise UserError(f"--forget {spec} names no image: there is nothing to forget.")
    if len(forget) == count:
        raise UserError(f"--forget {spec} names all {count} images: the retain set would be empty; train a new model.")
    retain = np.setdiff1d(np.arange(count, dtype=np.int64), forget)
    return ForgetSplit(spec, seed, forget, retain, noisy, chosen, passed=passed)


def _need_labels(spec: str, labels: Array | None) -> Array:
    if labels is None:
        raise UserError(f"--forget {spec} names classes, but the data has no labels; use random:, indices: or files:.")
    return np.asarray(labels, dtype=np.int64)


def _classes(spec: str, text: str, labels: Array, names: Sequence[str] | None) -> tuple[int, ...]:
    present = set(np.unique(labels).tolist())
    chosen: list[int] = []
    for part in text.split(","):
        span = re.fullmatch(r"\s*(\d{1,18})(?:\s*-\s*(\d{1,18}))?\s*", part)
        if span:
            first, last = int(span[1]), int(span[2] or span[1])
            chosen += [last] if last > max(present) else range(first, last + 1)  # never as long as a typing error
        elif names is not None and part.strip() in names:
            chosen.append(list(names).index(part.strip()))
        else:
            raise UserError(f"--forget {spec}: no class '{part.strip()}'.{nearest(part.strip(), names or ())}")
    for number in chosen:
        if number not in present:
            raise UserError(
                f"--forget {spec}: no class {number}; the data has classes {min(present)} to {max(present)}."
            )
    if not chosen:
        raise UserError(f"--forget {spec}: the range is empty; write the smaller class first.")
    return tuple(sorted(set(chosen)))


def _fraction(
    spec: str, text: str, count: int, labels: Array | None, names: Sequence[str] | None, seed: int
) -> tuple[Array, tuple[int, ...]]:
    amount, at, where = text.partition("@")
    share = _share(spec, amount)
    generator = rng.numpy_generator("forget", "rows", seed)
    if not at:
        return generator.permutation(count)[: round(share * count)].astype(np.int64), ()
    known = _need_labels(spec, labels)
    chosen = _classes(spec, where, known, names)
    parts = [np.flatnonzero(known == c) for c in chosen]
    return np.concatenate([generator.permutation(p)[: round(share * len(p))] for p in parts]), chosen


def _share(spec: str, amount: str) -> float:
    number = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", amount)
    if not number or not 0 <= float(number[1]) <= 100:
        raise UserError(f"--forget {spec}: '{amount}' is not a percentage between 0% and 100%.")
    return float(number[1]) / 100
