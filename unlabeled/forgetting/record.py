"""The paper trail of a deletion request: what was forgotten, how, and what it changed."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unlabeled.core import files
from unlabeled.forgetting.contract import AnyForgetter
from unlabeled.forgetting.judge.case import Task
from unlabeled.forgetting.protocol import Row


def write_record(
    path: Path,
    task: Task,
    method: AnyForgetter | None,
    before: Row,
    after: Row,
    retrained: Row | None = None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write ``record.json`` and return its content.

    It names every forgotten image by a hash of its pixels (and its row in the data), so that the record can be
    checked against a request without keeping the image itself.

    Args:
        path: the file.
        task: what was forgotten, from what.
        method: the algorithm; ``None``: the model was trained again by the original's own recipe.
        before, after, retrained: what was measured of the models.
        more: further entries, such as the lineage of the weights and what the request does not reach.
    """
    split = task.split
    images = task.train.subset(split.forget_rows)
    record: dict[str, Any] = {
        "written": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "unlabeled": version("unlabeled"),
        "request": {
            "spec": split.spec,
            "seed": split.seed,
            "description": split.description,
            "not_in_the_model": list(split.passed),
        },
        "method": {
            "name": "retrain" if method is None else method.name,
            "settings": {} if method is None else method.config.model_dump(mode="json"),
            "seed": after.seed,
            "read_labels": None if method is None else method.reads_labels(task.original),
            "seconds": after.seconds,
            **after.facts,
        },
        "models": {"original": before.model, "forgotten": after.model},
        "measures": {"before": _known(before.measures), "after": _known(after.measures)},
        "images": [
            {"row": int(row), "blake2b": print_}
            for row, print_ in zip(images.rows, images.image_fingerprints(), strict=True)
        ],
    }
    if retrained is not None:
        record["models"]["retrained"] = retrained.model
        record["measures"]["retrained"] = _known(retrained.measures)
    record |= more or {}
    files.atomic_write_json(path, record)
    return record


def _known(measures: dict[str, float]) -> dict[str, float]:
    """Only what could be measured: JSON has no NaN."""
    return {name: value for name, value in measures.items() if math.isfinite(value)}
