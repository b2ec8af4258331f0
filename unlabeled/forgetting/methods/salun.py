"""SalUn: random labels, but only the weights that matter to the forget set move (Fan et al., ICLR 2024)."""

from __future__ import annotations

import torch
from pydantic import AliasChoices, Field
from torch import Tensor
from torch.nn import functional as F

from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, need_labels
from unlabeled.forgetting.frame import Frame, StoppingConfig
from unlabeled.forgetting.images import LabelledImages
from unlabeled.forgetting.training.relabel import relabel_and_train


class SalUnConfig(StoppingConfig):
    """Random-label training through a saliency mask."""

    epochs: int = 1
    salient: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="share of all weights that may move",
        validation_alias=AliasChoices("salient", "keep"),  # its name in older records and scripts
    )


class SalUn(Forgetter[SalUnConfig]):
    """Mask = the ``salient`` share of weights with the largest ``|Σ ∇CE|`` on the forget set; then random labels."""

    name = "salun"
    does = "random labels, through a mask of salient weights"
    Config = SalUnConfig
    needs_labels = True
    needs_head = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[SalUnConfig]) -> Classifier:
        mask = saliency_mask(model, need_labels(data.forget, self.name), frame.config.salient, frame.device)
        return relabel_and_train(model, data, frame, self.name, mask)


def saliency_mask(
    model: Classifier, forget: LabelledImages, share: float, device: torch.device | str
) -> dict[str, Tensor]:
    """0/1 tensors by parameter name: 1 at the share ``share`` of weights whose summed gradient is largest."""
    model.eval()
    model.zero_grad()
    for images, labels in forget.labelled_batches(256, device):
        torch.autograd.backward(F.cross_entropy(model(images), labels, reduction="sum"))
    saliency = {n: (torch.zeros_like(p) if p.grad is None else p.grad.abs()) for n, p in model.named_parameters()}
    model.zero_grad()
    # By rank, not by a threshold: dead units have gradients of 0, and all of them would pass a threshold of 0.
    everything = torch.cat([s.flatten() for s in saliency.values()])
    mask = torch.zeros_like(everything)
    mask[everything.argsort(descending=True, stable=True)[: max(1, round(share * len(mask)))]] = 1
    parts = torch.split(mask, [s.numel() for s in saliency.values()])
    return {name: part.view_as(s) for (name, s), part in zip(saliency.items(), parts, strict=True)}
