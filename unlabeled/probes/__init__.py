"""Probes: what a frozen representation knows, measured once and honestly. Everything is imported on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlabeled.probes.features import FeatureBank, extract
    from unlabeled.probes.fetril import FeTrILProbe
    from unlabeled.probes.fewshot import run_episodes, run_few_labels
    from unlabeled.probes.incremental import run_incremental
    from unlabeled.probes.knn import KNNProbe, knn_reading
    from unlabeled.probes.lda import LDAProbe, MahalanobisProbe
    from unlabeled.probes.linear import LinearProbe
    from unlabeled.probes.logistic import LogisticProbe
    from unlabeled.probes.measures import measure
    from unlabeled.probes.naive_bayes import NaiveBayesProbe
    from unlabeled.probes.nmc import NearestMeanProbe
    from unlabeled.probes.ridge import RidgeProbe
    from unlabeled.probes.statistics import Statistics
    from unlabeled.probes.storage import load, save
    from unlabeled.probes.suite import ProbeReport, run_probes
    from unlabeled.probes.teen import TEENProbe

_WHERE = {
    "FeTrILProbe": "fetril",
    "FeatureBank": "features",
    "KNNProbe": "knn",
    "LDAProbe": "lda",
    "LinearProbe": "linear",
    "LogisticProbe": "logistic",
    "MahalanobisProbe": "lda",
    "NaiveBayesProbe": "naive_bayes",
    "NearestMeanProbe": "nmc",
    "ProbeReport": "suite",
    "RidgeProbe": "ridge",
    "Statistics": "statistics",
    "TEENProbe": "teen",
    "extract": "features",
    "knn_reading": "knn",
    "load": "storage",
    "measure": "measures",
    "run_episodes": "fewshot",
    "run_few_labels": "fewshot",
    "run_incremental": "incremental",
    "run_probes": "suite",
    "save": "storage",
}

__all__ = [
    "FeTrILProbe",
    "FeatureBank",
    "KNNProbe",
    "LDAProbe",
    "LinearProbe",
    "LogisticProbe",
    "MahalanobisProbe",
    "NaiveBayesProbe",
    "NearestMeanProbe",
    "ProbeReport",
    "RidgeProbe",
    "Statistics",
    "TEENProbe",
    "extract",
    "knn_reading",
    "load",
    "measure",
    "run_episodes",
    "run_few_labels",
    "run_incremental",
    "run_probes",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
