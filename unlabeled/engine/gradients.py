"""The size of the gradients while training: logged, and looked at to tell an explosion by its name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

EXPLODING = 100.0
"""So many times the usual norm is called an explosion."""
MEMORY = 0.9
"""How slowly the usual norm follows the windows' means."""


@torch.no_grad()
def gradient_norm(parameters: Iterable[nn.Parameter], largest: float | None) -> Tensor:
    """The 2-norm of all gradients together (0-d); those are scaled down to ``largest`` where it is smaller."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    if largest is not None:  # as torch.nn.utils.clip_grad_norm_, without a second pass for the norm
        torch._foreach_mul_(gradients, (largest / (norm + 1e-6)).clamp(max=1.0))
    return norm


def finite(parameters: Iterable[nn.Parameter]) -> bool:
    """Whether no weight is NaN or infinite."""
    norms = torch._foreach_norm([p.detach() for p in parameters])
    return bool(torch.isfinite(torch.stack([norm.float().cpu() for norm in norms])).all())


class GradientNorms:
    """Norms since the last row of ``metrics.csv``, kept on the device; and what is usual."""

    def __init__(self) -> None:
        self.total = self.largest = self.overflows = torch.zeros(())
        self.count = 0
        self.usual: float | None = None

    def add(self, norm: Tensor) -> None:
        """Take in the norm of a step; one that is not finite counts as an overflow."""
        norm = norm.detach().float()
        fits = torch.isfinite(norm)
        kept = torch.where(fits, norm, 0.0)
        self.count += 1
        if norm.device != self.total.device:
            self.total, self.largest, self.overflows = (
                x.to(norm.device) for x in (self.total, self.largest, self.overflows)
            )
        self.total = self.total + kept
        self.largest = torch.maximum(self.largest, kept)
        self.overflows = self.overflows + ~fits

    def explosion(self) -> str | None:
        """Say so if a norm since the last row was far above the usual."""
        largest = float(self.largest)
        if self.usual is None or not self.usual > 0 or largest <= EXPLODING * self.usual:
            return None
        return f"exploding gradients: a norm of {largest:.3g}, usual is {self.usual:.3g}"

    def close(self) -> dict[str, float]:
        """Mean and largest norm since the last call; steps whose gradients were not finite, if there were any."""
        overflows = float(self.overflows)
        kept = self.count - overflows
        row = {"grad_norm": float(self.total) / kept, "grad_norm_max": float(self.largest)} if kept else {}
        if overflows:
            row["overflows"] = overflows
        if row and math.isfinite(mean := row.get("grad_norm", math.nan)):
            self.usual = mean if self.usual is None else MEMORY * self.usual + (1 - MEMORY) * mean
        self.total = self.largest = self.overflows = torch.zeros(())
        self.count = 0
        return row

    def state(self) -> dict[str, Any]:
        """What resumption needs."""
        tensors = {name: getattr(self, name).cpu() for name in ("total", "largest", "overflows")}
        return {**tensors, "count": self.count, "usual": self.usual}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> GradientNorms:
        """The norms as they were when the checkpoint was written."""
        norms = cls()
        vars(norms).update(state)
        return norms
