"""The paper trail of a deletion request: what was forgotten, how, and what it changed."""

from __future__ import annotations

import datetime
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unlabeled.core import files
from unlabeled.forgetting.contract import Forgetter
from unlabeled.forgetting.judge.evaluate import Task
from unlabeled.forgetting.protocol import Row


def write_record(
    path: Path, task: Task, method: Forgetter, before: Row, after: Row, retrained: Row | None = None
) -> dict[str, Any]:
    """Write ``record.json`` and return its content.

    It names every forgotten image by a hash of its pixels (and its row in the data), so that the record can be
    checked against a request without keeping the image itself.
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
            "name": method.name,
            "settings": method.config.model_dump(mode="json"),
            "seed": after.seed,
            "read_labels": method.needs_labels,
            "seconds": after.seconds,
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
    files.atomic_write_json(path, record)
    return record


def _known(measures: dict[str, float]) -> dict[str, float]:
    """Only what could be measured: JSON has no NaN."""
    return {name: value for name, value in measures.items() if math.isfinite(value)}
