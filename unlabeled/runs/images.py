"""The images of a run, opened by every later verb as training opened them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unlabeled.core import run_files
from unlabeled.core.errors import UserError, first_line
from unlabeled.core.pixels import PixelRule
from unlabeled.core.progress import say
from unlabeled.data import ImageSet
from unlabeled.data.listing import HELD_FRACTION, NoTestSplit
from unlabeled.recipes.schema import DataConfig, Recipe
from unlabeled.recipes.training_data import held_out, open_split, retained
from unlabeled.runs.folder import Run


def data_of(run: Run, data: str | None = None, data_dir: str | None = None) -> DataConfig:
    """The ``data`` section for a run's images: its recipe's, decoded to what training saw; or other data, as large.

    Args:
        run: whose settings hold.
        data: other data than the run's.
        data_dir: where data sets lie now.

    Raises:
        UserError: the folder is not a run and nothing says which data are meant.
    """
    if run.exists():
        config = run.recipe().data
    elif data is not None:
        config = DataConfig()
    else:
        raise UserError(f"{run.folder} does not say what it was trained on; give --data.")
    changes: dict[str, Any] = {"labels": None, "corrupt": None, "without": left_out_of(run)}
    shape = run.read_json(run_files.DATA).get("shape")
    if shape:
        channels, height, width = map(int, shape)
        # of runs that are older than this: images that are not square were trained on whole, and are looked at whole
        changes |= {"channels": channels} | ({"size": height} if height == width else {})
    if data is not None and data != config.name:
        changes |= {"name": data, "dir": None, "store": True, "holdout": None, "label": None, "without": None}
        changes |= {"range": None, "window": None, "bands": None}
    if data_dir is not None:
        changes["dir"] = data_dir
    return config.model_copy(update=changes)


def left_out_of(run: Run) -> str | None:
    """The split that says which rows of its data a run must not see: what it was made to forget, or never met."""
    if run.left_out.is_file():
        return str(run.left_out.resolve())
    return run.recipe().data.without if run.exists() else None


def honoured(recipe: Recipe) -> Recipe:
    """The recipe without the images that the run it starts from must not see, unless it sets ``data.without``."""
    start = recipe.backbone.weights
    if start is None or "without" in recipe.data.model_fields_set:
        return recipe
    folder = Path(start.removeprefix("local-dir:")).expanduser()
    source = next((run for run in (Run(folder), Run(folder.parent)) if run.exists()), None)
    if source is None or source.recipe().data.name != recipe.data.name or (path := left_out_of(source)) is None:
        return recipe
    say(f"what {source.folder} must not see is left out here, too (data.without=null takes it in again)")
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"without": path})})


def rule_of(run: Run, data: DataConfig) -> PixelRule | None:
    """What the numbers of the run's own images mean, as it was decided for training; ``None`` for other data.

    Raises:
        UserError: the run does not say it in a form that can be read.
    """
    if not run.exists() or run.recipe().data.name != data.name:
        return None
    held = run.read_json(run_files.DATA).get("pixels")
    try:
        return None if held is None else PixelRule.fromdict(held)
    except (ValueError, TypeError) as error:
        raise UserError(f"{run.folder / run_files.DATA}: pixels: {first_line(error)}; train again.") from error


def splits_of(data: DataConfig, rule: PixelRule | None = None) -> tuple[ImageSet, ImageSet]:
    """The training and the test split, without the images that ``data.without`` leaves out."""
    train, test = open_split(data, "train", rule), open_split(data, "test", rule)
    if data.without is None:
        return train, test
    path = Path(data.without)
    kept = retained(path, train)
    say(f"{len(train) - len(kept)} of {len(train)} training images are left out: the model was made to forget them.")
    return train.subset(kept), held_out(path, train, test)


def splits_to_probe(data: DataConfig, rule: PixelRule | None = None) -> tuple[ImageSet, ImageSet]:
    """As :func:`splits_of`, of the images that have labels; of data without a test split a fifth is held for it now."""
    try:
        train, test = splits_of(data, rule)
    except NoTestSplit:
        say(f"'{data.name}' has no test split: tested on a fifth of its training images (labels were not learned from)")
        train, test = splits_of(data.model_copy(update={"holdout": HELD_FRACTION}), rule)
    return train.labelled(), test.labelled()
