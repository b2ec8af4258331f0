"""Image files by their paths, with no data set around them: every file counts, whatever its folder is called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unlabeled.core.errors import UserError
from unlabeled.core.pixels import PixelRule
from unlabeled.core.progress import say
from unlabeled.data.decode import EXTENSIONS
from unlabeled.data.files import files_identity, left_out, require_images, scan
from unlabeled.data.images import ImageSet
from unlabeled.data.listing import Listing, printable
from unlabeled.data.ondemand import OnDemand


def image_paths(*places: str | Path) -> list[str]:
    """List the image files in folders, at any depth, sorted; a file stands for itself. Nothing is decoded.

    The list is what :func:`unlabeled.embed` and :func:`unlabeled.predict` take, in the order of their rows.

    Raises:
        UserError: nothing is there, a folder cannot be read, or it holds no images.
    """
    found: list[str] = []
    for place in places:
        path = Path(place).expanduser()
        if path.is_dir():
            scanned = scan(path)
            require_images(path, scanned)
            if scanned.bad:
                raise UserError(f"{scanned.bad[0].path}: {scanned.bad[0].reason}.")
            for line in left_out(path, scanned.others):
                say(line)
            found += [os.path.join(path, file) for file in scanned.files]  # noqa: PTH118 (a million Paths take seconds)
        elif path.exists():
            found.append(str(path))
        else:
            raise UserError(f"there is no image or folder {printable(path)}; check the path.")
    return found


def paths_in(images: Any) -> list[str] | None:
    """What a user gave, as a list of paths: one image file, or a sequence of paths; ``None``: it is something else."""
    if isinstance(images, str | Path):
        return [str(images)] if Path(images).suffix.lower() in EXTENSIONS and not Path(images).is_dir() else None
    if isinstance(images, np.ndarray) and images.dtype.kind not in "OU":
        return None
    if not isinstance(images, Sequence | np.ndarray):
        if type(images).__module__.partition(".")[0] != "pandas":
            return None
        images = np.asarray(images)
    given = list(images.ravel() if isinstance(images, np.ndarray) else images)
    return [str(path) for path in given] if given and all(isinstance(path, str | Path) for path in given) else None


def open_files(paths: Sequence[str], *, size: int, channels: int, rule: PixelRule) -> ImageSet:
    """The images of these files, decoded batch by batch. Those that cannot be read are black, and in ``bad_files``.

    Args:
        paths: of the files, in the order of the rows.
        size: side in pixels.
        channels: 1 (gray), 3 (RGB), or as many as the files have.
        rule: what their numbers mean.

    Raises:
        UserError: one of them is not there.
    """
    for path in paths:
        if not Path(path).expanduser().exists():
            raise UserError(f"there is no image {printable(path)}; check the path.")
    names = [printable(path) for path in paths]
    listing = Listing(
        lambda row: Path(paths[row]).expanduser(), names, files_identity(Path(), paths), paths=True, quick=False
    )
    shape = (channels, size, size)
    source = OnDemand(listing, shape, rule, name="the files", max_bad_fraction=1.0, mute=frozenset({"colour"}))
    return ImageSet("files", "all", source, fingerprint=listing.identity, paths=names, rule=rule)
