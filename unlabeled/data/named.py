"""The data sets known by name: embedded, found on this machine, or downloaded by torchvision."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.core.files import cache_dir, locked
from unlabeled.core.progress import say
from unlabeled.data.files import folder as image_folder
from unlabeled.data.images import Labels, Pixels
from unlabeled.data.listing import Listing, digest, from_array

MINI = Path(__file__).with_name("fashion-mini.npz")
DEBIAN = Path("/usr/share/datasets")
_DIGITS = tuple("0123456789")
_FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


@dataclass(frozen=True)
class Named:
    """Where a data set lies below a root, and which torchvision class fetches it."""

    description: str
    torchvision: str
    folders: tuple[str, ...]
    """Folders below a root that hold its files, torchvision's own first."""
    files: tuple[str, ...]
    """Files that show it is there; ``.gz`` of them counts as well."""
    classes: tuple[str, ...] = _DIGITS
    image_folders: tuple[str, ...] = ()
    """Folders below a root that may hold it as image files, in ``train`` and ``test`` folders of these ``classes``."""


_IDX = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
NAMED = {
    "fashion-mnist": Named(
        "70,000 gray 28×28 pictures of clothes, 10 classes",
        "FashionMNIST", ("FashionMNIST/raw", "fashion-mnist", "fashion_mnist"), _IDX, _FASHION,
    ),
    "mnist": Named("70,000 gray 28×28 handwritten digits", "MNIST", ("MNIST/raw", "mnist"), _IDX),
    "kmnist": Named(
        "70,000 gray 28×28 cursive Japanese characters, 10 classes", "KMNIST", ("KMNIST/raw", "kmnist"), _IDX,
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
    "cifar10": Named(
        "60,000 colour 32×32 photographs, 10 classes",
        "CIFAR10", ("cifar-10-batches-py",), ("data_batch_1", "test_batch"), _CIFAR10,
        (".", "cifar10", "cifar-10", "cifar10-jpeg", "cifar10-png"),
    ),
    "cifar100": Named(
        "60,000 colour 32×32 photographs, 100 classes", "CIFAR100", ("cifar-100-python",), ("train", "test"),
    ),
    "stl10": Named(
        "13,000 labelled colour 96×96 photographs, 10 classes",
        "STL10", ("stl10_binary",), ("train_X.bin", "test_X.bin"), _STL10,
    ),
    "stl10-unlabeled": Named(
        "100,000 unlabelled colour 96×96 photographs (train); STL-10's own test split (test)",
        "STL10", ("stl10_binary",), ("unlabeled_X.bin", "test_X.bin"), _STL10,
    ),
    "svhn": Named(
        "99,289 colour 32×32 house-number digits", "SVHN", (".", "svhn"), ("train_32x32.mat", "test_32x32.mat"),
    ),
}  # fmt: skip
MINI_DESCRIPTION = "8,000 + 2,000 gray 28×28 pictures of clothes (Fashion-MNIST), 10 classes, inside the package"


def roots(data_dir: Path | None) -> Iterator[Path]:
    """Yield the folders in which data sets are looked for, the most specific first."""
    if data_dir is not None:
        yield data_dir
    if os.environ.get("UNLABELED_DATA"):
        yield Path(os.environ["UNLABELED_DATA"]).expanduser()
    home = Path("~/.cache").expanduser()
    yield from (Path("data"), cache_dir() / "data", home / "torchvision", home / "torch", home, DEBIAN)


def find(name: str, data_dir: Path | None = None) -> Path | None:
    """Return the folder that holds ``name``'s files on this machine, or ``None``; in each root its own files first."""
    entry = NAMED[name]
    # MNIST and its likes share their file names: only a folder the user points at is taken at its word.
    if data_dir is not None and all(_there(data_dir / file) for file in entry.files):
        return data_dir
    for root in roots(data_dir):
        for below in entry.folders:
            if all(_there(root / below / file) for file in entry.files):
                return root / below
        for below in entry.image_folders:
            if _holds_classes(root / below, entry.classes):
                return root / below
    return None


def _holds_classes(folder: Path, classes: tuple[str, ...]) -> bool:
    """Whether ``train`` and ``test`` below ``folder`` hold a folder for each class, and no others."""
    try:
        splits = [{entry.name for entry in os.scandir(folder / part) if entry.is_dir()} for part in ("train", "test")]
    except OSError:  # it is not there, or we may not look into it
        return False
    return all(found == {*classes} for found in splits)


def _there(file: Path) -> bool:
    try:
        return file.is_file() or file.with_name(file.name + ".gz").is_file()
    except OSError:  # a folder we may not look into
        return False


def open_named(name: str, split: str, data_dir: Path | None) -> Listing:
    """List a split of a data set known by name, downloading it where it is nowhere to be found.

    Raises:
        UserError: it can neither be found nor downloaded, or its files are damaged.
    """
    if name == "fashion-mini":
        with np.load(MINI, allow_pickle=False) as held:
            labels, classes = held[f"y_{split}"].astype(np.int64), tuple(held["classes"].tolist())
            return from_array(held[f"x_{split}"][..., None], labels, classes)
    folder = find(name, data_dir) or _download(name, data_dir)
    if NAMED[name].image_folders and _holds_classes(folder, NAMED[name].classes):
        return image_folder(folder, split)
    try:
        if name.startswith("stl10"):
            return _stl10(folder, "unlabeled" if split == "train" and name == "stl10-unlabeled" else split)
        if name in ("cifar10", "cifar100", "svhn"):
            return _torchvision(name, folder, split)
        part = "train" if split == "train" else "t10k"
        images, labels = _idx(folder / f"{part}-images-idx3-ubyte", 3), _idx(folder / f"{part}-labels-idx1-ubyte", 1)
        if len(images) != len(labels):
            raise ValueError(f"{len(images)} images but {len(labels)} labels")
    except (OSError, ValueError, EOFError, RuntimeError, zlib.error) as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"the files of '{name}' in {folder} are damaged ({reason}); delete them to fetch them again."
        ) from error
    return from_array(images[..., None], labels.astype(np.int64), NAMED[name].classes)


