"""Carry out a recipe: from images to a run folder with a trained backbone."""

from __future__ import annotations

import statistics
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from unlabeled.core import dist, run_files
from unlabeled.core.errors import Interrupted, UserError
from unlabeled.core.files import cache_dir
from unlabeled.core.launch import launched
from unlabeled.core.progress import say
from unlabeled.core.words import command, duration
from unlabeled.engine.batches import Shuffled
from unlabeled.engine.loop import Keeping, train
from unlabeled.engine.metrics import read_metrics
from unlabeled.recipes.resolve import load_recipe
from unlabeled.recipes.schema import Recipe
from unlabeled.recipes.training_data import training_images
from unlabeled.runs.before_after import goes_on, look_back
from unlabeled.runs.folder import Run, command_line, same_recipe
from unlabeled.runs.health import Health
from unlabeled.runs.images import honoured
from unlabeled.runs.loggers import close_loggers, make_loggers
from unlabeled.runs.models import settled
from unlabeled.runs.moved import follow, only_moved, prepare_run
from unlabeled.runs.outcome import describe, keep_outcome
from unlabeled.runs.prepared import Prepared, prepare
from unlabeled.runs.ranks import end_with_parent, run_ranks
from unlabeled.runs.rehearsal import rehearse


def pretrain(
    recipe: Recipe | str | Path,
    out: str | Path | None = None,
    *,
    overrides: tuple[str, ...] = (),
    resume: bool = False,
    overwrite: bool = False,
    **settings: Any,
) -> Run:
    """Train a backbone and leave a run folder.

    ``pretrain("simclr", data="photos", epochs=1, optimizer={"lr": 0.1})`` is ``unlabeled pretrain simclr data=photos
    epochs=1 optimizer.lr=0.1``.

    Args:
        recipe: a :class:`Recipe`, a built-in name, a YAML path, or a run folder.
        out: the run folder; default ``runs/<recipe>-<data>-<backbone>-s<seed>``.
        overrides: ``"key=value"`` settings, when ``recipe`` is a name or path.
        resume: go on from the last checkpoint of ``out``.
        overwrite: replace a run that is already there.
        settings: of the recipe, by their names.

    Returns:
        The finished run.

    Raises:
        UserError: anything in the recipe or the folder that must be mended first.
        Interrupted: stopped by a signal, or another rank has gone; the run can be resumed.
        Diverged: the loss, gradients or weights became NaN or infinite; the last good checkpoint is kept.
    """
    if resume and overwrite:
        raise UserError("--resume goes on and --overwrite starts again; choose one of them.")
    if not isinstance(recipe, Recipe):
        if out is None and Run(recipe).exists():
            out = recipe
        recipe = load_recipe(recipe, overrides, settings)
    elif overrides or settings:
        raise UserError("settings are for recipes by name; change a Recipe object with model_copy(update=...) instead.")
    recipe = honoured(settled(recipe))
    run = Run(out if out is not None else default_folder(recipe))
    if run.folder.exists() and not run.folder.is_dir():
        raise UserError(f"{run.folder} is a file; choose another --out.")
    if launched() is None and recipe.hardware.devices * recipe.hardware.nodes > 1:
        if recipe.hardware.nodes > 1:
            raise UserError("hardware.nodes: several hosts are started by torchrun or srun on each; see docs/scale.md.")
        run_ranks(recipe, run, resume=resume, overwrite=overwrite)
        return run
    end_with_parent()
    with dist.joined(recipe.hardware.accelerator, recipe.hardware.timeout):
        _on_this_rank(run, recipe, resume, overwrite)
    return run


def _on_this_rank(run: Run, recipe: Recipe, resume: bool, overwrite: bool) -> None:
    """Rank 0 owns the run folder and says to all whether there is something to do, and from where."""
    check_parts(recipe, dist.world_size())
    with run.lock() if dist.rank() == 0 else nullcontext():
        done, from_checkpoint = False, False
        if dist.rank() == 0:
            done = _already_done(run, recipe, resume, overwrite)
            from_checkpoint = resume and run.checkpoint.is_file()
        done, from_checkpoint = dist.everyone((done, from_checkpoint))[0]
        if not done:
            _carry_out(run, recipe, from_checkpoint)


def check_parts(recipe: Recipe, processes: int) -> None:
    """See that every process gets an equal part of a batch.

    Raises:
        UserError: it does not.
    """
    parts = recipe.optimizer.accumulate * processes
    if recipe.batch_size % parts:
        raise UserError(
            f"batch_size {recipe.batch_size} cannot be shared out equally over {parts} parts (optimizer.accumulate × "
            f"{processes} processes); choose a multiple, or another number of processes."
        )


