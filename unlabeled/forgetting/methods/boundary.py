"""Boundary unlearning: move the decision boundary over the forget set (Chen et al., CVPR 2023)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from unlabeled.core.device import send
from unlabeled.forgetting.classifier import Classifier
from unlabeled.forgetting.contract import ForgetData, Forgetter, need_labels
from unlabeled.forgetting.frame import Frame, TrainConfig
from unlabeled.forgetting.images import LabelledImages
from unlabeled.forgetting.training.supervised import train_classifier


class BoundaryShrinkConfig(TrainConfig):
    """Train the forget set towards its nearest other class."""

    epochs: int = Field(default=5, ge=1)
    lr: float = Field(default=1e-5, gt=0)
    epsilon: float = Field(default=0.1, gt=0, description="FGSM bound on pixels in [0, 1]")


class BoundaryShrink(Forgetter[BoundaryShrinkConfig]):
    """The nearest wrong class of each image is what one FGSM step across the boundary predicts."""

    name = "boundary_shrink"
    does = "each forget image to the class across its nearest boundary"
    Config = BoundaryShrinkConfig
    needs_labels = True
    needs_retain = False
    needs_head = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[BoundaryShrinkConfig]) -> Classifier:
        forget = need_labels(data.forget, self.name)
        nearest = nearest_classes(model, forget, frame.config.epsilon, frame.device)
        return train_classifier(model, forget.relabelled(nearest), frame, "boundary-shrink")


def nearest_classes(model: Classifier, forget: LabelledImages, epsilon: float, device: torch.device | str) -> Tensor:
    """For each image the likeliest class other than its own after ``x + ε sign(∇ₓ CE)``, in [0, 1], ``(N,)``."""
    model.eval()
    scale = forget.preprocess
    mean, std = (send(torch.tensor(v), device).view(1, -1, 1, 1) for v in (scale.mean, scale.std))
    black, white = -mean / std, (1 - mean) / std
    out: list[Tensor] = []
    for images, labels in forget.labelled_batches(256, device):
        images.requires_grad_(True)
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(images), labels), images)
        with torch.no_grad():
            logits = model((images + epsilon / std * gradient.sign()).clamp(black, white))
            logits.scatter_(1, labels[:, None], -torch.inf)
            out.append(logits.argmax(1))
    return torch.cat(out).cpu()


class BoundaryExpandConfig(TrainConfig):
    """Train the forget set towards an extra class, then cut that class off."""

    epochs: int = Field(default=5, ge=1)
    lr: float = Field(default=1e-5, gt=0)


class BoundaryExpand(Forgetter[BoundaryExpandConfig]):
    """An extra output, a shadow class, takes the forget set in; it is removed afterwards."""

    name = "boundary_expand"
    does = "an extra class takes the forget images in and is cut off"
    Config = BoundaryExpandConfig
    needs_labels = False
    needs_retain = False
    needs_head = True

    def _forget(self, model: Classifier, data: ForgetData, frame: Frame[BoundaryExpandConfig]) -> Classifier:
        classes = model.last_linear(self.name).out_features
        _resize(model, self.name, classes + 1, frame.device)
        model = train_classifier(model, data.forget.with_label(classes), frame, "boundary-expand")
        _resize(model, self.name, classes, frame.device)
        return model


def _resize(model: Classifier, who: str, outputs: int, device: torch.device | str) -> None:
    """Give the last linear layer ``outputs`` outputs, keeping the first ones; a new output starts at zero."""
    old = model.last_linear(who)
    new = nn.Linear(old.in_features, outputs, bias=old.bias is not None, device=device)
    common = min(outputs, old.out_features)
    with torch.no_grad():
        for target, source in ((new.weight, old.weight), (new.bias, old.bias)):
            if source is not None:
                target.zero_()
                target[:common] = source[:common]
    for parent in model.modules():
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)
