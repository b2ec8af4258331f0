"""Methods whose loss compares all images of a batch: first what is compared, then the comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from unlabeled.ssl.method import Batch, Method, Step


class WholeBatchMethod(Method):
    """A method in two stages, so that a batch may pass the network in parts and be compared as a whole.

    ``optimizer.accumulate`` then costs a second forward pass and gives the loss of the whole batch (GradCache, Gao,
    Zhang, Han and Callan 2021, https://arxiv.org/abs/2101.06983); only BatchNorm sees the parts one by one.
    """

    accumulates = False

    def represent(self, batch: Batch, step: Step) -> Tensor:
        """What is compared, ``(B, …)``: row i is made of the views of image i alone (BatchNorm aside)."""
        raise NotImplementedError

    def compare(self, representations: Tensor, batch: Batch, step: Step) -> dict[str, Tensor]:
        """The loss of this rank's ``(B, …)`` representations, as ``forward`` returns it; ``batch`` has the labels."""
        raise NotImplementedError

    def forward(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Both stages."""
        return self.compare(self.represent(batch, step), batch, step)


def each_view(network: Callable[[Tensor], Tensor], views: Sequence[Tensor]) -> Tensor:
    """Views one after the other, so that BatchNorm sees each by itself: ``(B, V, dim)``."""
    return torch.stack([network(view) for view in views], dim=1)


@torch.no_grad()
def spread(z: Tensor) -> Tensor:
    """How far unit vectors differ: their standard deviation times ``sqrt(dim)``; 1 when spread evenly, 0 in collapse.

    >>> float(spread(torch.ones(4, 3)))
    0.0
    """
    unit = nn.functional.normalize(z.detach().float(), dim=-1).flatten(0, -2)
    found: Tensor = unit.std(dim=0, correction=0).mean() * z.shape[-1] ** 0.5
    return found


COLLAPSED = 0.05
"""A spread below this says that all images are (almost) one point to the head."""


def collapse(logged: Mapping[str, float], name: str, remedy: str) -> str | None:
    """The sentence for a logged ``spread`` that has gone to zero."""
    value = logged.get("spread", 1.0)
    if value >= COLLAPSED:
        return None
    return f"{name} has collapsed: all images get the same projection (spread {value:.3f}, healthy: near 1); {remedy}."