def default_folder(recipe: Recipe) -> Path:
    """Where a run goes if nobody says: a folder in ``runs/``, whatever the names of recipe, data and backbone hold."""
    names = (recipe.name, recipe.data.name, settled(recipe).backbone.name)
    plain = ("".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-.")[-40:] for name in names)
    return Path("runs") / f"{'-'.join(plain)}-s{recipe.seed}"


def _already_done(run: Run, recipe: Recipe, resume: bool, overwrite: bool) -> bool:
    if not run.exists():
        if foreign := run.foreign():
            raise UserError(f"{run.folder} is not empty and holds no run ('{foreign}'); choose another --out.")
        return False
    if overwrite:
        return False
    if not resume:
        raise UserError(f"{run.folder} already holds a run; go on with --resume, replace it with --overwrite.")
    changed = check_same(run, recipe)
    if not run.finished():
        return False
    if changed:
        follow(run, recipe, training_images(recipe).fingerprint)
    say(f"{run.folder} is already finished.")
    return True


def check_same(run: Run, recipe: Recipe) -> str | None:
    """See that a run that was begun goes on with its own recipe; the setting in which only the images' place differs.

    Raises:
        UserError: it is another recipe.
    """
    changed = same_recipe(run.recipe(), recipe)
    if changed and not only_moved(run.recipe(), recipe):
        raise UserError(
            f"{run.folder} was started with another recipe ('{changed}' differs); resume with "
            f"`{command('pretrain', run.folder, '--resume')}`, or choose another --out."
        )
    return changed


def _carry_out(run: Run, recipe: Recipe, resume: bool) -> None:
    ready = prepare_run(run, recipe, resume)
    images = ready.images
    dist.wait_for_all()  # the first to decode a large data set may take hours
    dist.require_same({"data": images.fingerprint, "recipe": recipe.model_dump_json(exclude={"output"})})
    if recipe.epochs and not resume:
        rehearse(recipe, ready.method, images, ready.views)
    if dist.rank() == 0:
        # only now is it sure that the run can start: an older one is not given up before
        if not resume:
            run.clear()
        else:
            follow(run, recipe, images.fingerprint)
        if images.note:
            say(images.note)
        run.begin(recipe, command_line())
        describe(run, images)
    try:
        _learn(run, recipe, ready, resume)
    except (Interrupted, KeyboardInterrupt) as error:
        said = f"stopped{error}" if isinstance(error, KeyboardInterrupt) else error
        raise Interrupted(f"{said}; go on with: {command('pretrain', run.folder, '--resume')}") from error


def _learn(run: Run, recipe: Recipe, ready: Prepared, resume: bool) -> None:
    """What takes long: a method's own preparations, then the training; its outcome is kept."""
    images = ready.images
    kept = resume and ready.method.prepared_is_state  # what was prepared is in the checkpoint
    if ready.method.needs_prepare and not kept:
        if dist.rank() == 0:  # hosts that share no cache would do it again, and round differently
            ready.method.prepare(
                images.without_labels(),
                seed=recipe.seed,
                batch_size=recipe.batch_size,
                cache=cache_dir() / "prepared" / (images.origin or "-"),
                device=torch.device(ready.hardware.device()),
            )
        dist.wait_for_all()
        for buffer in ready.method.buffers():
            dist.from_first(buffer)
    settings = recipe.model_dump(mode="json")
    loggers = make_loggers(recipe.output.logger, run.folder, settings) if dist.rank() == 0 else []
    keeping = Keeping(
        folder=run.folder,
        log_every=recipe.output.log_every,
        save_seconds=recipe.output.save_seconds,
        observe_every=max(recipe.health.every, 1),
        loggers=loggers,
        rollback=recipe.on_divergence == "rollback",
    )
    observer = Health(images, recipe.health, ready.info, run.folder, recipe.seed) if recipe.health.every else None
    status = "failed"
    try:
        train(
            ready.method,
            images,
            ready.views,
            recipe.optimizer,
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            hardware=ready.hardware,
            keeping=keeping,
            observer=observer,
            resume=resume,
        )
        status = "success"
    finally:
        close_loggers(keeping.loggers, status)
    if dist.rank() == 0:
        keep_outcome(run, ready.method, images)
        if goes_on(recipe):
            look_back(run)
    dist.wait_for_all()


TIMED = 4
"""Steps of a dry run: the first is slower than those to come and does not count."""


def dry_run(recipe: Recipe) -> dict[str, Any]:
    """Check everything, build the model, make a few steps, and say what training would be and how long."""
    recipe = honoured(settled(recipe))
    ready = prepare(recipe)
    shuffled = Shuffled(len(ready.images), recipe.batch_size)
    steps, most = shuffled.batches_per_epoch(), "at most " if ready.method.needs_prepare else ""
    if recipe.epochs:
        rehearse(recipe, ready.method, ready.images, ready.views)
        with tempfile.TemporaryDirectory() as folder:
            keeping = Keeping(folder=Path(folder), save_seconds=float("inf"), log_every=1)
            train(
                ready.method,
                ready.images,
                ready.views,
                recipe.optimizer,
                epochs=recipe.epochs,
                batch_size=recipe.batch_size,
                seed=recipe.seed,
                hardware=ready.hardware,
                keeping=keeping,
                max_steps=min(TIMED, steps * recipe.epochs),
                sampler=shuffled,  # nothing was prepared from which a method could form its own batches
            )
            speeds = [float(row["images_per_second"]) for row in read_metrics(keeping.folder / run_files.METRICS)]
        speed = statistics.median(speeds[1:] or speeds)
        time = f"{most}{duration(steps * recipe.epochs * recipe.batch_size / speed)} ({speed:,.0f} images a second)"
    parameters = {name: sum(p.numel() for p in module.parameters()) for name, module in ready.method.named_children()}
    views = []
    for spec in recipe.views:
        size = spec.size or ready.info.height
        views.append(f"{spec.count} × {ready.info.channels}×{size}×{size}")
    return {
        "data": f"{ready.images.name}: {len(ready.images)} images {'×'.join(map(str, ready.images.shape))}",
        **({"held out": ready.images.note} if ready.images.note else {}),
        **({"pixels": list(ready.images.lines)} if ready.images.lines else {}),
        "parameters": parameters,
        "views": views,
        "precision": ready.hardware.precision,
        "steps per epoch": f"{most}{steps}",
        "steps": f"{most}{steps * recipe.epochs}",
        **({"time": time} if recipe.epochs else {}),
        **({"memory": memory} if (memory := _memory()) else {}),
    }


def _memory() -> str | None:
    if torch.cuda.is_available():
        return f"{torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB on the GPU"
    try:
        import resource
    except ImportError:  # on Windows
        return None
    unit = 1 if sys.platform == "darwin" else 2**10
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20:,.0f} MiB"
