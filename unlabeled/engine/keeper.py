"""What is written while training, and when it ends early: rows, checkpoints, signals, divergence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger

from unlabeled.core import dist, run_files
from unlabeled.core.errors import Diverged
from unlabeled.core.progress import Tick, progress, say, unseen
from unlabeled.engine.checkpoint import Checkpoint, Rollback, save_checkpoint
from unlabeled.engine.gradients import finite
from unlabeled.engine.metrics import MetricsFile, Window
from unlabeled.engine.module import Pretraining
from unlabeled.engine.stopping import Stopping
from unlabeled.ssl.method import Batch, Method, Step

SMALLEST_SCALE = 1.0
"""A loss scale below this does not help: the gradients overflow float16 by themselves."""

Observer = Callable[[Method, Batch, Step], Mapping[str, float]]
"""Looks at the method after an epoch (health, pictures) and returns numbers worth logging."""


@dataclass
class Keeping:
    """What is written while training, and how often."""

    folder: Path
    log_every: int = 20
    save_seconds: float = 60.0
    observe_every: int = 1
    loggers: Sequence[Logger] = field(default_factory=list)
    rollback: bool = False
    """Also keep the state at the beginning of the epoch, to go back to when training diverges."""

    @property
    def checkpoint(self) -> Path:
        """The state that a resumed training starts from."""
        return self.folder / run_files.LAST_CHECKPOINT

    @property
    def epoch_checkpoint(self) -> Path:
        """The state at the beginning of the epoch."""
        return self.folder / run_files.EPOCH_CHECKPOINT


class Keeper(pl.Callback):
    """Logs, watches, saves and stops; the only part that touches files, and only on rank 0.

    What all ranks must do together (save, stop, give up) they vote on after every step.
    """

    def __init__(
        self,
        module: Pretraining,
        keeping: Keeping,
        window: Window,
        observer: Observer | None,
        rollbacks: Sequence[Rollback] = (),
    ) -> None:
        self.module, self.keeping, self.window, self.observer = module, keeping, window, observer
        self.rollbacks = list(rollbacks)
        self.metrics = MetricsFile(keeping.folder / run_files.METRICS, module.start) if dist.rank() == 0 else None
        self.saved_at = self.window_at = time.monotonic()
        self.saved_step = module.start
        self.stopping = Stopping(lambda: self.saved_step)
        self._tick: Tick = unseen

    @contextmanager
    def showing(self, title: str) -> Iterator[None]:
        """Show progress while training goes on."""
        with progress(title, self.module.schedule.total, self.module.start, unit="step") as self._tick:
            yield

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take the signals over from Lightning, which would not ask the other ranks."""
        self.stopping.listen()
        if self.keeping.rollback and self.module.start % self.module.schedule.per_epoch == 0:
            self._write_checkpoint(self.module.start, self.keeping.epoch_checkpoint)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        schedule, done = self.module.schedule, self.module.start + trainer.global_step
        part = done == self.window.last_step  # of an accumulated batch
        self.window.add(self.module.outputs, done + part)
        if part:
            return
        self.window.last_step = done
        self.window.norms.add(self.module.norm)
        self.module.method.after_step(schedule.step(done))
        epoch_ends = done % schedule.per_epoch == 0
        logs = done % self.keeping.log_every == 0 or epoch_ends
        problem = self._look(done) if logs or self.window.due() else None
        overdue = time.monotonic() - self.saved_at > self.keeping.save_seconds
        bad, stop, save = dist.votes([problem is not None, self.stopping.signal is not None, overdue])
        if bad:
            self._give_up(problem)
        info = f"epoch {min(done // schedule.per_epoch + 1, schedule.epochs)}/{schedule.epochs}"
        self._tick(1, f"{info}  loss {self.window.shown:.4f}")
        if logs:
            self._log(done)
        epoch = done // schedule.per_epoch
        if epoch_ends and self.observer and (epoch % self.keeping.observe_every == 0 or epoch == schedule.epochs):
            self._observe(done)
        if save or stop or (epoch_ends and self.keeping.rollback):
            self.save(done)
        if stop:
            self.stopping.signal = self.stopping.signal or "a signal to another rank"
            trainer.should_stop = True

    def _look(self, done: int) -> tuple[int, str] | None:
        """The first step since the last look at which something became unusable, and what."""
        bad = self.window.first_bad()
        if bad is not None:
            explosion = self.window.norms.explosion()
            return (bad[0], f"{bad[1]}, after {explosion},") if explosion else bad
        scale = self._loss_scale()
        if scale is None and not self.module.norm.isfinite():
            return done, "the gradients became infinite (exploding gradients: the loss itself was still finite)"
        if scale is not None and scale < SMALLEST_SCALE:
            return done, f"the loss scale fell to {scale:.3g} (loss-scale overflow: the gradients do not fit float16)"
        return None

    def _loss_scale(self) -> float | None:
        scaler = getattr(self.module.trainer.precision_plugin, "scaler", None)
        return None if scaler is None else float(scaler.get_scale())

    def _give_up(self, problem: tuple[int, str] | None) -> None:
        """Raise what the ranks found first.

        Raises:
            Diverged: always.
        """
        step, what = min(found for found in dist.everyone(problem) if found is not None)
        kept = f"the last good checkpoint (step {self.saved_step}) is kept in {self.keeping.folder}"
        if not self.keeping.checkpoint.is_file():
            kept = "it was before the first checkpoint, so nothing of it is kept (start again with --overwrite)"
        raise Diverged(
            f"{what} at step {step}; {kept}. Likely causes: optimizer.lr too high, too short a warm-up "
            "(optimizer.warmup_epochs), half precision (hardware.precision=32-true), or broken images; "
            "optimizer.clip bounds the gradients, on_divergence=rollback goes on with a lower rate.",
            step=step,
            what=what,
        )

    def _log(self, done: int) -> None:
        schedule = self.module.schedule
        explosion, scale = self.window.norms.explosion(), self._loss_scale()
        means = self.window.close()
        now = time.monotonic()
        steps, self.window_at, before = self.window.steps_closed, now, self.window_at
        row = {"lr": self.module.learning_rate(done - 1), **means}
        if scale is not None:
            row["loss_scale"] = scale
        if self.rollbacks:
            row["rollbacks"] = len(self.rollbacks)
        if steps:
            row["images_per_second"] = steps * schedule.batch_size / max(now - before, 1e-9)
        self._write(done, row)
        if done % schedule.per_epoch == 0:
            warning = self.module.method.warnings(means, schedule.step(done - 1))
            if warning:
                self._say(f"warning: {warning}")
        if explosion:
            self._say(f"warning: {explosion} (before step {done}); lower optimizer.lr or set optimizer.clip")

    def _say(self, message: str) -> None:
        if dist.rank() == 0:
            say(message)

    def _write(self, done: int, row: Mapping[str, float]) -> None:
        if self.metrics is not None:
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
        """Write the checkpoint; everything resumption needs is in it. All ranks must come here together."""
        problem = self._look(done)
        if problem is None and not finite(self.module.method.parameters()):
            problem = done, "the weights became infinite (exploding gradients: the loss itself was still finite)"
        if dist.votes([problem is not None])[0]:
            self._give_up(problem)
        self._write_checkpoint(done, self.keeping.checkpoint)
        self.saved_at, self.saved_step = time.monotonic(), done
        if self.keeping.rollback and done % self.module.schedule.per_epoch == 0:
            self._write_checkpoint(done, self.keeping.epoch_checkpoint)

    def _write_checkpoint(self, done: int, path: Path) -> None:
        schedule, trainer = self.module.schedule, self.module.trainer
        checkpoint = Checkpoint(
            step=done,
            total=schedule.total,
            per_epoch=schedule.per_epoch,
            method=self.module.method.state_dict(),
            optimizer=trainer.optimizers[0].state_dict(),
            window=self.window.state(),
            scaler=trainer.precision_plugin.state_dict(),
            rollbacks=self.rollbacks,
        )
        if self.metrics is not None:
            self.metrics.must_be_there()
            save_checkpoint(path, checkpoint)
