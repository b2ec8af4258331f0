"""The one file from which training goes on, read without ever executing what it holds."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from unlabeled.core.errors import UserError, first_line
from unlabeled.core.files import atomic_write
from unlabeled.ssl.method import Method

SCHEMA = 2
Rollback = dict[str, Any]
"""``{"at": the step that diverged, "to": where training went on, "rate": factor of the learning rate, "why": …}``"""


@dataclass
class Checkpoint:
    """Weights, buffers, optimiser and position; randomness needs no state, it follows from the step."""

    step: int
    total: int
    per_epoch: int
    method: dict[str, Any]
    optimizer: dict[str, Any]
    window: dict[str, Any]
    scaler: dict[str, Any]
    rollbacks: list[Rollback] = field(default_factory=list)
    schema: int = SCHEMA

    def require_schedule(self, total: int, per_epoch: int, path: Path) -> None:
        """Make sure that it belongs to a training of ``total`` steps.

        Raises:
            UserError: it does not.
        """
        if (self.total, self.per_epoch) != (total, per_epoch):
            raise UserError(
                f"{path} belongs to a training of {self.total} steps, this one has {total}: the recipe or the data "
                "changed; resume with the same ones or start again with --overwrite."
            )


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically: a crash leaves the previous checkpoint."""
    content = {f.name: getattr(checkpoint, f.name) for f in fields(checkpoint)}
    atomic_write(path, lambda handle: torch.save(content, handle))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint (tensors and plain values only).

    Raises:
        UserError: there is none, it is broken, or of another version.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist, so there is nothing to resume; start again with --overwrite.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint = Checkpoint(**content)
    except (RuntimeError, EOFError, OSError, TypeError, pickle.UnpicklingError, KeyError, ValueError) as error:
        reason = first_line(error)
        raise UserError(
            f"{path} is not a whole checkpoint ({reason}); restore it from a copy or start again with --overwrite."
        ) from error
    if checkpoint.schema != SCHEMA:
        raise UserError(
            f"{path} was written by another version (schema {checkpoint.schema}, this one reads {SCHEMA}); "
            "resume with that version or start again with --overwrite."
        )
    return checkpoint


def restore(method: Method, checkpoint: Checkpoint, path: Path) -> None:
    """Give ``method`` the weights and buffers of a checkpoint.

    Raises:
        UserError: they are of another model, or of other data.
    """
    try:
        method.load_state_dict(checkpoint.method)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{path} does not fit this model ({reason}): the recipe or the data changed; resume with the same ones or "
            "start again with --overwrite."
        ) from error
