"""A backbone folder with a classifier on top, as plain timm has it: ``num_classes`` and the names of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from unlabeled.backbones.agreement import TOLERANCE, gap
from unlabeled.backbones.features import Backbone
from unlabeled.backbones.storage import load, load_config
from unlabeled.core.errors import UserError
from unlabeled.core.files import atomic_write_json


def save_with_classifier(folder: str | Path, head: nn.Linear, classes: Sequence[str], new: str | Path) -> None:
    """Write a copy of a backbone folder with its classifier in it, and see that both give the same logits.

    ``timm.create_model("local-dir:NEW", pretrained=True)`` then classifies; its ``pretrained_cfg["label_names"]`` are
    the names. :func:`load` leaves the classifier out unless asked.

    Args:
        folder: a backbone folder.
        head: ``(B, D)`` embeddings to ``(B, K)`` logits.
        classes: the K names.
        new: an empty folder.

    Raises:
        UserError: the network has no place for a classifier right over its embedding.
    """
    folder, new = Path(folder), Path(new)
    config = load_config(folder)
    cfg: dict[str, Any] = config["pretrained_cfg"]
    place = cfg.get("classifier")
    weights = load_file(folder / "model.safetensors")
    if isinstance(place, str):
        bias = torch.zeros(head.out_features) if head.bias is None else head.bias
        weights |= {f"{place}.weight": head.weight.detach().cpu(), f"{place}.bias": bias.detach().cpu()}
    labels = {"num_classes": head.out_features, "label_names": list(classes)}
    about = {**config, **labels, "pretrained_cfg": {**cfg, "num_classes": head.out_features}}
    save_file(
        {name: value.contiguous() for name, value in weights.items()}, new / "model.safetensors", {"format": "pt"}
    )
    atomic_write_json(new / "config.json", about)
    if not isinstance(place, str) or not _agree(folder, head, new):
        raise UserError(
            f"a '{config['architecture']}' of timm has no linear layer right over its embedding, so that it cannot "
            "hold this classifier; export to torchscript or onnx."
        )


@torch.inference_mode()
def _agree(folder: Path, head: nn.Linear, new: Path) -> bool:
    try:
        backbone, whole = Backbone(load(folder)), load(new, classifier=True)
    except UserError:  # its classifier has another shape
        return False
    shape = (3, backbone.in_chans, backbone.image_size, backbone.image_size)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return gap(whole(images), head.cpu()(backbone(images))) <= TOLERANCE
