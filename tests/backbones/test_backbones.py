"""Backbones: created, adapted, saved, loaded by us and by timm, refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from unlabeled import backbones
from unlabeled.backbones import Backbone
from unlabeled.core.errors import UserError

VIT = {"patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3}
MODELS = [("resnet10_small", {"stem_stride": 2}), ("resnet18", {}), ("vgg11_small", {}), ("vit_tiny_patch16_224", VIT)]


def make(name: str = "resnet10_small", seed: int = 1, **arguments: object) -> torch.nn.Module:
    return backbones.create(name, in_chans=1, image_size=28, mean=[0.3], std=[0.35], seed=seed, **arguments)


@pytest.mark.parametrize(("name", "arguments"), MODELS)
def test_saved_backbone_is_the_same_in_plain_timm(name: str, arguments: dict[str, object], tmp_path: Path) -> None:
    model = make(name, **arguments).eval()
    backbones.save(model, tmp_path / "backbone")
    images = torch.randn(3, 1, 28, 28)
    ours = backbones.load(tmp_path / "backbone")
    timms = timm.create_model(f"local-dir:{tmp_path}/backbone", pretrained=True, num_classes=0).eval()
    with torch.no_grad():
        expected = model(images)
        assert expected.shape == (3, model.num_features)
        assert torch.allclose(ours(images), expected, atol=1e-6)
        assert torch.allclose(timms(images), expected, atol=1e-6)
    assert tuple(timms.pretrained_cfg["mean"]) == (0.3,)
    assert tuple(timms.pretrained_cfg["input_size"]) == (1, 28, 28)


def test_seed_fixes_the_weights_and_nothing_else() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    one, two, other = make(seed=1), make(seed=1), make(seed=2)
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.conv1.weight, other.conv1.weight)


def test_small_stem_keeps_the_resolution() -> None:
    model = make("resnet18_small")
    assert model.conv1.kernel_size == (3, 3)
    assert model.conv1.stride == (1, 1)
    shapes = [tuple(m.shape[-2:]) for m in model.forward_intermediates(torch.zeros(1, 1, 28, 28))[1]]
    assert shapes == [(28, 28), (28, 28), (14, 14), (7, 7), (4, 4)]
    assert [info["reduction"] for info in model.feature_info] == [1, 1, 2, 4, 8]


def test_vgg_has_no_normalisation() -> None:
    names = {type(module).__name__ for module in make("vgg11_small").modules()}
    assert not any("Norm" in name for name in names)


@pytest.mark.parametrize(("name", "arguments"), MODELS)
def test_every_layer_can_be_pooled(name: str, arguments: dict[str, object]) -> None:
    model = make(name, **arguments)
    for number, _ in enumerate(backbones.layer_names(model)):
        backbone = Backbone(model, layer=number)
        assert backbone(torch.zeros(2, 1, 28, 28)).shape == (2, backbone.num_features)


def test_tokens_are_pooled_as_asked() -> None:
    model = make("vit_tiny_patch16_224", **VIT).eval()
    images = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        tokens = model.forward_features(images)
        assert torch.allclose(Backbone(model, pool="cls").eval()(images), tokens[:, 0])
        assert torch.allclose(Backbone(model, pool="mean").eval()(images), tokens[:, 1:].mean(1), atol=1e-6)
        inner, prefix = model.forward_intermediates(images, indices=[1], return_prefix_tokens=True)[1][0]
        assert torch.allclose(Backbone(model, layer=1, pool="cls").eval()(images), prefix[:, 0])
        assert torch.allclose(Backbone(model, layer=1, pool="mean").eval()(images), inner.mean((2, 3)), atol=1e-6)
    with pytest.raises(UserError, match="class token"):
        Backbone(make(), pool="cls")


def test_maps_with_the_channels_last_are_pooled_over_positions() -> None:
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=0, img_size=28, patch_size=2, window_size=7, embed_dim=24,
        depths=(1, 1), num_heads=(2, 2), in_chans=1, pretrained_cfg_overlay={"input_size": (1, 28, 28)},
    ).eval()  # fmt: skip
    images = torch.randn(2, 1, 28, 28)
    with torch.no_grad():
        assert torch.allclose(Backbone(model, pool="avg").eval()(images), model(images), atol=1e-6)


def test_embed_takes_any_kind_of_image() -> None:
    backbone = Backbone(make()).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    tensor = torch.from_numpy(pixels)[None, None]
    expected = backbone.embed(tensor)
    for same in (pixels, pixels[None, :, :, None], Image.fromarray(pixels), [Image.fromarray(pixels)], tensor / 255):
        assert torch.allclose(backbone.embed(same), expected, atol=1e-5)
    assert backbone.embed(torch.zeros(3, 1, 40, 40, dtype=torch.uint8)).shape == (3, 256)
    with pytest.raises(UserError, match="1 channels"):
        backbone.embed(torch.zeros(3, 3, 28, 28))
    with pytest.raises(UserError, match="uint8, uint16 or float"):
        backbone.embed(torch.zeros(3, 1, 28, 28, dtype=torch.int64))


def test_a_model_is_read_where_it_lies_and_keeps_its_mode() -> None:
    model = make()
    for mode in (True, False):
        Backbone(model.train(mode)).embed(torch.zeros(1, 1, 28, 28, dtype=torch.uint8))
        assert all(module.training is mode for module in model.modules())
    away = Backbone(make().to("meta"))  # any device but the CPU, on any machine
    assert away.mean.device.type == away.std.device.type == "meta"


def test_calibration_gives_batchnorm_the_data_statistics() -> None:
    model = make()
    batches = [torch.randn(32, 1, 28, 28) * 3 + 1 for _ in range(4)]
    calibrated = backbones.calibrate_batchnorm(model, batches)
    assert not calibrated.training
    assert float(model.bn1.running_mean.abs().max()) == 0  # the original is untouched
    with torch.no_grad():
        after_stem = model.conv1(torch.cat(batches))
    assert torch.allclose(calibrated.bn1.running_mean, after_stem.mean((0, 2, 3)), atol=1e-4)
    assert torch.equal(calibrated.conv1.weight, model.conv1.weight)


@pytest.mark.parametrize(
    ("name", "size", "arguments", "message"),
    [
        ("resnet19", 28, {}, "Did you mean 'resnet1"),
        ("convnext_atto", 4, {}, "cannot"),
        ("vit_tiny_patch16_224", 28, {"patch_size": 5, "embed_dim": 7}, "cannot"),
        ("resnet18", 28, {"nonsense": 1}, "nonsense"),
        ("resnet10_small", 28, {"layers": [1]}, "cannot"),
        ("resnet10_small", 28, {"stem_stride": 0}, "cannot"),
        ("vit_tiny_patch16_224", 28, {"patch_size": 0}, "cannot"),
    ],
)
def test_impossible_backbones_are_refused(name: str, size: int, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        backbones.create(name, in_chans=1, image_size=size, mean=[0.5], std=[0.5], **arguments)


def test_broken_folders_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    with pytest.raises(UserError, match=r"config\.json"):
        backbones.load(folder)
    backbones.save(make(), folder)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="broken"):
        backbones.load(folder)
    save_file({"conv1.weight": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(UserError, match="do not fit"):
        backbones.load(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architecture": "../../evil"}))
    with pytest.raises(UserError, match="timm has no model"):
        backbones.load(folder)
    (folder / "config.json").write_text("[1, 2")
    with pytest.raises(UserError, match="not a timm configuration"):
        backbones.load(folder)
    backbones.save(make(), folder)
    for key, wrong in (
        ("input_size", [1]), ("input_size", [1, 10**7, 10**7]), ("input_size", "big"), ("mean", []), ("mean", ["0.3"]),
        ("std", [0.0]), ("std", [float("inf")]),
    ):  # fmt: skip
        changed = {**config, "pretrained_cfg": {**config["pretrained_cfg"], key: wrong}}
        (folder / "config.json").write_text(json.dumps(changed))
        with pytest.raises(UserError, match=rf"config\.json: pretrained_cfg\.{key}"):
            backbones.load(folder)
    config["pretrained_cfg"]["input_size"] = [2, 28, 28]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="cannot take the 2×28×28 images"):
        Backbone(backbones.load(folder))
