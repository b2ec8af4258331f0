"""Files in the layouts of other projects, made here from models with other weights, must give those models' outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from unlabeled.backbones.interop import load_weights
from unlabeled.core.errors import UserError

Weights = dict[str, Tensor]


class Unknown:
    """Of a class that nobody vouches for."""


VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 0}


def resnet(seed: int) -> Any:
    torch.manual_seed(seed)
    model = timm.create_model("resnet18", num_classes=0)
    for name, value in model.state_dict().items():
        if "running" in name:
            value.uniform_(0.5, 1.5)
    return model.eval()


def vit(seed: int, **options: Any) -> Any:
    torch.manual_seed(seed)
    return timm.create_model("vit_tiny_patch16_224", **{**VIT, **options}).eval()


def under(prefix: str, weights: Weights) -> Weights:
    return {prefix + name: value for name, value in weights.items()}


def head(*names: str) -> Weights:
    return {name: torch.randn(7, 5) for name in names}


def same(first: nn.Module, second: nn.Module) -> bool:
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        return torch.equal(first(images), second(images))


def sequential(weights: Weights, first_stage: int, shortcut: bool) -> Weights:
    """As ``nn.Sequential(*resnet.children())`` names them."""
    places = {"conv1": 0, "bn1": 1, **{f"layer{i + 1}": first_stage + i for i in range(4)}}
    renamed = {f"{places[name.split('.')[0]]}.{name.split('.', 1)[1]}": value for name, value in weights.items()}
    return {name.replace("downsample", "shortcut") if shortcut else name: value for name, value in renamed.items()}


RESNETS: dict[str, Callable[[Weights], Any]] = {
    "plain": lambda w: w,
    "swav": lambda w: {"state_dict": {**under("module.", w), **head("module.prototypes.weight")}},
    "swav file": lambda w: {**under("module.", w), **head("module.projection_head.0.weight")},
    "dino": lambda w: {
        "student": under("module.backbone.", {k: v * 0 for k, v in w.items()}),
        "teacher": {**under("backbone.", w), **head("head.mlp.0.weight")},
        "epoch": 3,
    },
    "moco": lambda w: {
        "state_dict": {
            **under("module.encoder_k.", {k: v * 0 for k, v in w.items()}),
            **under("module.encoder_q.", w),
            **head("module.queue"),
        }
    },
    "lightly lightning": lambda w: {
        "state_dict": {**under("backbone.", sequential(w, 4, False)), **head("projection_head.layers.0.weight")},
        "pytorch-lightning_version": "2.6",
    },
    "lightly generator": lambda w: {"state_dict": under("backbone.", sequential(w, 2, True))},
}


@pytest.mark.parametrize("name", RESNETS)
def test_resnets(name: str, tmp_path: Path) -> None:
    source, model = resnet(1), resnet(2)
    torch.save(RESNETS[name](source.state_dict()), tmp_path / "weights.pth")
    report = load_weights(model, tmp_path / "weights.pth")
    assert same(model, source)
    assert not report.missing
    assert not report.mismatched
    assert len(report.matched) == sum(value.ndim > 0 for value in model.state_dict().values())


def test_a_real_torchvision_resnet_with_its_classifier(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source, model = torchvision.models.resnet18().eval(), resnet(2)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    report = load_weights(model, tmp_path / "weights.pth")
    assert report.unused == ("fc.weight", "fc.bias")
    source.fc = nn.Identity()
    assert same(model, source)


def test_a_real_torchvision_transformer(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = torchvision.models.VisionTransformer(32, 8, 2, 3, 48, 192).eval()
    nn.init.normal_(source.class_token)
    model = vit(2)
    torch.save({"model": source.state_dict()}, tmp_path / "weights.pth")
    report = load_weights(model, tmp_path / "weights.pth")
    assert "torchvision ViT" in report.layout
    assert set(report.unused) == {"head.weight", "head.bias"}
    source.heads = nn.Identity()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(images), source(images), atol=1e-5, rtol=1e-4)


def test_a_real_lightly_masked_transformer(tmp_path: Path) -> None:
    from lightly.models.modules import MaskedVisionTransformerTIMM

    source, model = vit(1), vit(2)
    wrapped = MaskedVisionTransformerTIMM(vit=source)
    torch.save({"state_dict": under("backbone.", wrapped.state_dict())}, tmp_path / "weights.ckpt")
    assert "backbone.vit" in load_weights(model, tmp_path / "weights.ckpt").layout
    assert same(model, source)


def test_mae_with_its_decoder_and_for_average_pooling(tmp_path: Path) -> None:
    source = vit(1)
    content = {
        "model": {**source.state_dict(), **head("mask_token", "decoder_embed.weight", "decoder_blocks.0.norm1.weight")}
    }
    torch.save(content, tmp_path / "mae.pth")
    model = vit(2)
    report = load_weights(model, tmp_path / "mae.pth")
    assert same(model, source)
    assert len(report.unused) == 3
    pooled = vit(2, global_pool="avg")
    assert "fc_norm.weight" in load_weights(pooled, tmp_path / "mae.pth").matched
    assert torch.equal(pooled.fc_norm.weight, source.norm.weight)


def test_positions_are_resampled_for_another_image_size(tmp_path: Path) -> None:
    source, model = vit(1), vit(2, img_size=48)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    report = load_weights(model, tmp_path / "weights.safetensors")
    assert report.resized == ("pos_embed",)
    assert torch.equal(model.pos_embed[:, 0], source.pos_embed[:, 0])
    assert model(torch.zeros(1, 3, 48, 48)).shape == (1, 48)


def test_first_layers_are_fitted_to_gray_images_and_to_more_bands(tmp_path: Path) -> None:
    source = resnet(1)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    for channels in (1, 5):
        model = timm.create_model("resnet18", num_classes=0, in_chans=channels)
        assert load_weights(model, tmp_path / "weights.pth").resized == ("conv1.weight",)
        gray = torch.rand(2, 1, 32, 32)
        with torch.no_grad():  # the same gray picture in every channel, as a colour network sees it
            wanted = source.conv1(gray.expand(-1, 3, -1, -1))
            assert channels == 5 or torch.allclose(model.conv1(gray), wanted, atol=1e-5)
    # of five bands, the first four repeat red, green, blue, red; all are scaled by 3/5
    torch.testing.assert_close(model.conv1.weight[:, [0, 1, 2, 0, 1]], model.conv1.weight)
    torch.testing.assert_close(model.conv1.weight[:, :3], source.conv1.weight * 3 / 5)
    torch.save({k: v.sum(1, keepdim=True) if k == "conv1.weight" else v for k, v in source.state_dict().items()},
               tmp_path / "gray.pth")  # fmt: skip
    colour = resnet(2)
    load_weights(colour, tmp_path / "gray.pth")
    torch.testing.assert_close(colour.conv1.weight.sum(1), source.conv1.weight.sum(1))


@pytest.mark.parametrize(
    ("made", "asked", "words"),
    [
        ("resnet50", "resnet18", "it fits 'resnet50': --architecture resnet50"),
        ("resnet34", "resnet18", "the file has 80 more of the same kind .* it fits 'resnet34'"),  # 18 is a part of 34
        ("resnet18", "resnet34", "100 of 180 tensors fit, 80 are missing"),
        ("resnet18", "resnet50", "it fits 'resnet18'"),
    ],
)
def test_another_network_is_refused_with_counts_and_its_name(made: str, asked: str, words: str, tmp_path: Path) -> None:
    torch.save(timm.create_model(made).state_dict(), tmp_path / "weights.pth")
    model = timm.create_model(asked, num_classes=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=words):
        load_weights(model, tmp_path / "weights.pth")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    report = load_weights(model, tmp_path / "weights.pth", partial=True)
    assert report.matched
    assert not report.whole


def test_a_deeper_transformer_is_another_network(tmp_path: Path) -> None:
    torch.save(vit(1, depth=3).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(UserError, match="11 more of the same kind"):
        load_weights(vit(2), tmp_path / "weights.pth")


def test_a_classifier_is_kept_where_it_reads_the_embedding(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source, model = timm.create_model("resnet18", num_classes=7).eval(), resnet(2)
    torch.save({"state_dict": under("module.", source.state_dict())}, tmp_path / "weights.pth")
    assert load_weights(model, tmp_path / "weights.pth", classifier=True).classes == 7
    assert same(model, source)
    torch.save({"state_dict": under("module.encoder_q.", source.state_dict())}, tmp_path / "moco.pth")
    assert load_weights(resnet(2), tmp_path / "moco.pth", classifier=True).classes == 0  # MoCo's fc is a projection


def test_zero_matches_are_refused(tmp_path: Path) -> None:
    torch.save(vit(1).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(UserError, match="nothing in it fits"):
        load_weights(resnet(1), tmp_path / "weights.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(UserError, match="nothing in it fits"):
        load_weights(resnet(1), tmp_path / "empty.pth")


def test_files_that_would_run_code_or_are_broken_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "args": Unknown()}, tmp_path / "code.pth")
    with pytest.raises(UserError, match="would run code"):
        load_weights(resnet(1), tmp_path / "code.pth")
    held: dict[str, Any] = {}
    held["model"] = held
    torch.save(held, tmp_path / "itself.pth")
    with pytest.raises(UserError, match="nothing in it fits"):
        load_weights(resnet(1), tmp_path / "itself.pth")
    (tmp_path / "call.pth").write_bytes(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01tR.")
    with pytest.raises(UserError, match="cannot be read as weights"):
        load_weights(resnet(1), tmp_path / "call.pth")
    for name in ("half.pth", "half.safetensors"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 half a file")
        with pytest.raises(UserError, match=r"half"):
            load_weights(resnet(1), tmp_path / name)
    with pytest.raises(UserError, match="is not a file"):
        load_weights(resnet(1), tmp_path / "absent.pth")
