"""Weights come in from other projects and go out to them again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from unlabeled import backbones
from unlabeled.cli.app import app
from unlabeled.core.errors import UserError
from unlabeled.runs.models import load_backbone
from unlabeled.verbs.export import export
from unlabeled.verbs.import_ import adopt
from unlabeled.verbs.probe import probe


@pytest.fixture
def theirs() -> Any:
    torch.manual_seed(1)
    model = torchvision.models.resnet18().eval()
    for name, value in model.state_dict().items():
        if "running" in name:
            value.uniform_(0.5, 1.5)
    return model


@pytest.fixture
def swav(theirs: Any, tmp_path: Path) -> Path:
    """A file in SwAV's layout."""
    weights = {f"module.{name}": value for name, value in theirs.state_dict().items() if not name.startswith("fc.")}
    torch.save({"state_dict": {**weights, "module.prototypes.weight": torch.zeros(3, 5)}}, tmp_path / "swav.pth.tar")
    return tmp_path / "swav.pth.tar"


def test_in_through_the_command_line_and_out_again(theirs: Any, swav: Path, tmp_path: Path) -> None:
    folder = tmp_path / "swav"
    arguments = ["import", str(swav), "--architecture", "resnet18", "--size", "32", "--out", str(folder)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert "100 tensors loaded (timm or torchvision names under 'state_dict.module')" in done.stdout
    assert "1 unused: prototypes.weight" in done.stdout
    theirs.fc = nn.Identity()
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in backbones.IMAGENET)
    with torch.no_grad():
        wanted = theirs((images / 255 - mean) / std)
    torch.testing.assert_close(load_backbone(folder).embed(images), wanted, atol=1e-4, rtol=1e-4)
    plain = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in plain.state_dict().items())
    # and back, into a torchvision model
    other = torchvision.models.resnet18()
    missing, unexpected = other.load_state_dict(
        load_file(export(folder, "safetensors", tmp_path / "w.st")), strict=False
    )
    assert (missing, unexpected) == (["fc.weight", "fc.bias"], [])


def test_it_is_probed_at_its_own_size_and_in_its_own_channels(swav: Path, tmp_path: Path) -> None:
    adopt(swav, "resnet18", tmp_path / "swav", image_size=32)
    images = np.random.default_rng(0).integers(0, 256, (60, 20, 20), dtype=np.uint8)
    np.savez(tmp_path / "gray.npz", images=images, labels=np.arange(60) % 3)
    report = probe(f"local-dir:{tmp_path / 'swav'}", f"npz:{tmp_path / 'gray.npz'}", probes=["nmc"])
    assert report["dimension"] == 512


def test_out_into_lightly(tmp_path: Path) -> None:
    from lightly.models.modules import MaskedVisionTransformerTIMM

    small = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}
    model = backbones.create("vit_tiny_patch16_224", in_chans=3, image_size=32, mean=(0.5,), std=(0.5,), **small)
    backbones.save(model, tmp_path / "vit")
    weights = load_file(export(tmp_path / "vit", "safetensors", tmp_path / "w.safetensors"))
    their = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=0, **small)
    MaskedVisionTransformerTIMM(vit=their).vit.load_state_dict(weights)
    assert torch.equal(their.eval()(torch.ones(1, 3, 32, 32)), model.eval()(torch.ones(1, 3, 32, 32)))


