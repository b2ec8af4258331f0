"""Small backbones, batches and steps that the methods' tests share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn

from unlabeled.ssl.method import DataInfo, Step


@pytest.fixture
def info() -> DataInfo:
    return DataInfo(num_images=64, channels=1, height=28, width=28, num_classes=10, mean=(0.3,), std=(0.35,))


@pytest.fixture
def resnet() -> Callable[[], nn.Module]:
    def create() -> nn.Module:
        torch.manual_seed(0)
        return timm.create_model("resnet10t", num_classes=0, in_chans=1)

    return create


@pytest.fixture
def vit() -> Callable[..., nn.Module]:
    def create(**options: object) -> nn.Module:
        torch.manual_seed(0)
        small = {"img_size": 28, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3, "in_chans": 1}
        return timm.create_model("vit_tiny_patch16_224", num_classes=0, **{**small, **options})

    return create


@pytest.fixture
def step() -> Step:
    return Step(number=0, per_epoch=10, total=100, seed=0, batch_size=8)
