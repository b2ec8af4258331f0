"""The paper trail of a deletion request: what was forgotten, how, and what it changed."""

from __future__ import annotations

import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unlabeled.core import files
from unlabeled.probes.forgetting.evaluate import Task
from unlabeled.probes.forgetting.forgetter import Forgetter
from unlabeled.probes.forgetting.protocol import Row


def write_record(
    path: Path, task: Task, method: Forgetter, before: Row, after: Row, retrained: Row | None = None
) -> dict[str, Any]:
    """Write ``record.json`` and return its content.

    It names every forgotten image by a hash of its pixels (and its row), so that the record can be checked against
    a request without keeping the image itself.
    """
    split = task.split
    images = task.train.subset(split.forget_rows).image_fingerprints()
    record: dict[str, Any] = {
        "written": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "unlabeled": version("unlabeled"),
        "request": {"spec": split.spec, "seed": split.seed, "description": split.description},
        "method": {
            "name": method.name,
            "settings": method.config.model_dump(mode="json"),
            "seed": after.seed,
            "read_labels": method.needs_labels,
            "seconds": after.seconds,
        },
        "models": {"original": before.model, "forgotten": after.model},
        "measures": {"before": before.measures, "after": after.measures},
        "images": [{"row": int(row), "blake2b": print_} for row, print_ in zip(split.forget_rows, images, strict=True)],
    }
    if retrained is not None:
        record["models"]["retrained"] = retrained.model
        record["measures"]["retrained"] = retrained.measures
    files.atomic_write_json(path, record)
    return record
