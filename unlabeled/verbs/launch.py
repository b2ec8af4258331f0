"""Pretrain on a SLURM cluster: what can be checked is checked here, before a job waits its hours in a queue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unlabeled.core import run_files
from unlabeled.core.errors import UserError
from unlabeled.recipes.grid import grid
from unlabeled.recipes.resolve import load_recipe
from unlabeled.runs.folder import Run
from unlabeled.runs.images import honoured
from unlabeled.runs.models import settled
from unlabeled.runs.slurm import Resources, script, submit
from unlabeled.verbs.pretrain import check_parts, check_same, default_folder
from unlabeled.verbs.sweep import check, sweep_folder


def launch(recipe: str, overrides: Sequence[str], out: Path | None, *, ask: Resources, really: bool = True) -> str:
    """Write ``RUN.sbatch`` beside the run folder, and submit it where there is an ``sbatch``; say what became of it.

    The job is ``pretrain … --resume``: the same script starts the run and goes on with it after a pre-emption, at the
    end of its time, and when it is submitted again.

    Raises:
        UserError: the recipe, the folder or what is asked for is wrong, or SLURM does not take the script.
    """
    is_run = Run(recipe).exists()
    resolved = honoured(settled(load_recipe(Path(recipe) / run_files.RECIPE if is_run else recipe, overrides)))
    run = Run(out if out is not None else recipe if is_run else default_folder(resolved))
    if resolved.hardware.devices * resolved.hardware.nodes > 1:
        raise UserError("on SLURM --nodes and --gpus say how many processes there are; leave hardware.devices at 1.")
    check_parts(resolved, ask.nodes * ask.per_host)
    if run.exists():
        check_same(run, resolved)
    elif foreign := run.foreign():
        raise UserError(f"{run.folder} is not empty and holds no run ('{foreign}'); choose another --out.")
    words = ["pretrain", recipe, *overrides, "--out", str(run.folder), "--resume"]
    return _submitted(run.folder, words, ask, really)


def launch_sweep(
    recipe: str, settings: Sequence[str], out: Path | None, *, by: str | None, ask: Resources, really: bool = True
) -> str:
    """As :func:`launch`, for a sweep: an array of jobs, a run each.

    Raises:
        UserError: as :func:`launch`.
    """
    points = grid(recipe, settings)
    folder = sweep_folder(points, out)
    check(points, folder)
    words = ["sweep", recipe, *settings, "--out", str(folder), *(["--by", by] if by else [])]
    return _submitted(folder, words, ask, really, len(points))


def _submitted(folder: Path, words: Sequence[str], ask: Resources, really: bool, array: int = 0) -> str:
    beside = folder.with_name(f"{folder.name}.sbatch")
    log = folder.with_name(f"{folder.name}-{'%A_%a' if array else '%j'}.log".replace("/", "-"))
    return submit(beside, script(folder.name, words, log, ask, array), really=really)
