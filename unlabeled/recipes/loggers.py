"""Where numbers go besides ``metrics.csv``: Lightning's own loggers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from unlabeled.core.errors import UserError


def make_loggers(name: str, folder: Path) -> list[Logger]:
    """Create the logger of ``output.logger``.

    Raises:
        UserError: its package is not installed.
    """
    if name == "none":
        return []
    if importlib.util.find_spec(name) is None:
        raise UserError(f"output.logger={name} needs the package '{name}'; install it: pip install {name}.")
    if name == "wandb":
        return [WandbLogger(name=folder.name, save_dir=folder)]
    if name == "mlflow":
        return [MLFlowLogger(run_name=folder.name, tracking_uri=f"file:{folder.resolve() / 'mlruns'}")]
    return [TensorBoardLogger(folder, name="tensorboard", version="")]
