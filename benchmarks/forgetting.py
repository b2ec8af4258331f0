"""Forgetting on Fashion-MNIST with the 2-conv network of Shen et al. 2024.

``python benchmarks/forgetting.py train`` trains the originals and the retrained models (resumable),
``python benchmarks/forgetting.py run`` forgets with every method and writes the section ``forgetting``.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
import torch

from unlabeled.probes.forgetting.classifier import Classifier, paper_cnn
from unlabeled.probes.forgetting.images import LabelledImages, PixelArray, Preprocess
from unlabeled.probes.forgetting.retrain import RetrainConfig, train_classifier
from unlabeled.probes.forgetting.split import ForgetSplit, forget_split
from unlabeled.probes.forgetting.store import Trained, cached

TASKS = {"class removal": "class:0", "data removal": "random:40%@5-9", "noisy labels": "noisy:60%@0-4"}
HERE = Path("/usr/share/datasets/fashion-mnist")


def fashion_mnist(split: str, held: bool = False) -> tuple[PixelArray, np.ndarray]:
    """Pixels and labels of ``train`` or ``t10k``."""
    with gzip.open(HERE / f"{split}-images-idx3-ubyte.gz") as handle:
        pixels = np.frombuffer(handle.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28).copy()
    with gzip.open(HERE / f"{split}-labels-idx1-ubyte.gz") as handle:
        labels = np.frombuffer(handle.read(), np.uint8, offset=8).astype(np.int64)
    return PixelArray(pixels), labels


class Models:
    """Originals and retrained models, trained once and kept."""

    def __init__(self, folder: Path, epochs: int, lr: float) -> None:
        self.folder = folder
        self.config = RetrainConfig(epochs=epochs, lr=lr)
        self.pixels, self.labels = fashion_mnist("train")

    def split(self, task: str, seed: int) -> ForgetSplit:
        return forget_split(TASKS[task], len(self.pixels), self.labels, seed=seed)

    def train(self, name: str, labels: np.ndarray, rows: np.ndarray, seed: int) -> Trained:
        template = paper_cnn(seed=seed)
        data = LabelledImages(self.pixels, labels, Preprocess(), rows)
        key = f"{name}-{self.config.epochs}-{self.config.lr:g}-{seed}".replace(" ", "_")

        def make(checkpoint) -> Classifier:
            return train_classifier(template, data, self.config, seed=seed, checkpoint=checkpoint, stage=key)

        return cached(template, self.folder, key, make)

    def original(self, task: str, seed: int) -> Trained:
        split = self.split(task, seed)
        noisy = split.noisy_labels is not None
        rows = np.arange(len(self.pixels))
        return self.train("original-noisy" if noisy else "original", split.training_labels(self.labels), rows, seed)

    def retrained(self, task: str, seed: int) -> Trained:
        # A seed of its own: a retrained model that shared the original's initialisation would be too close to it.
        return self.train(f"retrain-{task}", self.labels, self.split(task, seed).retain_rows, seed + 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["train"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--work", type=Path, default=Path("/tmp/unlabeled-forgetting"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = Models(args.work / "models", args.epochs, args.lr)
    for seed in range(args.seeds):
        for task in TASKS:
            for trained in (models.original(task, seed), models.retrained(task, seed)):
                print(task, seed, f"{trained.seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
