"""`unlabeled finetune` end to end: few labels, mixed images, transformers, stopped and resumed, then forgotten."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from unlabeled.backbones import load_config
from unlabeled.core.errors import UserError
from unlabeled.core.progress import set_quiet
from unlabeled.recipes.resolve import load_recipe
from unlabeled.runs.folder import Run
from unlabeled.runs.models import load_backbone
from unlabeled.runs.prepared import prepare
from unlabeled.verbs.forget import load_classifier
from unlabeled.verbs.pretrain import pretrain

Cli = Callable[..., tuple[int, str, str]]
COMMON = ("health.every=0", "hardware.precision=32-true", "output.logger=none", "batch_size=12")
SMALL = "backbone.args={layers: [1, 1, 1, 1], channels: [8, 8, 16, 16]}"
VIT = "backbone={name: vit_tiny_patch16_224, args: {patch_size: 4, embed_dim: 24, depth: 2, num_heads: 2}}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three easy classes, and two backbones that have learned nothing: a ResNet and a transformer."""
    folder = tmp_path_factory.mktemp("finetune")
    set_quiet(True)
    random = np.random.default_rng(0)

    def blobs(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 3
        pixels = random.normal(90, 25, (count, 8, 8))
        for c in range(3):
            pixels[labels == c, 3 * c : 3 * c + 2] += 90
        return pixels.clip(0, 255).astype(np.uint8), labels

    (x, y), (x_test, y_test) = blobs(240), blobs(60)
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    for name, backbone in {"resnet": SMALL, "vit": VIT}.items():
        settings = (f"data=npz:{folder / 'data.npz'}", f"data.dir={folder}", "epochs=0", *COMMON, backbone)
        pretrain("random", folder / name, overrides=settings)
    set_quiet(False)
    return folder


def test_few_labels_then_forgotten(cli: Cli, home: Path, tmp_path: Path) -> None:
    code, out, err = cli(
        "finetune", str(home / "resnet"), "--labels", "10%", "--out", "run", "epochs=40", "optimizer.lr=0.01", *COMMON
    )
    assert code == 0, err
    assert "24 labelled images" in out
    result = json.loads((tmp_path / "run" / "finetune.json").read_text())
    assert Run(tmp_path / "run").recipe().data.dir == str(home), "the data lie where the run found them"
    assert result["labelled"] == 24
    assert result["n"] == 60
    assert result["top1"] > 0.8
    assert result["interval"][0] <= result["top1"] <= result["interval"][1]
    model = load_classifier(tmp_path / "run")
    assert model.head is not None
    assert model.head.weight.shape == (3, 16)

    settings = ("epochs=2", "vae_epochs=2", "vae_batch_size=8", "lr_ue=1e-3", "lr_ra=1e-3")
    code, out, err = cli("forget", "run", *settings, "--forget", "class:0", "--out", "forgot")
    assert code == 0, err
    assert "8 of 24 images" in out
    rows = json.loads((tmp_path / "forgot" / "forgetting" / "rows.json").read_text())
    retrained = next(row for row in rows if row["method"] == "retrain")
    assert retrained["measures"]["train_f"] == 0
    assert Run(tmp_path / "forgot").finished()
    assert load_classifier(tmp_path / "forgot").head is not None


def test_batches_shrink_to_few_labels_unless_they_were_chosen(cli: Cli, home: Path, tmp_path: Path) -> None:
    few = ("finetune", str(home / "resnet"), "--labels", "5%", "--out", "run", "epochs=1", *COMMON[:2])
    code, out, err = cli(*few)
    assert code == 0, err
    assert "batch_size is 12, not 128: there are 12 labelled images to learn from" in err
    assert "12 labelled images" in out
    assert Run(tmp_path / "run").recipe().batch_size == 12
    code, _, err = cli(*few, "batch_size=16", "--overwrite")
    assert code == 2
    assert "batch_size 16 is larger than the data (12 images" in err
    assert Run(tmp_path / "run").finished(), "the old run is whole"


@pytest.mark.parametrize("mixing", ["method.mixup=0.4", "method.cutmix=1.0"])
def test_transformers_are_pooled_by_their_mean_and_images_mixed(
    cli: Cli, home: Path, tmp_path: Path, mixing: str
) -> None:
    more = (mixing, "method.smoothing=0.1", "method.layer_decay=0.5", "epochs=2", *COMMON)
    code, _, err = cli("finetune", str(home / "vit"), "--labels", "8-per-class", "--out", "run", *more)
    assert code == 0, err
    assert load_config(tmp_path / "run" / "backbone")["model_args"]["global_pool"] == "avg"
    backbone = load_backbone(tmp_path / "run")
    images = torch.randn(2, 1, 8, 8)
    tokens = backbone.model.forward_features(images)[:, 1:]
    assert torch.allclose(backbone(images), tokens.mean(1), atol=1e-5)
    recipe = Run(tmp_path / "run").recipe()
    assert recipe.data.labels == "8-per-class"
    assert recipe.method.model_dump()["layer_decay"] == 0.5


def test_stopped_and_resumed_ends_with_the_same_weights(cli: Cli, home: Path, tmp_path: Path) -> None:
    settings = ("epochs=12", "output.save_seconds=0", "method.mixup=0.4", *COMMON)
    command = ("finetune", str(home / "resnet"), "--labels", "20%")
    code, _, err = cli(*command, "--out", "whole", *settings)
    assert code == 0, err
    checkpoint = tmp_path / "stopped" / "checkpoints" / "last.ckpt"

    def stop() -> None:
        while not checkpoint.exists():
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    code, _, err = cli(*command, "--out", "stopped", *settings)
    assert code == 1
    assert f"go on with: unlabeled finetune {home / 'resnet'} --out stopped --resume" in err
    assert not (tmp_path / "stopped" / "finetune.json").exists()
    code, _, err = cli("finetune", str(home / "resnet"), "--out", "stopped", "--resume")
    assert code == 0, err
    for part in ("backbone", "classifier"):
        one, two = ((tmp_path / run / part / "model.safetensors").read_bytes() for run in ("whole", "stopped"))
        assert one == two
    assert (tmp_path / "stopped" / "finetune.json").read_text() == (tmp_path / "whole" / "finetune.json").read_text()


@pytest.mark.parametrize("name", ["mae", "rotation"])
def test_pretraining_goes_on_from_given_weights(home: Path, name: str) -> None:
    run = home / {"mae": "vit", "rotation": "resnet"}[name]
    settings = [f"data=npz:{home / 'data.npz'}", "batch_size=12", f"backbone.weights={run}"]
    backbone = prepare(load_recipe(name, settings)).method.backbone
    for key, value in load_backbone(run).model.state_dict().items():
        assert torch.equal(backbone.state_dict()[key], value), key
    with pytest.raises(UserError, match=r"starts from random weights of its own; leave backbone\.weights out"):
        load_recipe("random_teacher", settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["random:resnet18"], "can only be probed"),
        (["bare"], "bare does not say what it was trained on; give --data"),
        (["--labels", "some"], "is not understood"),
        (["--labels", "10"], "labels='10' is not understood; write a share such as '10%'"),
        (["method.layer_decay=2"], "method.layer_decay"),
        (["method.mixpu=1"], "Did you mean 'method.mixup'?"),
        (["--data", "no-such-data"], "no-such-data"),
        (["batch_size=9000"], "batch_size"),
    ],
)
def test_mistakes(cli: Cli, home: Path, arguments: list[str], message: str) -> None:
    shutil.copytree(home / "resnet" / "backbone", "bare")
    model = [] if arguments[0].startswith(("random:", "bare")) else [str(home / "resnet")]
    code, out, err = cli("finetune", *model, *arguments, "--out", "run")
    assert code == 2
    assert message in err
    assert out == ""
