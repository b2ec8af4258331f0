"""Which architecture a file was most likely made for, to name it in a refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping

import timm
import torch
from torch import Tensor

CANDIDATES = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d",
    "resnet18_small", "resnet34_small", "resnet50_small", "resnet10_small", "vgg11_small",
    "vit_tiny_patch16_224", "vit_small_patch16_224", "vit_small_patch8_224", "vit_small_patch32_224",
    "vit_base_patch16_224", "vit_base_patch8_224", "vit_base_patch32_224", "vit_large_patch16_224",
    "vit_huge_patch14_224", "vit_huge_patch14_gap_224", "vit_base_patch16_clip_224", "vit_base_patch32_clip_224",
    "vit_large_patch14_clip_224", "vit_small_patch14_dinov2", "vit_base_patch14_dinov2", "vit_large_patch14_dinov2",
    "vit_giant_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_base_patch14_reg4_dinov2",
    "vit_large_patch14_reg4_dinov2", "vit_small_patch16_dinov3", "vit_base_patch16_dinov3", "vit_large_patch16_dinov3",
    "convnext_tiny", "convnext_small", "convnext_base", "tf_efficientnet_lite0", "efficientnet_b0", "efficientnet_b1",
    "efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "swin_tiny_patch4_window7_224",
    "swin_small_patch4_window7_224", "swin_base_patch4_window7_224", "mobilenetv3_large_100", "densenet121",
)  # fmt: skip
"""What people import most, small before large."""
MARKS = (
    (r"res|wide", "layer1.0.conv1.weight"), (r"vgg", "features.0.weight"), (r"vit", "blocks.0.attn.qkv.weight"),
    (r"convnext", "stages.0.blocks.0.conv_dw.weight"), (r"swin", "layers.0.blocks.0.attn.qkv.weight"),
    (r".*efficientnet|mobilenet", "conv_stem.weight"), (r"densenet", "features.conv0.weight"),
)  # fmt: skip
"""A tensor that all networks of a family have: the others need not be built."""
WIDTHS = {"tiny": 192, "small": 384, "base": 768, "large": 1024, "huge": 1280, "giant": 1536}
"""Of transformers, by what their names say."""


def likely_architecture(weights: Mapping[str, Tensor], but: str) -> str | None:
    """The first of :data:`CANDIDATES` all of whose tensors are in ``weights``, and of whose blocks no more are.

    Args:
        weights: a file's tensors under timm's names.
        but: what they are not.
    """
    for name in CANDIDATES:
        if name == but or not timm.is_model(name) or not _may_be(name, weights):
            continue
        with torch.device("meta"):
            model = timm.create_model(name, num_classes=0)
        target = {key: value for key, value in model.state_dict().items() if value.ndim}
        kinds = {re.sub(r"\d+", "#", key) for key in target}
        more = any(key not in target and re.sub(r"\d+", "#", key) in kinds for key in weights)
        if not more and all(_alike(key, weights.get(key), value) for key, value in target.items()):
            return name
    return None


def _may_be(name: str, weights: Mapping[str, Tensor]) -> bool:
    mark = next(mark for family, mark in MARKS if re.match(family, name))
    width = WIDTHS.get(name.split("_")[1]) if name.startswith("vit") else None
    return mark in weights and width in (None, weights[mark].shape[-1])


def _alike(name: str, value: Tensor | None, wanted: Tensor) -> bool:
    if value is None or value.ndim != wanted.ndim:
        return False
    return value.shape == wanted.shape or (name == "pos_embed" and value.shape[2] == wanted.shape[2])