def _idx(file: Path, ndim: int) -> Pixels:
    """Read an IDX file of bytes, plain or gzipped: two zeros, type 8, number of dimensions, sizes, data."""
    raw = file.read_bytes() if file.is_file() else gzip.decompress(file.with_name(file.name + ".gz").read_bytes())
    if raw[:4] != bytes((0, 0, 8, ndim)):
        raise ValueError(f"{file.name} is not an IDX file of {ndim} dimensions")
    shape = tuple(np.frombuffer(raw, ">i4", ndim, offset=4).astype(int).tolist())
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * ndim).reshape(shape)


def _stl10(folder: Path, part: str) -> Listing:
    """List STL-10, whose binary files hold 3×96×96 images column by column."""
    file = folder / f"{part}_X.bin"
    images = np.memmap(file, np.uint8, "r").reshape(-1, 3, 96, 96)
    labels: Labels | None = None
    if part != "unlabeled":
        labels = np.fromfile(folder / f"{part}_y.bin", np.uint8).astype(np.int64) - 1
    state = file.stat()
    identity = digest("stl10", str(file.resolve()), state.st_size, state.st_mtime_ns)
    names = [f"{part} {row}" for row in range(len(images))]
    return Listing(lambda i: images[i].transpose(2, 1, 0), names, identity, labels, None if labels is None else _STL10)


def _torchvision(name: str, folder: Path, split: str) -> Listing:
    """Read a data set with torchvision, which verifies the files' checksums first."""
    from torchvision import datasets

    cls: Any = getattr(datasets, NAMED[name].torchvision)
    if name == "svhn":
        data = cls(folder, split=split)
        return from_array(data.data.transpose(0, 2, 3, 1), np.asarray(data.labels, dtype=np.int64), _DIGITS)
    data = cls(folder.parent, train=split == "train")
    return from_array(data.data, np.asarray(data.targets, dtype=np.int64), tuple(data.classes))


def _download(name: str, data_dir: Path | None) -> Path:
    entry = NAMED[name]
    configured = os.environ.get("UNLABELED_DATA")
    root = data_dir or (Path(configured).expanduser() if configured else cache_dir() / "data")
    with locked(root / f".{entry.torchvision}.lock"):
        found = find(name, data_dir)  # another process may have fetched it meanwhile
        if found:
            return found
        from torchvision import datasets

        say(f"'{name}' is not on this machine; downloading it to {root}")
        cls: Any = getattr(datasets, entry.torchvision)
        try:
            if name in ("svhn", "stl10", "stl10-unlabeled"):
                for part in ("train", "test") if name == "svhn" else ("train",):
                    cls(root, split=part, download=True)
            else:
                cls(root, train=True, download=True)
        except (OSError, RuntimeError, ValueError) as error:  # URLError and HTTPError are OSErrors
            reason = str(error).split("\n")[0]
            raise UserError(
                f"'{name}' is not on this machine and could not be downloaded ({reason}); offline, put its files "
                f"({', '.join(entry.files)}) into {root / entry.folders[0]}, or point --data-dir or $UNLABELED_DATA at "
                "the folder that holds them."
            ) from error
    found = find(name, data_dir) or find(name, root)
    if not found:
        raise UserError(f"'{name}' was downloaded to {root}, but its files are not there; is the folder writable?")
    return found
