"""Optimisers and learning rates: LARS as published, the rest from torch, the schedule a function of the step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from unlabeled.core.config import Config
from unlabeled.core.schedules import cosine
from unlabeled.ssl.method import ParameterGroup


class OptimizerConfig(Config):
    """How the weights are updated."""

    name: Literal["sgd", "lars", "adam", "adamw"] = "sgd"
    lr: float = Field(0.1, gt=0, description="learning rate after warm-up; for the batch size of lr_batch")
    lr_batch: int | None = Field(
        None, ge=1, description="scale the learning rate by batch_size / lr_batch; default: take lr as it is"
    )
    weight_decay: float = Field(0.0, ge=0)
    weight_decay_end: float | None = Field(
        None, ge=0, description="weight decay at the end of training, reached along a cosine; default: it stays"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd and lars")
    nesterov: bool = Field(False, description="sgd")
    betas: Annotated[tuple[float, float], Field(strict=False)] = Field((0.9, 0.999), description="adam and adamw")
    trust: float = Field(0.001, gt=0, description="lars: trust coefficient")
    trust_clip: bool = Field(
        False, description="lars: the trust ratio takes the place of lr where it is smaller, instead of multiplying it"
    )
    schedule: Literal["cosine", "step", "constant", "infinite"] = "cosine"
    warmup_epochs: float = Field(0.0, ge=0, description="linear warm-up from lr_start, counted in steps")
    lr_start: float = Field(0.0, ge=0, description="where warm-up begins; for the batch size of lr_batch, as lr")
    lr_end: float = Field(
        0.0, ge=0, description="schedule=cosine: where it ends; for the batch size of lr_batch, as lr"
    )
    milestones: Annotated[tuple[float, ...], Field(strict=False)] = Field(
        (), description="schedule=step: fractions of training after which lr is multiplied by gamma"
    )
    gamma: float = Field(0.1, gt=0, le=1)
    cooldown_epochs: float = Field(0.0, ge=0, description="schedule=infinite: fall to the constant rate")
    floor: float = Field(0.25, gt=0, le=1, description="schedule=infinite: the constant rate over the highest")
    anneal_epochs: float = Field(
        0.0, ge=0, description="constant and infinite: at the end of training fall to zero, for a copy to publish"
    )
    clip: float | None = Field(None, gt=0, description="largest gradient norm")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="learning rate of a layer of the backbone over that of the one above"
    )
    accumulate: int = Field(1, ge=1, description="pass each batch through the network in this many parts")


def learning_rate(config: OptimizerConfig, batch_size: int, step: int, steps_per_epoch: int, total: int) -> float:
    """The learning rate of a step (0-based), before a group's own scale.

    Warm-up rises linearly and reaches the full rate at its last step; the cosine falls from there to its end. The
    infinite schedule (Singh et al. 2025, https://arxiv.org/abs/2503.02844, section 2) falls along a cosine to a
    constant rate that it keeps for as long as training goes on, so that more data may come at any time; annealing is
    for a copy.
    """
    per_batch = batch_size / config.lr_batch if config.lr_batch else 1.0
    start, peak, end = config.lr_start * per_batch, config.lr * per_batch, config.lr_end * per_batch
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total)
    if step < warmup:
        return (peak - start) * (step + 1) / warmup + start
    if config.schedule == "cosine":
        return cosine(peak, end, (step - warmup) / max(total - warmup, 1))
    if config.schedule == "step":
        return peak * config.gamma ** sum(step >= milestone * total for milestone in config.milestones)
    if config.schedule == "infinite":
        past = min((step - warmup) / max(round(config.cooldown_epochs * steps_per_epoch), 1), 1.0)
        peak *= cosine(1.0, config.floor, past)
    anneal = round(config.anneal_epochs * steps_per_epoch)
    return peak * min((total - step) / anneal, 1.0) if anneal else peak


def weight_decay(config: OptimizerConfig, step: int, total: int) -> float:
    """The weight decay of a step (0-based): a cosine from ``weight_decay`` to ``weight_decay_end``, if that is given.

    >>> weight_decay(OptimizerConfig(weight_decay=0.04, weight_decay_end=0.4), step=50, total=100)
    0.22
    """
    start, end = config.weight_decay, config.weight_decay_end
    if end is None:
        return start
    return cosine(start, end, step / max(total, 1))


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You 2017, arXiv:1708.03888), with SGD's momentum as in SimCLR.

    Per tensor: ``u = g + λw``; groups with ``adapt`` scale ``u`` by ``trust·‖w‖/‖u‖`` (1 where a norm is 0);
    ``v ← m·v + lr·u``; ``w ← w − v``. Biases and norm parameters belong into a group with ``adapt=False`` and
    no weight decay: their small norms would freeze them. The trust ratio applies whatever the weight decay is.
    With ``trust_clip`` the rate of a tensor is ``min(lr, trust·‖w‖/‖u‖)`` instead of their product, as in NVIDIA Apex's
    LARC and solo-learn: ``lr`` bounds what an untrained network with small gradients is moved by.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
        trust_clip: bool = False,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "adapt": True}
        self.trust_clip = trust_clip
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one update."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if not weights:
                continue
            updates: list[Tensor] = [p.grad for p in weights]
            if group["weight_decay"]:
                updates = list(torch._foreach_add(updates, weights, alpha=group["weight_decay"]))
            else:
                updates = [update.clone() for update in updates]
            if group["adapt"]:
                weight_norms = torch.stack(torch._foreach_norm(weights))
                update_norms = torch.stack(torch._foreach_norm(updates))
                usable = (weight_norms > 0) & (update_norms > 0)
                ratio = group["trust"] * weight_norms / update_norms
                if self.trust_clip:
                    ratio = (ratio / group["lr"]).clamp(max=1.0)
                ratio = torch.where(usable, ratio, 1.0)
                torch._foreach_mul_(updates, list(ratio.unbind()))
            torch._foreach_mul_(updates, group["lr"])
            for weight in weights:
                if "momentum" not in self.state[weight]:
                    self.state[weight]["momentum"] = torch.zeros_like(weight)
            velocities = [self.state[weight]["momentum"] for weight in weights]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, updates)
            torch._foreach_sub_(weights, velocities)
        return loss


def build_optimizer(
    config: OptimizerConfig, groups: Sequence[ParameterGroup], fused: bool = True
) -> torch.optim.Optimizer:
    """Create the optimiser; each torch group remembers what the schedules need to know of it."""
    params = [
        {
            "params": list(group.parameters),
            "weight_decay": config.weight_decay if group.weight_decay else 0.0,
            "decayed": group.weight_decay,
            "lr_scale": group.lr_scale,
            "constant_rate": group.constant_rate,
            **({"adapt": group.adapt} if config.name == "lars" else {}),
        }
        for group in groups
        if len(group.parameters)
    ]
    if config.name == "lars":
        return LARS(params, lr=config.lr, momentum=config.momentum, trust=config.trust, trust_clip=config.trust_clip)
    if config.name == "sgd":
        return torch.optim.SGD(params, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=fused)
    algorithm = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return algorithm(params, lr=config.lr, betas=config.betas, fused=fused)
