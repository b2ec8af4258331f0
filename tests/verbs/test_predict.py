"""`unlabeled predict`: classes of files by a fine-tuned run, and by any timm network with a classifier."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import unlabeled
from unlabeled.core.errors import UserError
from unlabeled.core.progress import set_quiet
from unlabeled.report import page
from unlabeled.report.gather import gather
from unlabeled.runs.classifier import load_classifier
from unlabeled.runs.folder import Run
from unlabeled.runs.image_classifier import open_classifier
from unlabeled.runs.models import load_backbone
from unlabeled.verbs.export import export
from unlabeled.verbs.finetune import finetune
from unlabeled.verbs.pretrain import pretrain
from unlabeled.verbs.runs import runs

Cli = Callable[..., tuple[int, str, str]]
TINY = ("health.every=0", "hardware.precision=32-true", "batch_size=8")
SMALL = "backbone.args={layers: [1, 1, 1, 1], channels: [16, 16, 32, 32]}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``photos/{dark,light}``, and ``run``, which tells them apart."""
    folder = tmp_path_factory.mktemp("predict")
    random = np.random.default_rng(0)
    for name, level in (("dark", 50), ("light", 200)):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(level - 40, level + 40, (12, 12, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number:02}.png")
    set_quiet(True)
    start = (f"data=folder:{folder / 'photos'}", "data.size=12", "epochs=0", *TINY, SMALL)
    pretrain("random", folder / "start", overrides=start)
    finetune(
        folder / "start", out=folder / "run", epochs=15, optimizer={"lr": 0.02}, batch_size=8, health={"every": 0},
        hardware={"precision": "32-true"},
    )  # fmt: skip
    set_quiet(False)
    return folder


@pytest.fixture
def broken(home: Path, tmp_path: Path) -> Path:
    """One image of each class, a stray one beside them, and a file that is none."""
    for name in ("dark", "light"):
        (tmp_path / "new" / name).mkdir(parents=True)
        (tmp_path / "new" / name / "00.png").write_bytes((home / "photos" / name / "00.png").read_bytes())
    (tmp_path / "new" / "stray.png").write_bytes((home / "photos" / "light" / "01.png").read_bytes())
    (tmp_path / "new" / "no.jpg").write_bytes(b"no image")
    return tmp_path / "new"


def test_every_file_of_a_folder_gets_the_class_that_the_classifier_gives_it(home: Path) -> None:
    found = unlabeled.predict(home / "run", home / "photos")
    assert found.paths == tuple(sorted(map(str, (home / "photos").rglob("*.png"))))
    backbone, loaded = load_backbone(home / "run"), load_classifier(home / "run")
    assert loaded is not None
    head, classes = loaded
    pictures = [Image.open(path) for path in found.paths]
    with torch.inference_mode():
        wanted = head(backbone.embed(pictures)).softmax(1)
    assert found.labels == [classes[c] for c in wanted.argmax(1).tolist()]
    np.testing.assert_allclose(found.probability, wanted.max(1).values, atol=1e-6)
    assert (
        np.mean([label == Path(path).parent.name for label, path in zip(found.labels, found.paths, strict=True)]) > 0.9
    )
    assert repr(found).startswith("Predictions(40 images: ")
    in_memory = unlabeled.predict(home / "run", pictures)
    np.testing.assert_allclose(in_memory.probability, found.probability, atol=1e-6)


def test_files_in_their_order_unreadable_ones_named(cli: Cli, home: Path, broken: Path) -> None:
    files = [str(broken / name) for name in ("light/00.png", "no.jpg", "dark/00.png")]
    code, out, err = cli("predict", str(home / "run"), *files, "--threshold", "0.4")
    assert code == 0, err
    rows = list(csv.DictReader(out.splitlines()))
    assert [row["path"] for row in rows] == [files[0], files[2], files[1]]
    assert [row["class"] for row in rows] == ["light", "dark", ""]
    assert [bool(row["unreadable"]) for row in rows] == [False, False, True]
    assert f"cannot be read: {files[1]}" in err


def test_json_of_a_folder_holds_strays_and_says_where_it_abstains(cli: Cli, home: Path, broken: Path) -> None:
    code, out, err = cli("predict", str(home / "run"), str(broken), "--threshold", "1", "--out", "found.json")
    assert code == 0, err
    content = json.loads(Path("found.json").read_text())
    assert [Path(row["path"]).name for row in content["images"]] == ["00.png", "00.png", "stray.png"]
    for row in content["images"]:
        assert row["abstained"] == (row["probability"] < 1)
        assert row["class"] == (None if row["abstained"] else row["likeliest"])
    assert [row["likeliest"] for row in content["images"]] == ["dark", "light", "light"]
    assert [Path(row["path"]).name for row in content["unreadable"]] == ["no.jpg"]
    assert "(unreadable)" in out
    assert "3 images: found.json" in out


def test_a_network_of_timm_with_a_classifier_is_one_too(tmp_path: Path) -> None:
    from unlabeled import backbones

    torch.manual_seed(0)
    made = timm.create_model("resnet10t", num_classes=4, pretrained_cfg_overlay={"input_size": (3, 32, 32)}).eval()
    made.pretrained_cfg["architecture"] = "resnet10t"
    backbones.save(made, tmp_path / "theirs")
    image = torch.rand(2, 3, 32, 32)
    cfg = made.pretrained_cfg
    mean, std = (torch.tensor(cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        wanted = made((image - mean) / std).softmax(1)
    found = unlabeled.predict(tmp_path / "theirs", image)
    assert found.labels == [str(c) for c in wanted.argmax(1).tolist()]
    np.testing.assert_allclose(found.probability, wanted.max(1).values, atol=1e-6)


def test_the_classifier_goes_out_to_plain_timm_torchscript_and_onnx(home: Path, tmp_path: Path) -> None:
    classifier = open_classifier(home / "run")
    images = torch.rand(3, 3, 12, 12)
    backbone = classifier.backbone
    with torch.inference_mode():
        wanted = classifier((images - backbone.mean) / backbone.std)
    folder = export(home / "run", "timm", classifier=True)
    assert folder == home / "run" / "export" / "timm-classifier"
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.inference_mode():
        torch.testing.assert_close(theirs((images - backbone.mean) / backbone.std), wanted)
    assert theirs.num_classes == 2
    assert theirs.pretrained_cfg["label_names"] == ["dark", "light"]
    assert unlabeled.predict(folder, images).labels == [("dark", "light")[c] for c in wanted.argmax(1).tolist()]
    assert (load_backbone(folder).embed(images) == load_backbone(home / "run").embed(images)).all()

    names = {"classes.json": ""}
    traced = torch.jit.load(export(home / "run", "torchscript", tmp_path / "c.pt", classifier=True), _extra_files=names)
    torch.testing.assert_close(traced(images), wanted, atol=1e-5, rtol=1e-4)
    assert json.loads(names["classes.json"]) == ["dark", "light"]

    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(export(home / "run", "onnx", tmp_path / "c.onnx", classifier=True))
    (got,) = session.run(["logits"], {"images": images.numpy()})
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == ["dark", "light"]

    card = (export(home / "run", "hub", tmp_path / "hub", classifier=True) / "README.md").read_text()
    assert "pipeline_tag: image-classification" in card
    assert "2 classes apart: dark, light" in card
    assert "| fine-tuned |" in card
    with pytest.raises(UserError, match="has no classifier; make one with"):
        export(home / "start", "onnx", tmp_path / "no.onnx", classifier=True)
    with pytest.raises(UserError, match="--classifier: it reads the whole backbone"):
        export(home / "run", "onnx", tmp_path / "no.onnx", classifier=True, layer="layer1")


def test_the_accuracy_is_in_the_list_of_runs_and_on_the_page(cli: Cli, home: Path) -> None:
    top1 = json.loads((home / "run" / "finetune.json").read_text())["top1"]
    (row,) = (row for row in runs(home, "fine-tuned") if row.run == "run")
    assert row.figures["fine-tuned"] == top1
    assert "fine-tuned" in cli("runs", str(home))[1]
    content = gather(Run(home / "run"), "run")
    assert [matrix.title.split(" on ")[0] for matrix in content.confusions] == ["fine-tuned classifier"]
    shown = page([content])
    assert f"<b>{100 * top1:.1f}</b>" in shown
    assert "accuracy on training images" in shown
    assert "pretext" not in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["start", "photos"], "start has no classifier; make one with: unlabeled finetune"),
        (["run", "nowhere"], "there is no image or folder nowhere"),
        (["run", "photos", "--threshold", "2"], "between 0 and 1, not 2"),
        (["run", "photos", "--out", "found.txt"], "written as .csv or .json"),
    ],
)
def test_mistakes(cli: Cli, home: Path, arguments: list[str], message: str) -> None:
    words = [str(home / word) if (home / word).exists() else word for word in arguments]
    code, out, err = cli("predict", *words)
    assert code == 2
    assert message in err
    assert out == ""


