"""A LightningModule around any method: everything random follows from (seed, step), every rank makes its share."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Protocol

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from unlabeled.backbones.layers import frozen_norms
from unlabeled.core import dist, rng
from unlabeled.engine.batches import Schedule
from unlabeled.engine.checkpoint import Checkpoint
from unlabeled.engine.gradients import gradient_norm
from unlabeled.engine.optim import OptimizerConfig, build_optimizer, learning_rate, weight_decay
from unlabeled.engine.recompute import InParts
from unlabeled.ssl.layerwise import layerwise
from unlabeled.ssl.method import Batch, Method, Step
from unlabeled.ssl.whole_batch import WholeBatchMethod


class MakesViews(Protocol):
    """Turns a uint8 batch into normalised views (``unlabeled.data.views.Views``)."""

    def __call__(
        self, images: Tensor, *, key: tuple[int | str, ...], first: int = 0, total: int | None = None
    ) -> list[Tensor]: ...


class Pretraining(pl.LightningModule):
    """Any method in Lightning's terms.

    Ranks are ours, not Lightning's: its strategies would start processes by running the user's script again, and
    talk to each other inside signal handlers. Each process is a Trainer of one device; DDP averages the gradients.

    Args:
        resumed: where to go on: its step and the optimiser's state are taken; the method has its weights already.
        rate_factor: multiplies every learning rate (lowered by roll-backs).
    """

    def __init__(
        self,
        method: Method,
        views: MakesViews,
        config: OptimizerConfig,
        schedule: Schedule,
        resumed: Checkpoint | None = None,
        rate_factor: float = 1.0,
    ) -> None:
        super().__init__()
        self.method, self.views, self.config, self.schedule = method, views, config, schedule
        self._undecayed = config.model_copy(update={"schedule": "constant"})
        self.rate_factor = rate_factor
        self.start = 0 if resumed is None else resumed.step
        self._optimizer_state = None if resumed is None else resumed.optimizer
        self.last_batch: Batch | None = None
        self.outputs: Mapping[str, Tensor] = {}
        self.norm = torch.zeros(())
        self._still = frozen_norms(method.backbone)
        parts = config.accumulate
        in_parts = InParts(method, parts) if isinstance(method, WholeBatchMethod) and parts > 1 else None
        # in lists, because the method is registered already
        self._network: list[nn.Module] = [in_parts or method]
        self._ranks: list[DistributedDataParallel] = []

    def step_at(self, first: int = 0) -> Step:
        """The optimiser step that is being made."""
        return self.schedule.step(self.start + self.trainer.global_step, first)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Build the optimiser and give it its state back on resume."""
        # fused steps undo the loss scale themselves, too late for the gradients' norm to be known
        fused = self.trainer.precision != "16-mixed"
        groups = layerwise(self.method.parameter_groups(), self.method.backbone, self.config.layer_decay)
        optimizer = build_optimizer(self.config, groups, fused=fused)
        if self._optimizer_state is not None:
            optimizer.load_state_dict(self._optimizer_state)
        return optimizer

    def on_train_start(self) -> None:
        """Connect the ranks; only now the parameters lie where they stay."""
        if dist.active():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # torch renames the argument; 2.13 knows the old name
                # buffers are the same on all ranks by construction, and the pseudo-labels among them are long
                self._ranks = [DistributedDataParallel(self._network[0], broadcast_buffers=False)]

    def disconnect(self) -> None:
        """Undo :meth:`on_train_start`: the method may be trained by another module."""
        self._ranks.clear()

    def learning_rate(self, step: int, constant: bool = False) -> float:
        """The base learning rate of an optimiser step; ``constant``: after the warm-up it stays as it is."""
        schedule, config = self.schedule, self._undecayed if constant else self.config
        return learning_rate(config, schedule.batch_size, step, schedule.per_epoch, schedule.total) * self.rate_factor

    def _follow_schedules(self, step: int) -> None:
        for group in self.trainer.optimizers[0].param_groups:
            # older checkpoints do not say it
            group["lr"] = self.learning_rate(step, group.get("constant_rate", False)) * group["lr_scale"]
            if self.config.weight_decay_end is not None and group["decayed"]:
                group["weight_decay"] = weight_decay(self.config, step, self.schedule.total)

    def training_step(self, batch: dict[str, Any], number: int) -> Tensor:
        """Augment on the device, run the method, hand the loss to Lightning."""
        step = self.step_at(first=batch["first"])
        self._follow_schedules(step.number)
        for norm in self._still:  # whoever read the backbone in between has switched its mode
            norm.eval()
        # dropout and stochastic depth draw from the global generator: make it a function of the step, too
        torch.manual_seed(rng.derive(step.seed, step.number, "module", step.first))
        self.method.before_step(step)
        views = self.views(
            batch["images"], key=(step.seed, step.number, "views"), first=step.first, total=step.batch_size
        )
        self.last_batch = Batch(views, batch["rows"], batch.get("labels"))
        if self._ranks:
            whole = (number + 1) % self.schedule.accumulate == 0
            with nullcontext() if whole else self._ranks[0].no_sync():
                self.outputs = self._ranks[0](self.last_batch, step)
        else:
            self.outputs = self._network[0](self.last_batch, step)
        return self.outputs["loss"]

    def on_after_backward(self) -> None:
        """Let the method drop gradients."""
        self.method.after_backward(self.step_at())

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Note the gradients' norm (after the loss scale was undone) and clip by it."""
        self.norm = gradient_norm(self.method.parameters(), self.config.clip)
