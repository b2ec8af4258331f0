"""The one training loop: one trainer for any method, exactly resumable, on any number of ranks."""

from __future__ import annotations

import logging
import warnings
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

import lightning.pytorch as pl
import torch
from lightning.fabric.accelerators.mps import MPSAccelerator
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.plugins.precision.amp import MixedPrecision
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.nn.modules.batchnorm import _BatchNorm

from unlabeled.core import dist, run_files
from unlabeled.core.device import chosen, on_gpu
from unlabeled.core.errors import Diverged, Interrupted, UserError
from unlabeled.core.files import atomic_write_json
from unlabeled.core.launch import launched
from unlabeled.core.progress import say
from unlabeled.engine.batches import BatchStream, LabelledImages, Schedule, Shuffled
from unlabeled.engine.checkpoint import Checkpoint, Rollback, load_checkpoint, restore, save_checkpoint
from unlabeled.engine.keeper import Keeper, Keeping, Observer
from unlabeled.engine.metrics import Window
from unlabeled.engine.module import MakesViews, Pretraining
from unlabeled.engine.optim import OptimizerConfig
from unlabeled.engine.syncnorm import synchronise_batchnorm
from unlabeled.engine.tuning import require_compiler, tune
from unlabeled.ssl.method import BatchSampler, Method
from unlabeled.ssl.whole_batch import WholeBatchMethod

__all__ = ["Hardware", "Keeping", "MakesViews", "Observer", "Precision", "best_precision", "train"]

# which hardware is used stands in environment.json; Lightning's own lines would tear the progress bar
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", ".*isinstance.treespec, LeafSpec.*")  # Lightning's own business
warnings.filterwarnings("ignore", ".*in eval mode at the start of training.*")  # as teachers must be

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
ROLLBACKS = 5
"""Roll-backs allowed before training gives up."""
LOWER = 0.5
"""What a roll-back multiplies the learning rate by."""


@dataclass(frozen=True)
class Hardware:
    """Where this process trains; the ranks are those of the process group."""

    accelerator: str = "auto"
    precision: Precision = "32-true"
    compile: bool = False
    checkpoint_activations: bool = False

    def device(self) -> str:
        """``"cuda"`` or ``"cpu"``."""
        return chosen(self.accelerator).type

    def require(self) -> None:
        """See that all of it is here, before anything is given up for it.

        Raises:
            UserError: there is no such accelerator, not one for each rank of this host, or no compiler.
        """
        usable = {"gpu": on_gpu() or MPSAccelerator.is_available(), "mps": MPSAccelerator.is_available()}
        if not usable.get(self.accelerator, True):
            raise UserError(
                f"hardware.accelerator={self.accelerator}: there is none that this torch can use (see: unlabeled "
                "doctor); set hardware.accelerator=auto or cpu."
            )
        place = launched()
        if place is not None and self.device() == "cuda" and place.local_rank >= torch.cuda.device_count():
            raise UserError(
                f"hardware.devices: this host has {torch.cuda.device_count()} GPUs, and process {place.local_rank + 1} "
                "has none; start fewer, or set hardware.accelerator=cpu."
            )
        if self.compile:
            require_compiler(torch.device(self.device()))

    def devices(self) -> list[int] | int:
        """Lightning's ``devices``: one, and on a host with several ranks this one's own GPU."""
        place = launched()
        return [place.local_rank] if place is not None and self.device() == "cuda" else 1


def best_precision(accelerator: str) -> Precision:
    """bfloat16 where the hardware multiplies it natively (recent GPUs, CPUs with AMX or AVX-512 BF16), else float32."""
    if on_gpu(accelerator):
        # GPUs before sm_80 emulate bfloat16, slower than they compute in float32
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if native else "32-true"


