"""The images of a run, opened by every later verb as training opened them."""

from __future__ import annotations

from typing import Any

from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.data import ImageSet
from unlabeled.recipes.schema import DataConfig
from unlabeled.recipes.training_data import open_split
from unlabeled.runs.folder import Run


def data_of(run: Run, data: str | None = None, data_dir: str | None = None) -> DataConfig:
    """The ``data`` section for a run's images: its recipe's, decoded to what training saw; or other data, as large.

    Args:
        run: whose settings hold.
        data: other data than the run's.
        data_dir: where data sets lie now.

    Raises:
        UserError: the folder is no run and nothing says which data are meant.
    """
    if run.exists():
        config = run.recipe().data
    elif data is not None:
        config = DataConfig()
    else:
        raise UserError(f"{run.folder} does not say what it was trained on; give --data.")
    changes: dict[str, Any] = {"labels": None, "without": None, "corrupt": None}
    shape = run.read_json(run_files.DATA).get("shape")
    if shape:
        channels, height, width = map(int, shape)
        # images that are not square were trained on whole, and are looked at whole
        changes |= {"channels": channels} | ({"size": height} if height == width else {})
    if data is not None and data != config.name:
        changes |= {"name": data, "dir": None, "store": True}
    if data_dir is not None:
        changes["dir"] = data_dir
    return config.model_copy(update=changes)


def splits_of(data: DataConfig) -> tuple[ImageSet, ImageSet]:
    """The training and the test split."""
    return open_split(data, "train"), open_split(data, "test")
