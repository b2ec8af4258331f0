"""All probes over one pair of banks: trained on one, measured once on the other, reported as plain data."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlabeled.core.errors import UserError, nearest
from unlabeled.core.files import atomic_write_json
from unlabeled.core.progress import progress
from unlabeled.probes.arrays import InputError, as_features, as_labels, device_of
from unlabeled.probes.base import ProbeWarning
from unlabeled.probes.catalog import SUITE, probe_class
from unlabeled.probes.closed_form import ClosedFormProbe
from unlabeled.probes.features import FeatureBank
from unlabeled.probes.scoring import Accuracy, judge
from unlabeled.probes.statistics import Statistics

SCHEMA = "unlabeled.probes/1"
MOST_FEATURES = 8192
"""For probes of D x D sums: they are several matrices of 512 MB at this D."""


@dataclass(frozen=True)
class ProbeResult:
    """One probe: its accuracy on the test bank, what it chose on the training bank, and the seconds it took."""

    name: str
    accuracy: Accuracy
    chosen: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class ProbeReport:
    """The results of :func:`run_probes`.

    Attributes:
        results: one :class:`ProbeResult` a probe, in the order asked for.
        classes: names of the training classes, in the order of ``per_class`` and ``confusion``.
        train, test: rows, dimension and fingerprint of the two banks.
        seed: of every draw.
    """

    results: tuple[ProbeResult, ...]
    classes: tuple[str, ...]
    train: dict[str, Any]
    test: dict[str, Any]
    seed: int
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> ProbeResult:
        for result in self.results:
            if result.name == name:
                return result
        raise KeyError(name)

    def asdict(self) -> dict[str, Any]:
        """Plain data, the schema of the JSON file.

        ``schema``: ``"unlabeled.probes/1"``; ``seed``; ``train`` and ``test``: ``{rows, dim, fingerprint}``;
        ``classes``: names; ``notes``: what a reader should know (unseen or missing classes); ``probes``: by name
        ``{top1, interval: [low, high] (95 %), top5 or null, mean_per_class, per_class: [share or null],
        confusion: [[count]] (row label, column answer; of many classes as ``kept_confusion`` has it), n, unseen,
        chosen: {hyper-parameter: value}, seconds}``.
        """
        probes = {
            r.name: {
                **r.accuracy.asdict(),
                "interval": list(r.accuracy.interval),
                "chosen": r.chosen,
                "seconds": r.seconds,
            }
            for r in self.results
        }
        return {
            "schema": SCHEMA,
            "seed": self.seed,
            "train": self.train,
            "test": self.test,
            "classes": list(self.classes),
            "notes": list(self.notes),
            "probes": probes,
        }

    def write(self, path: str | Path) -> None:
        """Write :meth:`asdict` as JSON."""
        atomic_write_json(path, self.asdict())


def run_probes(
    train: FeatureBank,
    test: FeatureBank,
    probes: Sequence[str] = ("linear", "knn", "nmc"),
    *,
    seed: int = 0,
    device: str | None = None,
    doing: str = "probes",
) -> ProbeReport:
    """Fit probes on one bank and measure them on another.

    Hyper-parameters are chosen on the training bank only; the test bank is scored once a probe. The closed-form probes
    share one sweep over the training bank.

    Args:
        train, test: banks with labels and the same dimension.
        probes: names among :data:`~unlabeled.probes.catalog.SUITE`.
        seed: of every draw.
        device: where to compute; default: where the features lie.
        doing: what the progress bar says.

    Raises:
        UserError: an unknown probe, a bank without labels, banks that do not fit together, NaN features.
    """
    for name in probes:
        if name not in SUITE:
            raise UserError(f"there is no probe '{name}'.{nearest(name, SUITE)}")
    for part, bank in (("training", train), ("test", test)):
        if bank.labels is None:
            raise UserError(f"the {part} bank has no labels; probes need them (measures such as rankme do not).")
    if train.dim != test.dim:
        raise InputError(f"the banks differ: {train.dim} features in training, {test.dim} in test; use one backbone.")
    square = [name for name in probes if probe_class(name).square]
    if square and train.dim > MOST_FEATURES:
        others = ",".join(name for name in probes if name not in square) or "linear,knn,nmc"
        raise UserError(
            f"{', '.join(square)} needs sums of {train.dim:,} x {train.dim:,} numbers, too many for memory (the "
            f"most is {MOST_FEATURES:,} features); use --probes {others}."
        )
    labels = as_labels(test.labels, len(test))
    shared: Statistics | None = None
    results, notes = [], list[str]()
    with progress(doing, len(probes)) as tick:
        for name in probes:
            start = time.perf_counter()
            probe = probe_class(name).for_suite(seed, device)
            with _noted(notes):
                if isinstance(probe, ClosedFormProbe):
                    shared = shared or _sums(train, device, second=bool(square))
                    probe.from_statistics(shared)
                else:
                    probe.fit(train)
            accuracy = judge(probe.scores(test), labels, probe.classes_)
            results.append(ProbeResult(name, accuracy, probe.chosen(), time.perf_counter() - start))
            tick(1, f"{name} {accuracy.top1:.1%}")
    return ProbeReport(
        tuple(results),
        _names(train, probe.classes_.tolist()) if probes else (),
        _about(train),
        _about(test),
        seed,
        (*_notes(results), *notes),
    )


@contextmanager
def _noted(notes: list[str]) -> Iterator[None]:
    """Collect what probes warn of; other warnings pass."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ProbeWarning)
        yield
    for said in caught:
        if issubclass(said.category, ProbeWarning):
            notes.append(str(said.message))
        else:
            warnings.warn_explicit(said.message, said.category, said.filename, said.lineno)


def _sums(bank: FeatureBank, device: str | None, second: bool) -> Statistics:
    features = as_features(bank)
    statistics = Statistics(bank.dim, second=second, device=device_of(features, device))
    statistics.add(features, as_labels(bank.labels, len(bank)))
    return statistics


def _names(train: FeatureBank, classes: list[Any]) -> tuple[str, ...]:
    known = train.classes
    named = known is not None and all(isinstance(c, int) and 0 <= c < len(known) for c in classes)
    return tuple(known[c] if named and known is not None else str(c) for c in classes)


def _about(bank: FeatureBank) -> dict[str, Any]:
    return {"rows": len(bank), "dim": bank.dim, "fingerprint": bank.fingerprint}


def _notes(results: list[ProbeResult]) -> tuple[str, ...]:
    if not results:
        return ()
    accuracy, notes = results[0].accuracy, []
    if accuracy.unseen:
        notes.append(f"{accuracy.unseen} test rows are of classes that training never had; they count as wrong.")
    missing = sum(share is None for share in accuracy.per_class)
    if missing:
        notes.append(f"{missing} training classes have no test row; their per_class is null.")
    return tuple(notes)
