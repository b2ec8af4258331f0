"""The loop of the algorithms that walk a retain and a forget batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, TrainConfig
from unlabeled.forgetting.epochs import Checkpoint, adam, train_epochs
from unlabeled.forgetting.images import Rows, UnlabelledImages

PairLoss = Callable[[Rows, Rows], Tensor]
"""From positions in the retain set and positions in the forget set to a loss."""


def walk_pairs(
    retain: UnlabelledImages, forget: UnlabelledImages, batch_size: int, key: tuple[int | str, ...]
) -> Iterator[tuple[Rows, Rows]]:
    """Positions in both sets, over the whole *longer* set; the shorter starts again (newly shuffled) as often as
    needed. A pure function of ``key``.
    """
    pairs = max(-(-len(retain) // batch_size), -(-len(forget) // batch_size))

    def cycle(images: UnlabelledImages, name: str) -> Iterator[Rows]:
        lap = 0
        while True:
            yield from images.positions(batch_size, (*key, name, lap))
            lap += 1

    keeps, leaves = cycle(retain, "retain"), cycle(forget, "forget")
    for _ in range(pairs):
        yield next(keeps), next(leaves)


def train_paired(
    model: Classifier,
    data: ForgetData,
    config: TrainConfig,
    loss_of: PairLoss,
    *,
    seed: int,
    stage: str,
    checkpoint: Checkpoint,
    mask: dict[str, Tensor] | None = None,
    stop: Callable[[], bool] | None = None,
) -> None:
    """Train ``model`` in place on the pairs of :func:`walk_pairs`.

    Args:
        loss_of: the loss of one pair, computed with ``model``.
        mask: 0/1 tensors by parameter name; a parameter moves only where its mask is 1.
        stop: asked after each epoch.
    """

    def losses(number: int) -> Iterator[Tensor]:
        for keep, leave in walk_pairs(data.retain, data.forget, config.batch_size, ("forgetting", stage, seed, number)):
            yield loss_of(keep, leave)

    masked = [] if mask is None else [(parameter, mask[name]) for name, parameter in model.named_parameters()]
    # Adam adds weight decay to the gradient after the hook, where no mask can hold it.
    optimiser = adam(model.parameters(), config.lr, config.weight_decay if mask is None else 0.0)

    @torch.no_grad()
    def hold(*_: object) -> None:
        for parameter, allowed in masked:
            if parameter.grad is not None:
                parameter.grad.add_(parameter, alpha=config.weight_decay).mul_(allowed)

    optimiser.register_step_pre_hook(hold)
    train_epochs(stage, config.epochs, model, optimiser, losses, checkpoint, stop)


def wrong_labels(labels: Tensor, classes: int, generator: np.random.Generator) -> Tensor:
    """For each label another one of the ``classes``, uniformly."""
    shift = torch.from_numpy(generator.integers(1, max(classes, 2), len(labels)))
    return (labels + shift) % classes
