"""Leave a network that does not hold the images of a request as a run, with its record."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from unlabeled import backbones
from unlabeled.backbones import Origin, digest_of, lineage_of, remember_lineage
from unlabeled.core import chain, run_files
from unlabeled.core.files import atomic_write_json, atomic_write_text
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import AnyForgetter
from unlabeled.forgetting.judge.case import Task
from unlabeled.forgetting.protocol import Row
from unlabeled.forgetting.record import write_record
from unlabeled.runs.classifier import load_classifier as saved_classifier
from unlabeled.runs.classifier import save_classifier
from unlabeled.runs.deletion import Request
from unlabeled.runs.folder import Run, command_line, environment
from unlabeled.runs.models import backbone_folder
from unlabeled.runs.outcome import seen_of
from unlabeled.verbs.retraining import Retraining


@dataclass(frozen=True)
class Leaving:
    """What is written beside every network that comes out of a request.

    Attributes:
        source: the run (or backbone folder) that was made to forget.
        request: which images.
        task, rows: what was measured.
        more: of the record.
    """

    source: Run
    request: Request
    task: Task
    rows: Sequence[Row]
    more: Mapping[str, Any]

    def forgotten(self, folder: Run, method: AnyForgetter, new: Classifier, seed: int) -> None:
        """The network that ``method`` made."""
        self._request(folder)
        for name in (run_files.RECIPE, run_files.DATA):
            if (self.source.folder / name).is_file():
                atomic_write_text(folder.folder / name, (self.source.folder / name).read_text(encoding="utf-8"))
        atomic_write_json(folder.folder / run_files.ENVIRONMENT, environment(command_line()))
        before = saved_classifier(self.source.folder)
        if isinstance(new.head, nn.Linear) and before is not None:
            save_classifier(folder.folder, new.head, before[1])
        start = backbone_folder(self.source.folder)
        kept = self.request.train.subset(self.request.trained[self.request.split.retain_rows])
        step = Origin(
            did="forget",
            source=str(self.source.folder),
            digest=digest_of(start / "model.safetensors"),
            name=method.name,
            data=seen_of(kept, str(folder.left_out.resolve())),
            place=str(folder.folder),
        )
        remember_lineage(new.extractor, (*lineage_of(self.task.original.extractor), step))
        backbones.save(new.extractor, folder.backbone)
        self._record(folder, method, method.name, seed)

    def retrained(self, folder: Run, retraining: Retraining, seed: int) -> None:
        """The network that was trained again."""
        self._request(folder)
        retraining.leave(seed, folder)
        self._record(folder, None, "retrain", seed)

    def _request(self, folder: Run) -> None:
        self.request.split.save(folder.folder / run_files.SPLIT)
        self.request.left_out(prints=True).save(folder.left_out)
        self.request.save(folder)

    def _record(self, folder: Run, method: AnyForgetter | None, label: str, seed: int) -> None:
        by = {row.method: row for row in self.rows if row.seed == seed}
        path = folder.folder / run_files.RECORD
        more = {"source": str(self.source.folder.resolve()), **self.more}
        record = write_record(path, self.task, method, by["original"], by[label], by.get("retrain"), more)
        entries, earlier = folder.folder / run_files.CHAIN, self.source.folder / run_files.CHAIN
        if earlier.is_file() and not entries.is_file():
            shutil.copyfile(earlier, entries)  # one record for all requests that led to these weights
        hashes = [image["blake2b"] for image in record["images"]]
        content = {
            **record,
            "images": chain.commitment(hashes),
            "record": chain.digest(record),
            "weights": digest_of(folder.backbone / "model.safetensors"),
        }
        chain.append(entries, "forget", content)
