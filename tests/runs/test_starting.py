"""Training that starts from weights: what is recorded is what was trained, from the first step to the last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unlabeled import backbones
from unlabeled.core.errors import UserError
from unlabeled.recipes.resolve import load_recipe
from unlabeled.report.card import model_card
from unlabeled.runs.folder import Run
from unlabeled.runs.models import settled
from unlabeled.runs.prepared import prepare
from unlabeled.ssl.method import Step
from unlabeled.verbs.export import export
from unlabeled.verbs.pretrain import default_folder, dry_run, pretrain
from unlabeled.verbs.runs import runs

VIT = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}
SMALLER = {"output_dim": 64, "hidden_dim": 32, "bottleneck_dim": 16, "layers": 1, "queue": 32}
QUICK = ("epochs=1", "batch_size=16", "health.every=0", "output.logger=none", "optimizer.warmup_epochs=0")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    model = backbones.create("vit_tiny_patch16_224", in_chans=3, image_size=32, mean=[0.4] * 3, std=[0.2] * 3, **VIT)
    came = backbones.Origin(did="import", source="w.pth", digest="12", name="vit_tiny_patch16_224")
    backbones.save(backbones.remember_lineage(model, [came]), tmp_path / "theirs")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 24, 24, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    return tmp_path / "theirs"


@pytest.mark.parametrize("name", ["byol", "moco", "mocov3", "ijepa", "data2vec", "dino", "ibot", "dinov2"])
def test_a_momentum_teacher_starts_from_the_weights(name: str, weights: Path) -> None:
    fields = type(load_recipe(name).method).model_fields
    settings = [f"method.{key}={value}" for key, value in SMALLER.items() if key in fields]
    many = ["backbone.args.dynamic_img_size=true"] if "freeze_epochs" in fields else []
    given = (f"data=npz:{weights.parent / 'images.npz'}", f"backbone.weights={weights}", *QUICK, *settings, *many)
    method = prepare(settled(load_recipe(name, given))).method
    method.before_step(Step(0, 2, 2, 0, 16))
    wanted = backbones.load(weights, image_size=24).state_dict()
    for network in (method.backbone, method.teacher.backbone):  # type: ignore[union-attr]
        found = network.state_dict()  # type: ignore[union-attr, operator]
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key], value) for key, value in wanted.items())


def test_the_weights_say_what_is_trained_and_the_run_says_so(weights: Path) -> None:
    data = f"data=npz:{weights.parent / 'images.npz'}"
    given = (data, f"backbone.weights={weights}", "backbone.args.drop_path_rate=0.1", *QUICK)
    recipe = load_recipe("simclr", given)
    assert "vit_tiny_patch16_224" in str(default_folder(recipe))
    run = pretrain(recipe, weights.parent / "run")
    kept = run.recipe().backbone
    assert kept.name == "vit_tiny_patch16_224"
    assert kept.args == {**VIT, "drop_path_rate": 0.1}
    assert [row.backbone for row in runs(weights.parent)] == ["vit_tiny_patch16_224"]
    first, second = backbones.read_lineage(run.backbone)
    assert (first.did, first.source) == ("import", "w.pth")
    assert (second.did, second.source) == ("simclr", str(weights))
    assert second.digest == backbones.digest_of(weights / "model.safetensors")
    assert second.data is not None
    assert (second.data.images, second.data.fingerprint) == tuple(
        run.read_json("data.json")[k] for k in ("images", "fingerprint")
    )
    # 24 pixels here, 32 there: the position table was resampled, and the folder says 24
    assert backbones.load_config(run.backbone)["pretrained_cfg"]["input_size"] == [3, 24, 24]
    assert "from w.pth" in (card := model_card(run.folder, run.backbone))
    assert "What they started from" in card
    assert str(weights.parent) not in card
    again = pretrain(run.folder, resume=True)  # the recorded recipe is the one that is gone on with
    assert again.finished()
    out = export(run.folder, "timm", weights.parent / "out")
    assert [step.did for step in backbones.read_lineage(out)] == ["import", "simclr", "export"]


def test_another_backbone_beside_weights_is_refused(weights: Path) -> None:
    for backbone in ("backbone=resnet10_small", "backbone.name=resnet10_small"):
        recipe = load_recipe("simclr", (f"backbone.weights={weights}", backbone))
        for use in (settled, dry_run, pretrain):
            with pytest.raises(UserError, match=r"'resnet10_small' was asked for, .* is a 'vit_tiny_patch16_224'"):
                use(recipe)
    same = load_recipe("simclr", (f"backbone.weights={weights}", "backbone=vit_tiny_patch16_224"))
    assert settled(same).backbone.args == VIT


def test_a_size_the_patches_do_not_divide_is_refused_before_anything_is_written(weights: Path) -> None:
    data = f"data=npz:{weights.parent / 'images.npz'}"
    given = (data, "data.size=36", f"backbone.weights={weights}", *QUICK)
    with pytest.raises(UserError, match=r"data\.size=32 or data\.size=40"):
        pretrain("simclr", weights.parent / "run", overrides=given)
    assert not Run(weights.parent / "run").exists()
