"""The demo's last step: a small classifier forgets a class without labels, beside the one that never met it."""

from __future__ import annotations

from pathlib import Path

from unlabeled.core import run_files
from unlabeled.data import ImageSet
from unlabeled.data.forget_sets import forget_split
from unlabeled.forgetting.classifier import Classifier, paper_cnn
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.frame import Frame
from unlabeled.forgetting.images import LabelledImages, Preprocess
from unlabeled.forgetting.judge.case import Task
from unlabeled.forgetting.methods.laf import LAF, LAFConfig
from unlabeled.forgetting.methods.retrain import Retrain, RetrainConfig
from unlabeled.forgetting.protocol import Protocol, Row, retrain_by
from unlabeled.forgetting.record import write_record
from unlabeled.forgetting.store import cached
from unlabeled.forgetting.training.supervised import train_classifier
from unlabeled.report.forgetting import save_pictures

TRAINING = RetrainConfig(epochs=5, lr=1e-3)
SETTINGS = LAFConfig(epochs=10, lr_ue=2e-4, lr_ra=2e-4, vae_batch_size=64)


def forget_a_class(train: ImageSet, test: ImageSet, out: Path, number: int = 0) -> tuple[list[Row], str]:
    """Train the 2-conv network, make it forget class ``number`` with LAF, and measure it beside retraining.

    Args:
        train: labelled images to train on.
        test: labelled images to judge by.
        out: models, rows, ``record.json`` and pictures are kept here; finished work is not repeated.

    Returns:
        The rows original, retrain, head_only and laf, and what was forgotten in words.
    """
    mean, std = train.statistics()
    preprocess = Preprocess(mean, std)
    images, judged = (LabelledImages(s, s.require_labels("the demo"), preprocess) for s in (train, test))
    channels, size, _ = train.shape
    fresh = paper_cnn(channels, size, len(train.classes or ()) or int(images.labels.max()) + 1)

    def make(checkpoint: Checkpoint) -> Classifier:
        return train_classifier(fresh, images, Frame(TRAINING, checkpoint=checkpoint), "original")

    original = cached(fresh, out / "original", images.fingerprint[:16], make).model
    split = forget_split(f"class:{number}", len(train), images.labels.numpy())
    task = Task(original, images, judged, split, limit=2000)
    method = LAF(SETTINGS)
    rows = Protocol(task, retrain_by(Retrain(TRAINING), task, out / "retrained"), out).run({"laf": method})
    write_record(out / run_files.RECORD, task, method, rows[0], rows[-1], rows[1])
    save_pictures(out / run_files.PICTURES, [vars(row) for row in rows], train.classes, split.classes)
    return rows, split.description
