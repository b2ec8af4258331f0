"""SalUn: random labels, but only the weights that matter to the forget set move (Fan et al., ICLR 2024)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, TrainConfig, need_labels
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.forgetting.images import LabelledImages
from unlabeled.forgetting.methods.random_label import relabel_and_train


class SalUnConfig(TrainConfig):
    """Random-label training through a saliency mask."""

    epochs: int = 1
    keep: float = Field(default=0.5, gt=0, le=1, description="share of all weights that may move")


class SalUn(Forgetter):
    """Mask = the ``keep`` share of weights with the largest ``|Σ ∇CE|`` on the forget set; then random labels."""

    name = "salun"
    Config = SalUnConfig
    needs_labels = True
    needs_head = True

    def __init__(self, config: SalUnConfig | None = None) -> None:
        self.config: SalUnConfig = config or SalUnConfig()

    def _forget(
        self, model: Classifier, data: ForgetData, seed: int, device: torch.device | str, checkpoint: Checkpoint
    ) -> Classifier:
        mask = saliency_mask(model, need_labels(data.forget, self.name), self.config.keep, device)
        return relabel_and_train(model, data, self.config, seed, device, checkpoint, self.name, mask)


def saliency_mask(
    model: Classifier, forget: LabelledImages, keep: float, device: torch.device | str
) -> dict[str, Tensor]:
    """0/1 tensors by parameter name: 1 at the ``keep`` share of weights whose summed gradient is largest."""
    model.eval()
    model.zero_grad()
    for images, labels in forget.labelled_batches(256, device):
        torch.autograd.backward(F.cross_entropy(model(images), labels, reduction="sum"))
    saliency = {n: (torch.zeros_like(p) if p.grad is None else p.grad.abs()) for n, p in model.named_parameters()}
    model.zero_grad()
    # By rank, not by a threshold: dead units have gradients of 0, and all of them would pass a threshold of 0.
    everything = torch.cat([s.flatten() for s in saliency.values()])
    mask = torch.zeros_like(everything)
    mask[everything.argsort(descending=True, stable=True)[: max(1, round(keep * len(mask)))]] = 1
    parts = torch.split(mask, [s.numel() for s in saliency.values()])
    return {name: part.view_as(s) for (name, s), part in zip(saliency.items(), parts, strict=True)}
