"""Forgetting: make a trained model forget given images, and show whether its representation forgot.

Everything is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "Checkpoint": "epochs",
    "Classifier": "classifier",
    "ForgetData": "contract",
    "ForgetSplit": ".data.forget_sets",
    "Forgetter": "contract",
    "Frame": "frame",
    "LAF": "methods.laf",
    "LAFConfig": "methods.laf",
    "LabelledImages": "images",
    "METHODS": "methods",
    "OwnLoss": "own_loss",
    "PixelArray": "images",
    "Preprocess": "images",
    "Protocol": "protocol",
    "Retrain": "methods.retrain",
    "RetrainConfig": "methods.retrain",
    "Task": "judge.case",
    "UnlabelledImages": "images",
    "forget_split": ".data.forget_sets",
    "paper_cnn": "classifier",
    "retrain_by": "protocol",
    "table": "judge.tables",
    "verdict": "judge.tables",
    "wrap": "classifier",
    "write_record": "record",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