def test_embed_takes_paths_and_refuses_what_cannot_be_read(home: Path, broken: Path) -> None:
    backbone = load_backbone(home / "run")
    paths = unlabeled.image_paths(home / "photos")
    vectors = unlabeled.embed(backbone, paths[::-1])
    with Image.open(paths[-1]) as picture:
        np.testing.assert_allclose(vectors[0], backbone.embed(picture)[0], atol=1e-5)
    np.testing.assert_allclose(unlabeled.embed(backbone, paths[0]), vectors[-1:], atol=1e-5)
    np.testing.assert_allclose(unlabeled.embed(backbone, str(home / "photos")), vectors[::-1], atol=1e-5)
    with pytest.raises(UserError, match=r"embed: 1 of 4 files cannot be read: .*no\.jpg"):
        unlabeled.embed(backbone, unlabeled.image_paths(broken))
    with pytest.raises(UserError, match=r"there is no image nowhere\.png"):
        unlabeled.embed(backbone, ["nowhere.png"])


def test_the_folder_of_a_run_is_left_alone(home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (home / "run").rglob("*")}
    unlabeled.predict(Run(home / "run").folder, home / "photos" / "dark" / "00.png")
    assert {path: path.stat().st_mtime_ns for path in (home / "run").rglob("*")} == before
