"""Probes: what a frozen representation knows, measured once and honestly. Everything is imported on first use."""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "FeatureBank": "features",
    "KNNProbe": "knn",
    "LinearProbe": "linear",
    "NearestMeanProbe": "nmc",
    "Statistics": "statistics",
    "extract": "features",
    "knn_reading": "knn",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