def train(
    method: Method,
    images: LabelledImages,
    views: MakesViews,
    config: OptimizerConfig,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    hardware: Hardware,
    keeping: Keeping,
    observer: Observer | None = None,
    resume: bool = False,
    max_steps: int | None = None,
    sampler: BatchSampler | None = None,
) -> int:
    """Train ``method`` in place and leave a checkpoint; return the number of optimiser steps done in all.

    In a process group (``core.dist.joined``) every rank calls this and makes its share of each global batch.

    Args:
        max_steps: end early after this many steps (a dry run writes no checkpoint).
        sampler: which images form the batches; default: the method's own, else plain shuffling.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived, and the state was saved; or another rank has gone.
        Diverged: the loss, the gradients or the weights became NaN or infinite, more often than is rolled back; the
            last checkpoint is from before.
    """
    rollbacks: list[Rollback] = []
    whole = isinstance(method, WholeBatchMethod)  # takes the batch whole and makes parts of it by itself
    if config.accumulate > 1 and dist.rank() == 0 and any(isinstance(m, _BatchNorm) for m in method.modules()):
        say(
            f"optimizer.accumulate={config.accumulate}: BatchNorm normalises each part of the batch by itself, and its "
            f"running statistics move {config.accumulate} times a step; all else is as with the whole batch."
        )
    while True:
        checkpoint = load_checkpoint(keeping.checkpoint) if resume else None
        if checkpoint is not None:
            restore(method, checkpoint, keeping.checkpoint)
            rollbacks = checkpoint.rollbacks
        # after the weights: G-SimCLR's batches follow from pseudo-labels that the checkpoint holds
        order = sampler or method.sampler(batch_size) or Shuffled(len(images), batch_size)
        schedule = Schedule(epochs, order.batches_per_epoch(), batch_size, 1 if whole else config.accumulate, seed)
        if checkpoint is not None:
            checkpoint.require_schedule(schedule.total, schedule.per_epoch, keeping.checkpoint)
            if checkpoint.step >= schedule.total:
                return schedule.total
        module = Pretraining(method, views, config, schedule, checkpoint, LOWER ** len(rollbacks))
        if dist.active():
            rows = order.epoch(seed, module.start // schedule.per_epoch)
            batches = f"{zlib.crc32(rows.tobytes()):08x}"
            dist.require_same({"first step": module.start, "steps": schedule.total, "batches": batches})
            synchronise_batchnorm(method)
        window = Window() if checkpoint is None else Window.from_state(checkpoint.window)
        keeper = Keeper(module, keeping, window, observer, rollbacks)
        try:
            return _fit(module, keeper, images, order, hardware, checkpoint, max_steps)
        except Diverged as error:
            if not keeping.rollback:
                raise
            rollbacks = _rolled_back(keeping, rollbacks, error)
            resume = True


def _fit(
    module: Pretraining,
    keeper: Keeper,
    images: LabelledImages,
    order: BatchSampler,
    hardware: Hardware,
    checkpoint: Checkpoint | None,
    max_steps: int | None,
) -> int:
    float16 = hardware.precision == "16-mixed"
    alone = LightningEnvironment()  # whatever started us, to Lightning we are alone
    trainer = pl.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices(),
        # by its name, float16 would become bfloat16 on a CPU without a word
        plugins=[alone, MixedPrecision("16-mixed", hardware.device())] if float16 else [alone],
        precision=None if float16 else hardware.precision,
        max_epochs=1,
        max_steps=max_steps if max_steps is not None else -1,
        accumulate_grad_batches=module.schedule.accumulate,
        callbacks=[keeper],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=keeper.keeping.folder,
    )
    device, half = trainer.strategy.root_device, "16" in hardware.precision
    stream = BatchStream(images, order, module.schedule, module.start, module.method.needs_labels, device)
    tune(module.method, device, half=half, compiled=hardware.compile, recompute=hardware.checkpoint_activations)
    if checkpoint is not None and checkpoint.scaler:
        trainer.precision_plugin.load_state_dict(checkpoint.scaler)
    total = module.schedule.total
    keeper.stopping.listen()
    with (
        keeper.stopping.watching(),
        dist.watched(),
        # Lightning raises this after a SIGTERM that came before its first step; then the first step is the last
        suppress(SIGTERMException),
        keeper.showing("pretraining"),
    ):
        try:
            trainer.fit(module, train_dataloaders=stream)
        finally:
            module.disconnect()
    done = module.start + int(trainer.global_step)
    if keeper.stopping.signal:
        raise Interrupted(f"stopped by {keeper.stopping.signal} after step {done} of {total}")
    if max_steps is None:
        keeper.save(done)
    return done


def _rolled_back(keeping: Keeping, rollbacks: list[Rollback], error: Diverged) -> list[Rollback]:
    """Make the state at the beginning of the epoch the one to resume from, with a lower learning rate.

    That state is a function of the recipe, unlike the last checkpoint, which is written by the clock: a rolled-back
    training can be repeated, and resumed, exactly.

    Returns:
        All roll-backs so far, this one among them.

    Raises:
        Diverged: there have been too many.
    """
    if len(rollbacks) >= ROLLBACKS:
        raise Diverged(f"{error} (Rolled back {ROLLBACKS} times already.)", error.step, error.what) from error
    checkpoint = load_checkpoint(keeping.epoch_checkpoint)
    rate = LOWER ** (len(rollbacks) + 1)
    done = [*rollbacks, {"at": error.step, "to": checkpoint.step, "rate": rate, "why": error.what}]
    if dist.rank() == 0:
        say(f"{error.what} at step {error.step}: going back to step {checkpoint.step}, learning rate x {rate:g}")
        save_checkpoint(keeping.checkpoint, replace(checkpoint, rollbacks=done))
        atomic_write_json(keeping.folder / run_files.ROLLBACKS, done)
    dist.wait_for_all()
    return done
