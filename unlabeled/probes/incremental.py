"""The class-incremental protocol: classes arrive in steps, no row is kept, all classes so far are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from unlabeled.core.errors import UserError, nearest
from unlabeled.core.progress import progress
from unlabeled.core.rng import numpy_generator
from unlabeled.probes.arrays import InputError, Labels, Rows, as_labels, encode
from unlabeled.probes.base import StreamingProbe, class_codes
from unlabeled.probes.catalog import PROBES, probe_class
from unlabeled.probes.features import FeatureBank
from unlabeled.probes.intervals import accuracy_interval


def stepwise() -> dict[str, type[StreamingProbe]]:
    """The probes that learn class by class, by name."""
    found = {name: probe_class(name) for name in PROBES}
    return {name: kind for name, kind in found.items() if issubclass(kind, StreamingProbe)}


@dataclass(frozen=True)
class IncrementalResult:
    """How one probe fared.

    Attributes:
        seen: for each step t its accuracy on test rows of all classes so far, A_t.
        matrix: ``matrix[t][s]`` the accuracy on the classes of step s <= t after step t.
        average: mean of A_t over all steps (average incremental accuracy, iCaRL, Rebuffi et al. 2017).
        average_after_first: the same without the first step, which is not incremental.
        final: A of the last step, with its 95 % (Wilson) ``interval``.
        forgetting: for each step t >= 1 the mean over s < t of max_{l<t} matrix[l][s] - matrix[t][s]
            (Chaudhry et al. 2018, Eq. 3).
    """

    name: str
    seen: list[float]
    matrix: list[list[float]]
    average: float
    average_after_first: float | None
    final: float
    interval: tuple[float, float]
    forgetting: list[float]


@dataclass(frozen=True)
class IncrementalReport:
    """The results of :func:`run_incremental`; ``steps`` holds the class names of each step."""

    results: tuple[IncrementalResult, ...]
    steps: tuple[tuple[str, ...], ...]
    seed: int

    def asdict(self) -> dict[str, Any]:
        """Plain data: ``{schema, seed, steps: [[class]], probes: {name: IncrementalResult's fields}}``."""
        probes = {result.name: asdict(result) for result in self.results}
        return {
            "schema": "unlabeled.incremental/1",
            "seed": self.seed,
            "steps": [list(step) for step in self.steps],
            "probes": probes,
        }


def class_steps(classes: int, steps: int, *, first: int | None = None, seed: int | None = 0) -> list[Rows]:
    """Deal class positions into steps.

    Args:
        classes: how many there are.
        steps: how many steps.
        first: classes of the first step (FeTrIL starts with half of them); default: all steps alike.
        seed: of the order of the classes; None keeps it.

    Raises:
        InputError: fewer classes than steps.

    >>> [step.tolist() for step in class_steps(6, 3, seed=None)]
    [[0, 1], [2, 3], [4, 5]]
    """
    order = np.arange(classes) if seed is None else numpy_generator(seed, "class order").permutation(classes)
    if not 1 <= steps <= classes or (first is not None and not 1 <= first <= classes - (steps - 1)):
        raise InputError(f"{classes} classes cannot be dealt into {steps} steps (first={first}); use fewer steps.")
    if first is None:
        return [np.sort(part) for part in np.array_split(order, steps)]
    rest = np.array_split(order[first:], steps - 1) if steps > 1 else []
    return [np.sort(part) for part in [order[:first], *rest]]


def steps_to_test(
    train: Labels, test: Labels, steps: int, *, first: int | None = None, seed: int | None = 0
) -> list[Rows]:
    """:func:`class_steps` of the training labels, each with test rows.

    Raises:
        InputError: fewer classes than steps, or a step without test rows.
    """
    classes = class_codes(train)[0]
    wanted = encode(test, classes)
    deal = class_steps(len(classes), steps, first=first, seed=seed)
    for number, step in enumerate(deal):
        if not np.isin(wanted, step).any():
            raise InputError(f"the test bank has no row of the classes of step {number + 1}; use fewer steps.")
    return deal


def taught(probe: StreamingProbe, train: FeatureBank, deal: Sequence[Rows]) -> Iterator[StreamingProbe]:
    """The probe after each step: it learns the rows of that step's classes (positions among all) and no others."""
    labels = as_labels(train.labels, len(train))
    codes = class_codes(labels)[1]
    for step in deal:
        rows = np.isin(codes, step).nonzero()[0]
        yield probe.partial_fit(train.features[rows], labels[rows])


def run_incremental(
    train: FeatureBank,
    test: FeatureBank,
    probes: Sequence[str] = ("nmc", "lda", "ridge", "fetril"),
    *,
    steps: int = 5,
    first: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> IncrementalReport:
    """Teach probes the classes in steps, ``partial_fit`` on each step's rows only, and test after each step.

    Args:
        train, test: banks with labels.
        probes: names among :func:`stepwise`.
        steps, first, seed: see :func:`class_steps`.
        device: where to compute; default: where the features lie.

    Raises:
        UserError: an unknown probe, no labels, fewer classes than steps, a step without test rows.
    """
    known = stepwise()
    for name in probes:
        if name not in known:
            raise UserError(f"'{name}' cannot learn class by class.{nearest(name, known)}")
    labels, answers = as_labels(train.labels, len(train)), as_labels(test.labels, len(test))
    classes = class_codes(labels)[0]
    wanted = encode(answers, classes)
    deal = steps_to_test(labels, answers, steps, first=first, seed=seed)
    results = []
    with progress("incremental", len(probes) * len(deal)) as tick:
        for name in probes:
            probe = known[name].for_suite(seed, device)
            matrix, seen, right, asked = [], [], 0, 0
            for t, _ in enumerate(taught(probe, train, deal)):
                so_far = np.isin(wanted, np.concatenate(deal[: t + 1])).nonzero()[0]
                correct = probe.predict(test.features[so_far]) == answers[so_far]
                right, asked = int(correct.sum()), len(correct)
                seen.append(right / asked)
                matrix.append([float(correct[np.isin(wanted[so_far], past)].mean()) for past in deal[: t + 1]])
                tick(1, name)
            results.append(_summary(name, seen, matrix, accuracy_interval(right, asked)))
    return IncrementalReport(tuple(results), tuple(_step_names(classes, step, train) for step in deal), seed)


def _summary(
    name: str, seen: list[float], matrix: list[list[float]], interval: tuple[float, float]
) -> IncrementalResult:
    forgetting = [
        float(np.mean([max(matrix[past][s] for past in range(s, t)) - matrix[t][s] for s in range(t)]))
        for t in range(1, len(seen))
    ]
    after_first = float(np.mean(seen[1:])) if len(seen) > 1 else None
    return IncrementalResult(name, seen, matrix, float(np.mean(seen)), after_first, seen[-1], interval, forgetting)


def _step_names(classes: Labels, step: Rows, bank: FeatureBank) -> tuple[str, ...]:
    labels = [classes[position].item() for position in step]
    return tuple(bank.classes[v] if bank.classes and isinstance(v, int) else str(v) for v in labels)
