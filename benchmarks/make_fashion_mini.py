"""Make the embedded data set `fashion-mini` from the official Fashion-MNIST files.

Of each of the ten classes, 800 training and 200 test images are drawn (without replacement, from the official
train and test file respectively, with a generator fixed by the class) and kept in their official order. The file
holds their official row numbers, so anyone can check it against the source.

    python benchmarks/make_fashion_mini.py [--source FOLDER] [--out FILE.npz]
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.core import rng
from unlabeled.core.files import atomic_write

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DATA = Path(__file__).parents[1] / "unlabeled" / "data"
Array = np.ndarray[Any, np.dtype[Any]]


def read(folder: Path, part: str) -> tuple[Array, Array]:
    """Return official images (N, 28, 28) and labels (N,) of ``train`` or ``t10k``, uint8."""
    images = np.frombuffer(gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return images.reshape(-1, 28, 28), labels


def choose(labels: Array, per_class: int, part: str) -> Array:
    """Return the sorted official row numbers of ``per_class`` images of every class."""
    rows = [
        rng.numpy_generator("fashion-mini", part, label).permutation(np.flatnonzero(labels == label))[:per_class]
        for label in range(10)
    ]
    return np.sort(np.concatenate(rows)).astype(np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=DATA / "fashion-mini.npz")
    arguments = parser.parse_args()
    arrays: dict[str, Array] = {"classes": np.array(CLASSES)}
    for split, part, per_class in (("train", "train", 800), ("test", "t10k", 200)):
        images, labels = read(arguments.source, part)
        rows = choose(labels, per_class, part)
        arrays |= {f"x_{split}": images[rows], f"y_{split}": labels[rows], f"rows_{split}": rows}
    atomic_write(arguments.out, lambda handle: np.savez_compressed(handle, **arrays))  # type: ignore[arg-type]
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
