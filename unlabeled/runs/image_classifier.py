"""From images to classes: a backbone and the classifier that was trained on it, opened together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unlabeled import backbones
from unlabeled.backbones import Backbone
from unlabeled.core.device import chosen
from unlabeled.core.errors import UserError
from unlabeled.core.words import command
from unlabeled.runs.classifier import load_classifier
from unlabeled.runs.models import backbone_folder


class ImageClassifier(nn.Module):
    """A backbone, one linear layer over its embedding, and the names of the classes.

    Args:
        backbone: images to ``(B, D)``.
        head: ``(B, D)`` to ``(B, K)`` logits.
        classes: the K names; their numbers where they have none.
    """

    def __init__(self, backbone: Backbone, head: nn.Linear, classes: Sequence[str] = ()) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        named = len(classes) == head.out_features
        self.classes = tuple(classes) if named else tuple(map(str, range(head.out_features)))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images ``(B, C, H, W)`` to logits ``(B, K)``."""
        logits: Tensor = self.head(self.backbone(images))
        return logits

    @torch.inference_mode()
    def probabilities(self, images: Any, batch_size: int = 256) -> Tensor:
        """``(B, K)`` float32 on the CPU, of what :meth:`Backbone.embed` takes."""
        embedding = self.backbone.embed(images, batch_size).to(self.head.weight.device)
        found: Tensor = self.head(embedding).softmax(1).cpu()
        return found


def open_classifier(source: str | Path) -> ImageClassifier:
    """Open a run that was trained with labels, or a timm folder or network that has a classifier.

    Raises:
        UserError: there is no such model, or it has no classifier.
    """
    folder, trained = backbone_folder(source), load_classifier(Path(source))
    if trained is None:
        trained = _of_timm(folder, str(source))
    head, classes = trained
    return ImageClassifier(Backbone(backbones.load(folder)), head, classes).eval().to(chosen())


def _of_timm(folder: Path, source: str) -> tuple[nn.Linear, tuple[str, ...]]:
    config = backbones.load_config(folder)
    if not int(config.get("num_classes") or 0):
        raise UserError(f"{source} has no classifier; make one with: {command('finetune', source)}")
    whole: Any = backbones.load(folder, classifier=True)
    head = whole.get_classifier()
    if not isinstance(head, nn.Linear):
        raise UserError(f"the classifier of {source} is not a single linear layer; only such ones are read.")
    names = config.get("label_names")
    return head, tuple(map(str, names)) if isinstance(names, list) else ()
