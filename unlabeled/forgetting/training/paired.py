"""The loop of the algorithms that walk a retain and a forget batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData
from unlabeled.forgetting.epochs import adam, train_epochs
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.images import Key, Rows, UnlabelledImages
from unlabeled.forgetting.training.stopping import rule_of

PairLoss = Callable[[Rows, Rows], Tensor]
"""From positions in the retain set and positions in the forget set to a loss."""


def walk_pairs(
    retain: UnlabelledImages, forget: UnlabelledImages, batch_size: int, key: Key, drop_last: bool = False
) -> Iterator[tuple[Rows, Rows]]:
    """Positions in both sets, over the whole *longer* set; the shorter starts again (newly shuffled) as often as
    needed. A pure function of ``key``.

    Args:
        drop_last: leave out the incomplete last batch of a set, as long as there is another.
    """
    count = max(len(retain), len(forget))
    pairs = max(count // batch_size, 1) if drop_last else -(-count // batch_size)

    def cycle(images: UnlabelledImages, name: str) -> Iterator[Rows]:
        lap = 0
        while True:
            yield from images.positions(batch_size, (*key, name, lap), drop_last)
            lap += 1

    retain_rows, forget_rows = cycle(retain, "retain"), cycle(forget, "forget")
    for _ in range(pairs):
        yield next(retain_rows), next(forget_rows)


def train_paired(
    model: Classifier,
    data: ForgetData,
    frame: Frame[TrainConfig],
    stage: str,
    loss_of: PairLoss,
    *,
    stop: Callable[[], bool] | None = None,
) -> None:
    """Train ``model`` in place on the pairs of :func:`walk_pairs`, until its stopping rule ends it.

    Args:
        loss_of: the loss of one pair, computed with ``model``.
        stop: asked after each epoch.
    """

    config = frame.config

    def losses(number: int) -> Iterator[Tensor]:
        for rows in walk_pairs(data.retain, data.forget, config.batch_size, frame.key(stage, number)):
            yield loss_of(*rows)

    optimiser = adam(model.parameters(), config.lr, config.weight_decay)
    rule = rule_of(model, data, frame)
    train_epochs(stage, config.epochs, model, optimiser, losses, frame.checkpoint, stop, rule)
