"""The loss a run's encoder was trained with, from its recipe and its last checkpoint."""

from __future__ import annotations

from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.engine.checkpoint import load_checkpoint, restore
from unlabeled.forgetting.own_loss import OwnLoss
from unlabeled.runs.folder import Run
from unlabeled.runs.prepared import prepare
from unlabeled.ssl.methods import METHODS


def own_loss_of(run: Run, who: str) -> OwnLoss:
    """The run's method as training left it, heads and all, with its views.

    Args:
        run: the run.
        who: the forgetting method that asks.

    Raises:
        UserError: the folder is no run, its method reads labels or prepares what is not kept, or the checkpoint, where
            the heads are, is gone.
    """
    asks = f"{who} goes on with the loss an encoder was trained with"
    instead = "laf and lfssd do without"
    if not run.exists():
        raise UserError(f"{asks}, and {run.folder} is not a run, so nothing says which; {instead}.")
    recipe = run.recipe()
    kind = METHODS[recipe.method.name]
    reasons = {
        "reads labels": kind.needs_labels,
        "keeps no targets": not kind.prepared_is_state,
        "trained nothing": not recipe.epochs,
        "trained adapters only": bool(recipe.backbone.lora),
    }
    for why in (why for why, holds in reasons.items() if holds):
        raise UserError(f"{asks}, and '{recipe.method.name}' of {run.folder} {why}; {instead}.")
    if not run.checkpoint.is_file():
        raise UserError(
            f"{asks}, heads and all, and {run.folder} has no {run_files.LAST_CHECKPOINT} (none that was made to forget "
            f"has one); {instead}."
        )
    ready, checkpoint = prepare(recipe), load_checkpoint(run.checkpoint)
    restore(ready.method, checkpoint, run.checkpoint)
    return OwnLoss(ready.method, ready.views, checkpoint.step, checkpoint.per_epoch)
