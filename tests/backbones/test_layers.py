"""Layers, frozen layers and adapters: what is trained, at which rate, and what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.optim._param_groups import param_groups_layer_decay
from torch import nn

from unlabeled import backbones
from unlabeled.core.errors import UserError
from unlabeled.recipes.resolve import load_recipe
from unlabeled.ssl.layerwise import layerwise
from unlabeled.ssl.method import ParameterGroup
from unlabeled.verbs.pretrain import pretrain

VIT = {"patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3}
QUICK = ("epochs=1", "batch_size=16", "health.every=0", "output.logger=none", "optimizer.warmup_epochs=0")


def vit() -> Any:
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, **VIT)


@pytest.mark.parametrize("name", ["vit", "resnet18", "convnext_atto"])
def test_rates_fall_as_timms_do(name: str) -> None:
    model = vit() if name == "vit" else timm.create_model(name, num_classes=0)
    head = nn.Linear(3, 3)
    groups = [ParameterGroup([*model.parameters(), *head.parameters()], lr_scale=2.0)]
    ours = {id(p): g.lr_scale for g in layerwise(groups, model, 0.5) for p in g.parameters}
    for group in param_groups_layer_decay(model, weight_decay=1.0, layer_decay=0.5):
        # timm's last layer has the full rate; here that is the head's
        assert all(ours[id(p)] == pytest.approx(2.0 * 0.5 * group["lr_scale"]) for p in group["params"])
    assert {ours[id(p)] for p in head.parameters()} == {2.0}
    assert layerwise(groups, model, 1.0) == groups


def test_the_small_vgg_has_a_layer_for_each_convolution() -> None:
    numbers = backbones.layer_numbers(timm.create_model("vgg11_small", num_classes=0))
    assert sorted(set(numbers.values())) == list(range(8))


def test_adapters_start_as_nothing_and_are_merged() -> None:
    model = vit().eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = model(images)
        backbones.add_adapters(model, 4)
        torch.testing.assert_close(model(images), before)
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        assert len(trained) == 2 * 4 * 3  # two matrices for each of four layers in three blocks
        qkv = model.blocks[0].attn.qkv
        original, low = qkv.parametrizations.weight.original.clone(), qkv.parametrizations.weight[0]
        for value in trained.values():
            value.add_(0.1 * torch.randn_like(value))
        plain = backbones.merged(model)
        torch.testing.assert_close(plain(images), model(images))
        torch.testing.assert_close(plain.blocks[0].attn.qkv.weight, original + 2 * low.up @ low.down)
    assert set(plain.state_dict()) == set(vit().state_dict())
    assert backbones.merged(plain) is plain
    with pytest.raises(UserError, match="this ResNet has none"):
        backbones.add_adapters(timm.create_model("resnet18"), 4)


@pytest.mark.parametrize("setting", ["backbone.lora=2", "backbone.freeze=2", "optimizer.layer_decay=0.5"])
def test_a_run_trains_what_it_should_and_leaves_an_ordinary_backbone(setting: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    model = backbones.create("vit_tiny_patch16_224", in_chans=3, image_size=32, mean=[0.4] * 3, std=[0.2] * 3, **VIT)
    backbones.save(model, tmp_path / "theirs")
    given = (f"data=npz:{tmp_path / 'images.npz'}", f"backbone.weights={tmp_path / 'theirs'}", setting, *QUICK)
    run = pretrain("simclr", tmp_path / "run", overrides=given)
    new, old = backbones.load(run.backbone).state_dict(), model.state_dict()
    moved = {name: float((new[name] - old[name]).abs().max()) for name in old}
    assert moved["blocks.2.mlp.fc1.weight"] > 0
    if "lora" in setting:
        assert moved["patch_embed.proj.weight"] == moved["blocks.2.norm1.weight"] == moved["norm.weight"] == 0
        assert (
            torch.linalg.matrix_rank(new["blocks.0.attn.qkv.weight"] - old["blocks.0.attn.qkv.weight"], rtol=1e-3) <= 2
        )
    if "freeze" in setting:
        assert moved["patch_embed.proj.weight"] == moved["pos_embed"] == moved["blocks.0.mlp.fc1.weight"] == 0
        assert moved["blocks.1.mlp.fc1.weight"] > 0
    if "decay" in setting:  # the first step of SGD is the gradient times the layer's rate
        assert moved["patch_embed.proj.weight"] > 0


def test_frozen_norms_keep_their_statistics(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    model = backbones.create("resnet10_small", in_chans=3, image_size=16, mean=[0.4] * 3, std=[0.2] * 3)
    backbones.save(model, tmp_path / "theirs")
    given = (
        f"data=npz:{tmp_path / 'images.npz'}",
        f"backbone.weights={tmp_path / 'theirs'}",
        "backbone.freeze=2",
        *QUICK,
    )
    new = backbones.load(pretrain("simclr", tmp_path / "run", overrides=given).backbone).state_dict()
    old = model.state_dict()
    for name, value in new.items():
        first = name.startswith(("conv1", "bn1", "layer1.0"))
        assert torch.equal(value, old[name]) == first, name


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"are for backbone\.weights, which are missing"):
        load_recipe("simclr", ("backbone.lora=4",))
    with pytest.raises(UserError, match=r"9 of the network's 4 layers"):
        backbones.freeze_first(vit(), 9)