def test_a_checkpoint_is_loaded_without_a_folder(swav: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_backbone(swav, architecture="resnet18").num_features == 512
    assert "100 tensors loaded" in "".join(capsys.readouterr())


def test_mistakes_are_one_line(swav: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    for keywords, words in [
        ({"architecture": "resnt18"}, "Did you mean 'resnet18'"),
        ({"architecture": "vit_tiny_patch16_224"}, "nothing in it fits"),
        ({"out": tmp_path / "mine"}, "is not a backbone"),
        ({"mean": [0.5, 0.5]}, "--mean needs one number or 3"),
        ({"model_args": ["layerz=3"]}, "cannot be built"),
    ]:
        settings: dict[str, Any] = {"file": swav, "architecture": "resnet18", "out": tmp_path / "out", **keywords}
        with pytest.raises(UserError, match=words):
            adopt(**settings)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"is a file; make a backbone of it first: unlabeled import"):
        load_backbone(swav)


def test_the_folder_says_where_it_comes_from_and_keeps_the_classifier(theirs: Any, tmp_path: Path) -> None:
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    assert adopt(tmp_path / "w.pth", "resnet18", tmp_path / "bb", image_size=32).classes == 1000
    (step,) = backbones.read_lineage(tmp_path / "bb")
    assert (step.did, step.source, step.name) == ("import", str(tmp_path / "w.pth"), "resnet18")
    assert step.digest == backbones.digest_of(tmp_path / "w.pth")
    images = torch.randn(2, 3, 32, 32)
    plain = timm.create_model(f"local-dir:{tmp_path / 'bb'}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(plain(images), theirs(images))
        torch.testing.assert_close(backbones.load(tmp_path / "bb", classifier=True)(images), theirs(images))
        assert backbones.load(tmp_path / "bb")(images).shape == (2, 512)
    assert backbones.lineage_of(backbones.load(tmp_path / "bb")) == (step,)
    (tmp_path / "bb" / "lineage.json").write_text("[")
    with pytest.raises(UserError, match="is not a lineage"):
        backbones.load(tmp_path / "bb")


def test_a_saved_transformer_takes_images_of_another_size(tmp_path: Path) -> None:
    small = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}
    for name in ("vit_tiny_patch16_224", "vit_small_patch16_dinov3", "vit_small_patch14_reg4_dinov2"):
        model = backbones.create(name, in_chans=3, image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0, **small)
        backbones.save(model, tmp_path / name)
        larger = backbones.load(tmp_path / name, image_size=48)
        assert larger(torch.zeros(1, 3, 48, 48)).shape == (1, 48)
        back = backbones.load(tmp_path / name, image_size=32)
        assert all(torch.equal(value, back.state_dict()[key]) for key, value in model.state_dict().items())
        with pytest.raises(UserError, match=r"not see 4 of 36 .* data.size=32 or data.size=40"):
            backbones.load(tmp_path / name, image_size=36)
        backbones.save(larger, tmp_path / "larger")
        assert backbones.load(tmp_path / "larger")(torch.zeros(1, 3, 48, 48)).shape == (1, 48)


def test_a_folder_of_transformers_states_its_normalisation(
    theirs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)

    (tmp_path / "hub").mkdir()
    torch.save(theirs.state_dict(), tmp_path / "hub" / "pytorch_model.bin")
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "hub" / "preprocessor_config.json").write_text(json.dumps(said))
    adopt(tmp_path / "hub", "resnet18", tmp_path / "bb", image_size=32)
    cfg = backbones.load_config(tmp_path / "bb")["pretrained_cfg"]
    assert (cfg["mean"], cfg["std"]) == (said["image_mean"], said["image_std"])
    adopt(tmp_path / "hub", "resnet18", tmp_path / "bb", image_size=32, mean=[0.5])
    assert backbones.load_config(tmp_path / "bb")["pretrained_cfg"]["mean"] == [0.5] * 3
    for broken in ("[", json.dumps({"image_mean": [0.1], "image_std": [0]})):
        (tmp_path / "hub" / "preprocessor_config.json").write_text(broken)
        adopt(tmp_path / "hub", "resnet18", tmp_path / "bb", image_size=32)
        assert backbones.load_config(tmp_path / "bb")["pretrained_cfg"]["mean"] == list(backbones.IMAGENET[0])
    with pytest.raises(UserError, match="not in the hub's cache"):
        adopt("hf-hub:nobody/nothing", "resnet18", tmp_path / "bb")
