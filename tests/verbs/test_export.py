"""A real run goes out in every format and comes back the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

from unlabeled import backbones
from unlabeled.backbones import deploy
from unlabeled.core.errors import UserError
from unlabeled.core.progress import set_quiet
from unlabeled.runs.folder import Run
from unlabeled.runs.models import load_backbone
from unlabeled.verbs.export import export
from unlabeled.verbs.pretrain import pretrain

TINY = (
    "data=noise:64",
    "data.size=16",
    "data.channels=1",
    "epochs=1",
    "batch_size=32",
    "backbone.args={layers: [1, 1, 1, 1], channels: [8, 8, 16, 16], stem_stride: 2}",
    "health.every=0",
    "output.logger=none",
    "hardware.precision=32-true",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    set_quiet(True)
    done = pretrain("simclr", tmp_path_factory.mktemp("runs") / "tiny", overrides=TINY)
    set_quiet(False)
    found = {"linear": {"top1": 0.81, "interval": [0.79, 0.83], "n": 200}}
    content = {"model": "/home/somebody/runs/tiny", "data": "folder:/home/somebody/photos", "probes": found}
    (done.folder / "probes").mkdir()
    (done.folder / "probes" / "photos.json").write_text(json.dumps(content))
    return done


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 1, 16, 16)


def embedded(run: Run, images: torch.Tensor, **where: Any) -> torch.Tensor:
    return load_backbone(run.folder, **where).embed(images)


def test_timm_folder_is_the_backbone(run: Run, images: torch.Tensor, tmp_path: Path) -> None:
    path = export(run.folder, "timm")
    assert path == run.folder / "export" / "timm"
    torch.testing.assert_close(load_backbone(path).embed(images), embedded(run, images), atol=0, rtol=0)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.txt").write_text("mine")
    with pytest.raises(UserError, match="is not an exported backbone"):
        export(run.folder, "timm", tmp_path / "photos")
    assert (tmp_path / "photos" / "a.txt").exists()


def test_a_folder_that_is_no_run_is_never_exported_into_the_current_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "export").mkdir()
    with pytest.raises(UserError, match=r"is no run, .*; say where with --out"):
        export(run.backbone, "torchscript")
    assert list((tmp_path / "export").iterdir()) == []


def test_safetensors_is_one_file_that_loads_and_says_what_it_is(run: Run, tmp_path: Path) -> None:
    path = export(run.folder, "safetensors", tmp_path / "weights.safetensors")
    with safe_open(path, "pt") as content:
        assert json.loads(content.metadata()["config"])["architecture"] == "resnet10_small"
    model = backbones.load(run.backbone)
    for value in model.parameters():
        torch.nn.init.zeros_(value)
    from unlabeled.backbones.interop import load_weights

    assert not load_weights(model, path).missing


def test_torchscript_takes_any_batch_without_this_package(run: Run, images: torch.Tensor, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing that the user could mend is said
        path = export(run.folder, "torchscript", tmp_path / "model.pt")
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sys, torch; m = torch.jit.load(sys.argv[1]); x = torch.load(sys.argv[2]); "
        "torch.save(m(x), sys.argv[3]); assert not any(n.startswith(('unlabeled', 'timm')) for n in sys.modules)"
    )
    places = [str(path), str(tmp_path / "images.pt"), str(tmp_path / "out.pt")]
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, *places], check=True, cwd=tmp_path)
    torch.testing.assert_close(torch.load(tmp_path / "out.pt"), embedded(run, images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("where", [{}, {"layer": "layer2", "pool": "max"}])
def test_onnx_agrees_with_torch_for_any_batch(
    run: Run, images: torch.Tensor, tmp_path: Path, where: dict[str, str]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = export(run.folder, "onnx", tmp_path / "model.onnx", **where)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 2, 5):
        (got,) = session.run(None, {"images": images[:batch].numpy()})
        assert np.abs(got - embedded(run, images[:batch], **where).numpy()).max() < 1e-4
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_a_model_that_differs_is_not_written(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match="differs from torch"):
        export(run.folder, "torchscript", tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


def test_the_hub_folder_has_a_card_written_from_the_run(run: Run, images: torch.Tensor, tmp_path: Path) -> None:
    path = export(run.folder, "hub", tmp_path / "hub", repo="someone/tiny", licence="apache-2.0")
    card = (path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: timm\n")
    assert "license: apache-2.0" in card
    assert "trained without labels by `simclr`" in card
    assert "64 images 1×16×16" in card
    assert "| tiny | photos | 81.0 [79.0, 83.0] |" in card
    assert "/home/somebody" not in card
    assert "hf-hub:someone/tiny" in card
    assert "batch_size: 32" in card
    assert "## Limits" in card
    torch.testing.assert_close(load_backbone(path).embed(images), embedded(run, images), atol=0, rtol=0)


def test_the_card_of_a_run_that_read_labels_says_so(run: Run, tmp_path: Path) -> None:
    copy = Run(tmp_path / "tuned")
    shutil.copytree(run.folder, copy.folder)
    recipe = yaml.safe_load((copy.folder / "recipe.yaml").read_text())
    recipe |= {"method": "finetune"}
    recipe["data"]["without"] = "/home/somebody/split.npz"
    (copy.folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    card = (export(copy.folder, "hub") / "README.md").read_text()
    assert "trained with labels by `finetune`" in card
    assert "Its labels were read." in card
    assert "without: split.npz" in card


def test_a_repository_of_the_hub_is_loaded_from_its_cache_without_a_network(
    run: Run, images: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="check the name and the network"):
        load_backbone("hf-hub:someone/tiny")
    commit = "0" * 40
    export(run.folder, "hub", tmp_path / "models--someone--tiny" / "snapshots" / commit, repo="someone/tiny")
    (tmp_path / "models--someone--tiny" / "refs").mkdir()
    (tmp_path / "models--someone--tiny" / "refs" / "main").write_text(commit)
    torch.testing.assert_close(load_backbone("hf-hub:someone/tiny").embed(images), embedded(run, images))


def test_the_card_says_what_the_weights_forgot(run: Run, tmp_path: Path) -> None:
    copy = Run(tmp_path / "forgotten")
    shutil.copytree(run.folder, copy.folder)
    record = {"request": {"description": "class 'coat'"}, "method": {"name": "laf"}, "written": "2026"}
    (copy.folder / "record.json").write_text(json.dumps(record))
    card = (export(copy.folder, "hub") / "README.md").read_text()
    assert "These weights are the result of forgetting:\n\n- class 'coat', by laf (2026)." in card


def test_the_verbs_of_the_command_line(run: Run, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from unlabeled.cli.app import app

    def call(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, list(arguments))
        return done.exit_code, done.stdout

    where = tmp_path / "weights.safetensors"
    assert call("export", str(run.folder), "--to", "safetensors", "--out", str(where)) == (0, f"{where}\n")
    assert call("runs", str(run.folder.parent), "--sort", "linear")[1].splitlines()[1].split()[0] == "tiny"
    assert "would be removed" in call("runs", str(run.folder.parent), "--clean", "checkpoints")[1]
    code, out = call("report", str(run.folder), "--out", str(tmp_path / "page.html"))
    assert (code, out.strip()) == (0, str(tmp_path / "page.html"))
    assert "81.0" in (tmp_path / "page.html").read_text()


def test_mistakes_are_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, words in [
        ({"to": "onxx"}, "Did you mean 'onnx'"),
        ({"to": "timm", "push": True}, "--to hub"),
        ({"to": "timm", "layer": "layer2"}, "whole backbone"),
        ({"to": "onnx", "out": tmp_path}, "is a folder"),
        ({"to": "hub", "out": tmp_path / "hub", "licence": "a\nb: c"}, "--licence"),
    ]:
        with pytest.raises(UserError, match=words) as raised:
            export(run.folder, **arguments)
        assert "\n" not in str(raised.value)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="is ready to be pushed"):
        export(run.folder, "hub", tmp_path / "hub", repo="someone/tiny", push=True)
    assert (tmp_path / "hub" / "README.md").is_file()


def test_torch_hub_loads_a_run(run: Run, images: torch.Tensor) -> None:
    home = Path(__file__).parents[2]
    backbone = torch.hub.load(str(home), "backbone", source="local", path=str(run.folder))
    torch.testing.assert_close(backbone.embed(images), embedded(run, images), atol=0, rtol=0)
