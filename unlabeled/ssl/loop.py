"""The one training loop: a LightningModule around any method, and the trainer that runs it exactly resumably."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from unlabeled.core import dist, rng
from unlabeled.core.errors import Diverged, Interrupted
from unlabeled.core.progress import progress, say
from unlabeled.ssl.batches import BatchStream, LabelledImages, Schedule, Shuffled
from unlabeled.ssl.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from unlabeled.ssl.method import Batch, Method, Step
from unlabeled.ssl.metrics import MetricsFile, Window
from unlabeled.ssl.optim import OptimizerConfig, build_optimizer, learning_rate
from unlabeled.ssl.tuning import tune

# which hardware is used stands in environment.json; Lightning's own lines would tear the progress bar
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


class MakesViews(Protocol):
    """Turns a uint8 batch into normalised views (``unlabeled.data.views.Views``)."""

    def __call__(
        self, images: Tensor, *, key: tuple[int | str, ...], first: int = 0, total: int | None = None
    ) -> list[Tensor]: ...


Observer = Callable[[Method, Batch, Step], Mapping[str, float]]
"""Looks at the method after an epoch (health, pictures) and returns numbers worth logging."""


@dataclass(frozen=True)
class Hardware:
    """Where training runs, in Lightning's words."""

    accelerator: str = "auto"
    devices: int | str = 1
    nodes: int = 1
    strategy: str = "auto"
    precision: Precision = "32-true"
    compile: bool = False


@dataclass
class Keeping:
    """What is written while training, and how often."""

    folder: Path
    log_every: int = 20
    save_seconds: float = 60.0
    observe_every: int = 1
    loggers: Sequence[Logger] = field(default_factory=list)


