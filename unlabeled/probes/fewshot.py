"""Few labels: probes on a fraction of the training labels over several draws, and n-way k-shot episodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from unlabeled.core.progress import progress
from unlabeled.core.rng import numpy_generator
from unlabeled.data.rows import labelled_rows
from unlabeled.probes.arrays import InputError, Labels, Rows, as_features, as_labels, device_of, take
from unlabeled.probes.base import class_codes
from unlabeled.probes.features import FeatureBank
from unlabeled.probes.intervals import mean_interval
from unlabeled.probes.statistics import Statistics
from unlabeled.probes.suite import run_probes

QUERIES = 15  # rows of each class that an episode asks for
STEPS, SHARPNESS = 10, 10.0  # of the soft k-means of transductive episodes
CHUNK_VALUES = 1 << 24  # feature values of the episodes computed at once: 64 MB


@dataclass(frozen=True)
class FewLabelsResult:
    """One probe: accuracy of each draw, their mean and its 95 % interval (:func:`mean_interval`)."""

    name: str
    top1: float
    interval: tuple[float, float] | None
    draws: tuple[float, ...]


@dataclass(frozen=True)
class FewLabelsReport:
    """The results of :func:`run_few_labels`; ``rows`` labelled rows were used in each draw."""

    labels: str
    rows: int
    results: tuple[FewLabelsResult, ...]
    seed: int

    def asdict(self) -> dict[str, Any]:
        """Plain data: ``{schema, labels, rows, draws, seed, probes: {name: {top1, interval, draws: [top1]}}}``."""
        return {
            "schema": "unlabeled.few-labels/1",
            "labels": self.labels,
            "rows": self.rows,
            "draws": len(self.results[0].draws) if self.results else 0,
            "seed": self.seed,
            "probes": {r.name: asdict(r) for r in self.results},
        }


def run_few_labels(
    train: FeatureBank,
    test: FeatureBank,
    labels: str,
    probes: Sequence[str] = ("linear", "knn", "nmc"),
    *,
    draws: int = 5,
    seed: int = 0,
    device: str | None = None,
) -> FewLabelsReport:
    """Fit probes on a small labelled part of the training bank, ``draws`` times, and measure each on the test bank.

    Args:
        train, test: banks with labels.
        labels: see :func:`labelled_rows`.
        probes: names among ``catalog.SUITE``.
        draws: how many times the rows are drawn.
        seed: of the draws.
        device: where to compute; default: where the features lie.
    """
    top1: dict[str, list[float]] = {name: [] for name in probes}
    rows = 0
    for draw, part in enumerate(labelled_parts(train, labels, draws, seed)):
        rows = len(part)
        doing = f"probes, {labels} labels ({rows}), draw {draw + 1}/{draws}"
        report = run_probes(part, test, probes, seed=seed, device=device, doing=doing)
        for result in report.results:
            top1[result.name].append(result.accuracy.top1)
    results = tuple(
        FewLabelsResult(name, float(np.mean(values)), mean_interval(values), tuple(values))
        for name, values in top1.items()
    )
    return FewLabelsReport(labels, rows, results, seed)


def labelled_parts(train: FeatureBank, labels: str, draws: int, seed: int) -> Iterator[FeatureBank]:
    """The part of a bank whose labels may be used, in each of several draws.

    Raises:
        UserError: no draws, or ``labels`` that :func:`labelled_rows` does not understand.
    """
    if draws < 1:
        raise InputError(f"draws must be at least 1, not {draws}.")
    codes = class_codes(as_labels(train.labels, len(train)))[1]
    for draw in range(draws):
        yield train.subset(labelled_rows(codes, labels, seed, "labels", draw))


@dataclass(frozen=True)
class Episodes:
    """Accuracy over n-way k-shot episodes: its mean and 95 % interval (:func:`mean_interval`)."""

    ways: int
    shots: int
    queries: int
    episodes: int
    accuracy: float
    interval: tuple[float, float] | None
    each: tuple[float, ...] = field(default=(), repr=False)
    """The accuracy of every episode."""

    def asdict(self) -> dict[str, Any]:
        """Plain data, without the single episodes."""
        return {name: value for name, value in asdict(self).items() if name != "each"}


def episode_classes(labels: Labels, ways: int, shots: int, queries: int = QUERIES) -> list[Rows]:
    """The rows of each class that has enough of them for episodes.

    Raises:
        InputError: fewer than ``ways`` classes with ``shots + queries`` rows.
    """
    classes, codes = class_codes(labels)
    members = [
        rows for rows in (np.flatnonzero(codes == c) for c in range(len(classes))) if len(rows) >= shots + queries
    ]
    if len(members) < ways:
        raise InputError(
            f"{ways}-way {shots}-shot episodes with {queries} queries need {ways} classes of {shots + queries} rows; "
            f"there are {len(members)}. Use fewer ways, shots or queries."
        )
    return members


def run_episodes(
    bank: FeatureBank,
    *,
    ways: int = 5,
    shots: int = 1,
    queries: int = QUERIES,
    episodes: int = 600,
    metric: Literal["euclidean", "cosine"] = "cosine",
    centre: FeatureBank | None = None,
    transductive: bool = False,
    seed: int = 0,
    device: str | None = None,
) -> Episodes:
    """Nearest class mean from ``shots`` rows a class (prototypes, Snell et al. 2017; SimpleShot, Wang et al. 2019).

    Args:
        bank: labelled features of classes that need not have been trained on.
        ways, shots, queries: classes of an episode, labelled and asked rows of each.
        episodes: how many.
        metric: of the nearest mean.
        centre: a bank whose mean is subtracted first (SimpleShot's centring, from training data).
        transductive: let all queries of an episode move the means before they are answered (:func:`refined`).
        seed: of every draw.
        device: where to compute; default: where the features lie.

    Raises:
        InputError: fewer than ``ways`` classes with ``shots + queries`` rows.
    """
    if min(ways - 1, shots, queries, episodes) < 1:
        raise InputError("episodes need ways >= 2 and shots, queries, episodes >= 1.")
    features = as_features(bank)
    members = episode_classes(as_labels(bank.labels, len(bank)), ways, shots, queries)
    if centre is not None and centre.dim != bank.dim:
        raise InputError(f"the banks differ: {centre.dim} features to centre on, {bank.dim} in episodes.")
    place = device_of(features, device)
    middle = _mean(centre) if centre is not None else torch.zeros(bank.dim, dtype=torch.float64)
    generator = numpy_generator(seed, "episodes", ways, shots, queries)
    accuracies: list[float] = []
    size = max(1, CHUNK_VALUES // (ways * (shots + queries) * bank.dim))
    with progress(f"{ways}-way {shots}-shot", episodes) as tick:
        for start in range(0, episodes, size):
            count = min(size, episodes - start)
            rows = np.stack(
                [
                    np.stack([generator.choice(members[c], shots + queries, replace=False) for c in chosen])
                    for chosen in (generator.choice(len(members), ways, replace=False) for _ in range(count))
                ]
            )
            values = take(features, rows.ravel(), place).view(count, ways, shots + queries, bank.dim)
            values = values - middle.to(values)
            if metric == "cosine":
                values = F.normalize(values, dim=3)
            prototypes = values[:, :, :shots].mean(2)
            if metric == "cosine":
                prototypes = F.normalize(prototypes, dim=2)
            asked = values[:, :, shots:].flatten(1, 2)
            if transductive:
                prototypes = refined(values[:, :, :shots], asked)
            best = torch.cdist(asked, prototypes).argmin(2).view(count, ways, queries)
            right = best == torch.arange(ways, device=best.device).view(1, -1, 1)
            accuracies += right.flatten(1).double().mean(1).tolist()
            tick(count)
    mean = float(np.mean(accuracies))
    return Episodes(ways, shots, queries, episodes, mean, mean_interval(accuracies), tuple(accuracies))


def refined(shown: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """Class means moved by the queries: soft k-means from the labelled rows (Ren et al. 2018, Eq. 2-3), ten steps.

    Each query counts for each class by the softmax of minus ten times its squared distance to the class's mean.

    Args:
        shown: (E, C, S, D) labelled rows of E episodes.
        asked: (E, Q, D) queries of each.

    Returns:
        (E, C, D) means.
    """
    total, means = shown.sum(2), shown.mean(2)
    for _ in range(STEPS):
        share = (-SHARPNESS * torch.cdist(asked, means).square()).softmax(2)
        means = (total + share.transpose(1, 2) @ asked) / (shown.shape[2] + share.sum(1).unsqueeze(2))
    return means


def _mean(bank: FeatureBank) -> torch.Tensor:
    statistics = Statistics(bank.dim, second=False)
    statistics.add(as_features(bank), np.zeros(len(bank), dtype=np.int64))
    return statistics.mean
