"""Where numbers go besides ``metrics.csv``: Lightning's own loggers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from unlabeled.core import dist
from unlabeled.core.errors import UserError, first_line
from unlabeled.core.extras import extra

HELP = {
    "wandb": "log in with `wandb login`, or keep everything here with WANDB_MODE=offline",
    "mlflow": "check MLFLOW_TRACKING_URI, or unset it to log into the run's folder",
}


def check_logger(name: str) -> None:
    """See that the package of ``output.logger`` is there, before anything is done.

    Raises:
        UserError: it is not installed.
    """
    if name != "none":
        extra(name, name, f"output.logger={name}")


def make_loggers(name: str, folder: Path, settings: dict[str, Any]) -> list[Logger]:
    """Create the logger of ``output.logger`` and tell it the recipe.

    MLflow logs to ``$MLFLOW_TRACKING_URI``, or else to ``mlflow.db`` in the run's folder; W&B and TensorBoard keep
    their files in folders of their own there.

    Args:
        name: ``none``, ``tensorboard``, ``wandb`` or ``mlflow``.
        folder: the run's folder.
        settings: the resolved recipe.

    Raises:
        UserError: the package is missing, or the service refuses (not logged in, not reachable).
    """
    check_logger(name)
    if name == "none":
        return []
    if name == "tensorboard":
        board = TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False)
        if dist.rank() == 0:
            board.log_hyperparams(settings)
        return [board]
    try:
        logger = _wandb(folder) if name == "wandb" else _mlflow(folder)
        if dist.rank() == 0:
            logger.log_hyperparams(settings)
    except Exception as error:  # each service has its own kinds, which all mean that it cannot be used
        reason = first_line(error)
        raise UserError(f"output.logger={name} cannot be used ({reason}); {HELP[name]}.") from error
    return [logger]


def _wandb(folder: Path) -> WandbLogger:
    return WandbLogger(name=folder.name, save_dir=folder)


def _mlflow(folder: Path) -> MLFlowLogger:
    here = folder.resolve()
    place = os.environ.get("MLFLOW_TRACKING_URI")
    kept = None if place else str(here / "mlartifacts")
    return MLFlowLogger(
        experiment_name="unlabeled",
        run_name=folder.name,
        tracking_uri=place or f"sqlite:///{here / 'mlflow.db'}",
        artifact_location=kept,
    )


def close_loggers(loggers: Sequence[Logger], status: str) -> None:
    """Write out what is pending: a later run in this process begins a log of its own.

    Args:
        loggers: of :func:`make_loggers`.
        status: ``"success"`` or ``"failed"``.
    """
    for logger in loggers:
        logger.finalize(status)
        if isinstance(logger, WandbLogger) and dist.rank() == 0:
            logger.experiment.finish(exit_code=int(status != "success"))