def best_precision(accelerator: str) -> Precision:
    """bfloat16 where the hardware multiplies it natively (recent GPUs, CPUs with AMX), else float32."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "bf16-mixed" if torch.cpu._is_amx_tile_supported() else "32-true"


class Pretraining(pl.LightningModule):
    """Any method in Lightning's terms; everything random follows from (seed, step)."""

    def __init__(self, method: Method, views: MakesViews, config: OptimizerConfig, schedule: Schedule) -> None:
        super().__init__()
        self.method, self.views, self.config, self.schedule = method, views, config, schedule
        self.start = 0
        self.optimizer_state: dict[str, Any] | None = None
        self.last_batch: Batch | None = None
        self.outputs: Mapping[str, Tensor] = {}

    def step_at(self, first: int = 0) -> Step:
        """The optimiser step that is being made."""
        return self.schedule.step(self.start + self.trainer.global_step, first)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimiser and give it its state back on resume."""
        optimizer = build_optimizer(self.config, self.method.parameter_groups())
        if self.optimizer_state is not None:
            optimizer.load_state_dict(self.optimizer_state)
        return optimizer

    def learning_rate(self, step: int) -> float:
        """The base learning rate of an optimiser step."""
        schedule = self.schedule
        return learning_rate(self.config, schedule.batch_size, step, schedule.per_epoch, schedule.total)

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        """Augment on the device, run the method, hand the loss to Lightning."""
        step = self.step_at(first=batch["first"])
        rate = self.learning_rate(step.number)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate * group["lr_scale"]
        # dropout and stochastic depth draw from the global generator: make it a function of the step, too
        torch.manual_seed(rng.derive(step.seed, step.number, "module", step.first))
        self.method.before_step(step)
        views = self.views(
            batch["images"], key=(step.seed, step.number, "views"), first=step.first, total=step.batch_size
        )
        self.last_batch = Batch(views, batch["rows"], batch.get("labels"))
        self.outputs = self.method(self.last_batch, step)
        return self.outputs["loss"]

    def on_after_backward(self) -> None:
        """Let the method drop gradients."""
        self.method.after_backward(self.step_at())


class _Keeper(pl.Callback):
    """Logs, watches, saves and stops; the only part that touches files."""

    def __init__(self, module: Pretraining, keeping: Keeping, window: Window, observer: Observer | None) -> None:
        self.module, self.keeping, self.window, self.observer = module, keeping, window, observer
        self.metrics = MetricsFile(keeping.folder / "metrics.csv", module.start)
        self.stop_signal: str | None = None
        self.saved_at = self.window_at = time.monotonic()
        self.saved_step = module.start
        self.tick: Any = None

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        schedule, done = self.module.schedule, self.module.start + trainer.global_step
        self.window.add(self.module.outputs)
        if done == self.window.last_step:
            return  # a part of an accumulated batch
        self.window.last_step = done
        assert self.module.last_batch is not None
        self.module.method.after_step(schedule.step(done))
        epoch_ends = done % schedule.per_epoch == 0
        if done % self.keeping.log_every == 0 or epoch_ends or self.window.due():
            self._check(done)
        info = f"epoch {min(done // schedule.per_epoch + 1, schedule.epochs)}/{schedule.epochs}"
        self.tick(1, f"{info}  loss {self.window.shown:.4f}")
        if done % self.keeping.log_every == 0 or epoch_ends:
            self._log(done)
        epoch = done // schedule.per_epoch
        if epoch_ends and self.observer and (epoch % self.keeping.observe_every == 0 or epoch == schedule.epochs):
            self._observe(done)
        if self.stop_signal or time.monotonic() - self.saved_at > self.keeping.save_seconds:
            self.save(done)
        if self.stop_signal:
            trainer.should_stop = True

    def _check(self, done: int) -> None:
        bad = self.window.first_bad()
        if bad is not None:
            raise Diverged(
                f"the loss became {bad[1]} at step {bad[0]}; the last good checkpoint (step {self.saved_step}) is kept "
                f"in {self.keeping.folder}. Likely causes: optimizer.lr too high, too short a warm-up "
                "(optimizer.warmup_epochs), half precision (precision=32-true), or broken images."
            )

    def _log(self, done: int) -> None:
        means = self.window.close()
        now = time.monotonic()
        steps, self.window_at, before = self.window.steps_closed, now, self.window_at
        row = {"lr": self.module.learning_rate(done - 1), **means}
        if steps:
            row["images_per_second"] = steps * self.module.schedule.batch_size / max(now - before, 1e-9)
        self._write(done, row)
        schedule = self.module.schedule
        step = schedule.step(done - 1)
        warning = self.module.method.warnings(means, step) if done % schedule.per_epoch == 0 else None
        if warning:
            say(f"warning: {warning}")

    def _write(self, done: int, row: Mapping[str, float]) -> None:
        if dist.rank() == 0:
            self.metrics.append(done, done / self.module.schedule.per_epoch, row)
            for logger in self.keeping.loggers:
                logger.log_metrics({k: float(v) for k, v in row.items()}, step=done)

    def _observe(self, done: int) -> None:
        schedule, batch = self.module.schedule, self.module.last_batch
        assert self.observer is not None
        assert batch is not None
        step = schedule.step(done - 1)
        training = self.module.training
        self.module.eval()
        row = self.observer(self.module.method, batch, step)
        self.module.train(training)
        self.window_at = time.monotonic()
        if row:
            self._write(done, row)

    def save(self, done: int) -> None:
        """Write the checkpoint; everything resumption needs is in it."""
        self._check(done)
        self.saved_at, self.saved_step = time.monotonic(), done
        if dist.rank() == 0:
            save_checkpoint(
                self.keeping.folder / "checkpoints" / "last.ckpt",
                Checkpoint(
                    step=done,
                    total=self.module.schedule.total,
                    per_epoch=self.module.schedule.per_epoch,
                    method=self.module.method.state_dict(),
                    optimizer=self.module.trainer.optimizers[0].state_dict(),
                    window=self.window.state(),
                    scaler=self.module.trainer.precision_plugin.state_dict(),
                ),
            )


@contextmanager
def _asked_to_stop(keeper: _Keeper) -> Iterator[None]:
    def handle(number: int, _: Any) -> None:
        if keeper.stop_signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        keeper.stop_signal = signal.Signals(number).name
        say(f"{keeper.stop_signal}: finishing the step and saving …")

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


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
) -> int:
    """Train ``method`` in place and leave a checkpoint; return the number of optimiser steps done in all.

    Args:
        max_steps: end early after this many steps (a dry run writes no checkpoint).

    Raises:
        Interrupted: SIGINT or SIGTERM arrived; the state was saved.
        Diverged: the loss became NaN or infinite; the last checkpoint is from before.
    """
    sampler = method.sampler(batch_size) or Shuffled(len(images), batch_size)
    schedule = Schedule(epochs, sampler.batches_per_epoch(), batch_size, config.accumulate, seed)
    module = Pretraining(method, views, config, schedule)
    window = Window()
    if resume:
        checkpoint = load_checkpoint(keeping.folder / "checkpoints" / "last.ckpt", schedule.total, schedule.per_epoch)
        method.load_state_dict(checkpoint.method)
        module.optimizer_state, module.start = checkpoint.optimizer, checkpoint.step
        window = Window.from_state(checkpoint.window)
    if module.start >= schedule.total:
        return schedule.total
    keeper = _Keeper(module, keeping, window, observer)
    trainer = pl.Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy=hardware.strategy,
        precision=hardware.precision,
        max_epochs=1,
        max_steps=max_steps if max_steps is not None else -1,
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.clip,
        sync_batchnorm=hardware.devices != 1 or hardware.nodes > 1,
        callbacks=[keeper],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=keeping.folder,
    )
    tune(method, trainer.strategy.root_device, half="16" in hardware.precision, compiled=hardware.compile)
    if resume and checkpoint.scaler:
        trainer.precision_plugin.load_state_dict(checkpoint.scaler)
    stream = BatchStream(images, sampler, schedule, module.start, method.needs_labels)
    with (
        _asked_to_stop(keeper),
        # Lightning raises this after a SIGTERM; by then the keeper has saved
        suppress(SIGTERMException),
        progress("pretraining", schedule.total, module.start, unit="step") as keeper.tick,
    ):
        trainer.fit(module, train_dataloaders=stream)
    done = module.start + trainer.global_step
    if keeper.stop_signal:
        raise Interrupted(f"stopped by {keeper.stop_signal} after step {done} of {schedule.total}")
    if max_steps is None:
        keeper.save(done)
    return done
