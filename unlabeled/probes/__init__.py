"""Probes: what a frozen representation knows, measured once and honestly. Everything is imported on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from unlabeled.probes.catalog import PROBES

if TYPE_CHECKING:
    from unlabeled.probes.attentive import AttentiveProbe as AttentiveProbe
    from unlabeled.probes.features import FeatureBank as FeatureBank
    from unlabeled.probes.features import extract as extract
    from unlabeled.probes.fetril import FeTrILProbe as FeTrILProbe
    from unlabeled.probes.fewshot import run_episodes as run_episodes
    from unlabeled.probes.fewshot import run_few_labels as run_few_labels
    from unlabeled.probes.incremental import run_incremental as run_incremental
    from unlabeled.probes.knn import KNNProbe as KNNProbe
    from unlabeled.probes.knn import knn_reading as knn_reading
    from unlabeled.probes.lda import LDAProbe as LDAProbe
    from unlabeled.probes.lda import MahalanobisProbe as MahalanobisProbe
    from unlabeled.probes.linear import LinearProbe as LinearProbe
    from unlabeled.probes.logistic import LogisticProbe as LogisticProbe
    from unlabeled.probes.measures import measure as measure
    from unlabeled.probes.naive_bayes import NaiveBayesProbe as NaiveBayesProbe
    from unlabeled.probes.nmc import NearestMeanProbe as NearestMeanProbe
    from unlabeled.probes.ridge import RidgeProbe as RidgeProbe
    from unlabeled.probes.statistics import Statistics as Statistics
    from unlabeled.probes.storage import load as load
    from unlabeled.probes.storage import save as save
    from unlabeled.probes.suite import ProbeReport as ProbeReport
    from unlabeled.probes.suite import run_probes as run_probes
    from unlabeled.probes.teen import TEENProbe as TEENProbe

_WHERE = {
    **{kind: module for module, _, kind in (path.partition(".") for path in PROBES.values())},
    "FeatureBank": "features",
    "ProbeReport": "suite",
    "Statistics": "statistics",
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

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
