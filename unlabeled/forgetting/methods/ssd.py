"""Selective synaptic dampening (Foster et al., AAAI 2024) and its label-free form (Loss-Free SSD, Foster 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, need_labels
from unlabeled.forgetting.frame import ForgetterConfig, Frame
from unlabeled.forgetting.images import UnlabelledImages
from unlabeled.forgetting.training.agreement import ENOUGH, Agreement


class SSDConfig(ForgetterConfig):
    """Dampen where the forget set matters ``alpha`` times more than all data do."""

    tunes = (("alpha", 1.1, 100.0),)

    alpha: float | None = Field(
        default=None,
        gt=0,
        description="selection: I_forget > alpha * I_all (released: 10); None: the smallest that leaves 99 % of the "
        "answers on retain images as they are",
    )
    dampening: float = Field(default=1.0, gt=0, description="lambda: weights shrink by lambda * I_all / I_forget")
    batch_size: int = Field(default=32, ge=1)


Importance = list[Tensor]


def importances(model: Classifier, losses: Iterable[Tensor], power: int) -> tuple[Importance, int]:
    """Sum over batches of ``|∇ loss| ** power`` for each parameter, and the number of batches."""
    parameters = list(model.parameters())
    total = [torch.zeros_like(p) for p in parameters]
    count = 0
    for loss in losses:
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for sum_, gradient in zip(total, gradients, strict=True):
            if gradient is not None:
                sum_ += gradient.abs() if power == 1 else gradient.square()
        count += 1
    return total, count


@torch.no_grad()
def dampen(model: Classifier, forget: Importance, everything: Importance, alpha: float, dampening: float) -> int:
    """θ ← θ · min(λ I_D / I_f, 1) where I_f > α I_D (SSD, eq. 4 and 5); return how many weights were selected."""
    selected: list[Tensor] = []
    for parameter, important, general in zip(model.parameters(), forget, everything, strict=True):
        chosen = important > alpha * general
        factor = (dampening * general / important.clamp_min(torch.finfo(important.dtype).tiny)).clamp_max(1)
        parameter.copy_(torch.where(chosen, parameter * factor, parameter))
        selected.append(chosen.sum())
    return int(torch.stack(selected).sum())


ALPHAS = (100.0, 50.0, 20.0, 10.0, 7.0, 5.0, 4.0, 3.0, 2.0, 1.5, 1.2, 1.1)
"""What is tried, from the mildest on."""


def smallest_alpha(
    model: Classifier,
    retain: UnlabelledImages,
    forget: Importance,
    everything: Importance,
    frame: Frame[SSDConfig],
) -> float:
    """The smallest of :data:`ALPHAS` whose dampening leaves the network as it was on retain images.

    That is: at most 1 % of them get another answer, or, where there is no head, their embeddings keep a cosine of .99
    to the original's on average. Neither labels nor forget images nor a retrained network are looked at.
    """
    agreement, chosen = Agreement(model, retain, frame.device, "ssd", frame.seed), ALPHAS[0]
    for alpha in ALPHAS:
        trial = model.copy()
        dampen(trial, forget, everything, alpha, frame.config.dampening)
        if not agreement(trial) >= ENOUGH:  # NaN is no agreement
            break
        chosen = alpha
    return chosen


def _run(
    model: Classifier,
    retained: UnlabelledImages,
    frame: Frame[SSDConfig],
    losses: Sequence[Callable[[], Iterable[Tensor]]],
    power: int,
) -> Classifier:
    """``losses``: those of the retain batches, then those of the forget batches."""
    model.eval()
    (retain, n_retain), (forget, n_forget) = (importances(model, each(), power) for each in losses)
    everything = [(r + f) / (n_retain + n_forget) for r, f in zip(retain, forget, strict=True)]
    special = [f / n_forget for f in forget]
    alpha = frame.config.alpha or smallest_alpha(model, retained, special, everything, frame)
    dampen(model, special, everything, alpha, frame.config.dampening)
    return model


class SSD(Forgetter[SSDConfig]):
    """Importances are the mean squared gradients of cross-entropy (the diagonal of the Fisher information)."""

    name = "ssd"
    does = "dampens weights by their Fisher information"
    Config = SSDConfig
    needs_labels = True
    needs_head = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[SSDConfig]) -> Classifier:
        sets = [need_labels(images, self.name) for images in (data.retain, data.forget)]

        def losses(index: int) -> Iterable[Tensor]:
            for images, labels in sets[index].labelled_batches(frame.config.batch_size, frame.device):
                yield F.cross_entropy(model(images), labels)

        return _run(model, data.retain, frame, [lambda: losses(0), lambda: losses(1)], power=2)


class LFSSD(Forgetter[SSDConfig]):
    """Importances are the mean absolute gradients of the outputs' norm ``‖f(x)‖²``: no label is read.

    Without a head the outputs are the embeddings.
    """

    name = "lfssd"
    does = "dampens weights that matter to the forget images, measured by the outputs' norm"
    Config = SSDConfig

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[SSDConfig]) -> Classifier:
        sets = [data.retain, data.forget]

        def losses(index: int) -> Iterable[Tensor]:
            for images in sets[index].batches(frame.config.batch_size, frame.device):
                yield model(images).square().sum(1).mean()

        return _run(model, data.retain, frame, [lambda: losses(0), lambda: losses(1)], power=1)
