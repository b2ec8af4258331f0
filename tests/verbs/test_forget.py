from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unlabeled import backbones
from unlabeled.backbones import read_lineage
from unlabeled.cli.app import main
from unlabeled.cli.present import show_forgotten
from unlabeled.core.chain import verify
from unlabeled.core.errors import UserError
from unlabeled.core.files import cache_dir
from unlabeled.core.progress import set_quiet
from unlabeled.data import open_data
from unlabeled.data.forget_sets import ForgetSplit
from unlabeled.forgetting.classifier import Classifier, fingerprint, wrap
from unlabeled.forgetting.methods import METHODS, forgetter_class
from unlabeled.recipes.resolve import load_recipe
from unlabeled.report.looks import as_finished
from unlabeled.runs.folder import Run
from unlabeled.runs.models import load_backbone
from unlabeled.runs.prepared import prepare
from unlabeled.verbs.finetune import finetune
from unlabeled.verbs.forget import forget, load_classifier
from unlabeled.verbs.pretrain import pretrain

SHORT = ("epochs=2", "vae_epochs=2", "vae_batch_size=64", "lr_ue=1e-3", "lr_ra=1e-3")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three easy classes, and two runs on it: supervised, and a random backbone without a head."""
    folder = tmp_path_factory.mktemp("forget")
    set_quiet(True)
    random = np.random.default_rng(0)

    def blobs(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 3
        pixels = random.normal(90, 25, (count, 8, 8))
        for c in range(3):
            pixels[labels == c, 3 * c : 3 * c + 2] += 70
        return pixels.clip(0, 255).astype(np.uint8), labels

    (x, y), (x_test, y_test) = blobs(180), blobs(60)
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    common = [f"data=npz:{folder / 'data.npz'}", "batch_size=32", "optimizer.lr=0.05", "health.every=0"]
    small = "backbone.args={layers: [1, 1, 1, 1], channels: [8, 8, 16, 16]}"
    pretrain("supervised", folder / "classifier", overrides=(*common, small, "epochs=6"))
    pretrain("supervised", folder / "noisy", overrides=(*common, small, "epochs=1", "data.corrupt=noisy:50%@0-1"))
    pretrain("random", folder / "backbone", overrides=(*common[:2], small, "epochs=0"))
    start = (f"backbone.weights={folder / 'backbone' / 'backbone'}", "optimizer.warmup_epochs=0")
    pretrain("simclr", folder / "simclr", overrides=(*common, *start, "epochs=1"))
    yield folder
    set_quiet(False)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def test_a_class_is_forgotten_and_the_result_is_a_run(home: Path, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in (home / "classifier").rglob("*") if p.is_file()}
    result = forget(home / "classifier", "class:0", settings=SHORT, compare=["lfssd"], out=tmp_path / "out")
    assert {p: p.read_bytes() for p in before} == before
    assert [r.method for r in result.rows] == ["original", "retrain", "head_only", "laf", "lfssd"]
    new = load_classifier(tmp_path / "out")
    assert Run(tmp_path / "out").finished()
    assert load_backbone(tmp_path / "out")(torch.zeros(1, 1, 8, 8)).shape[0] == 1
    record = json.loads((tmp_path / "out" / "record.json").read_text(), parse_constant=pytest.fail)
    assert len(record["images"]) == 60
    assert record["models"]["forgotten"] == result.rows[3].model == fingerprint(new)
    original = fingerprint(load_classifier(home / "classifier"))
    assert record["models"]["original"] == original != fingerprint(new)
    assert record["models"]["retrained"] == result.rows[1].model
    assert result.rows[1].measures["train_f"] == 0  # the recipe was carried out without class 0
    assert json.loads((tmp_path / "out" / "forgetting" / "rows.json").read_text(), parse_constant=pytest.fail)
    pictures = sorted(p.name for p in (tmp_path / "out" / "forgetting" / "pictures").iterdir())
    assert pictures == ["attack_scores.png", "class_accuracy.png", "embedding.png"]
    assert "| retrain |" in (tmp_path / "out" / "table.md").read_text()
    shown = show_forgotten(result)
    assert "re-probe_f" in shown
    assert "head_only: its embeddings are the original's" in shown
    again = forget(home / "classifier", "class:0", settings=SHORT, compare=["lfssd"], out=tmp_path / "out")
    assert [r.seconds for r in again.rows[1:]] == [r.seconds for r in result.rows[1:]]
    with pytest.raises(UserError, match=r"answer to another request \(class:0: 60 of 180 images"):
        forget(home / "classifier", "class:1", settings=SHORT, out=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "record.json").read_text())["images"] == record["images"]


def test_a_backbone_without_head_is_judged_by_what_it_embeds(home: Path, tmp_path: Path) -> None:
    result = forget(home / "backbone", "random:20%", settings=SHORT, retrain=False, seeds=2, out=tmp_path / "out")
    assert [(r.method, r.seed) for r in result.rows] == [("original", 0), ("laf", 0), ("original", 1), ("laf", 1)]
    assert not (tmp_path / "out" / "classifier").exists()
    assert result.rows[1].measures["cka_forget_original"] < 1
    # Training that goes on from it leaves out what it forgot, unasked; the explicit word takes it in, and is recorded.
    left_out = ForgetSplit.load(tmp_path / "out" / "forgetting" / "left_out.npz")
    start = (f"data=npz:{home / 'data.npz'}", "epochs=0", f"backbone.weights={tmp_path / 'out'}")
    unasked = pretrain("simclr", tmp_path / "unasked", overrides=start)
    assert unasked.read_json("data.json")["images"] == len(left_out.retain_rows) == 144
    assert Path(unasked.recipe().data.without) == (tmp_path / "out" / "forgetting" / "left_out.npz").resolve()
    again = (*start[:2], f"backbone.weights={unasked.backbone}")
    assert pretrain("simclr", tmp_path / "next", overrides=again).read_json("data.json")["images"] == 144
    asked = pretrain("simclr", tmp_path / "asked", overrides=(*start, "data.without=null"))
    assert asked.read_json("data.json")["images"] == 180
    assert asked.recipe().data.without is None


def test_a_self_supervised_backbone_is_pretrained_again_without_the_images(home: Path, tmp_path: Path) -> None:
    gone = np.arange(0, 180, 4)
    (tmp_path / "rows.txt").write_text(" ".join(map(str, gone)))
    found = forget(
        home / "simclr", f"indices:{tmp_path / 'rows.txt'}", settings=SHORT, compare=["lfssd"], out=tmp_path / "out"
    )
    assert "45 of 180 images" in found.description
    assert [row.method for row in found.rows] == ["original", "retrain", "laf", "lfssd"], "no head to edit alone"
    by = {row.method: row.measures for row in found.rows}
    assert by["retrain"]["cka_forget_retrained"] == pytest.approx(1)
    for name in ("original", "laf", "lfssd"):
        assert by[name]["cka_forget_retrained"] < 1
        assert {"rus", "reprobe_linear_test", "reprobe_linear_few_test", "mia_auc_features"} <= set(by[name])
        assert not {"test", "train_f", "asr"} & set(by[name])
    assert found.rows[2].time_ratio > 0
    (again,) = (run for run in (cache_dir() / "forgetting").glob("*/run") if Run(run).recipe().method.name == "simclr")
    recipe, original = Run(again).recipe(), Run(home / "simclr").recipe()
    assert recipe.method == original.method
    assert recipe.views == original.views
    assert recipe.seed != original.seed
    assert ForgetSplit.load(Path(recipe.data.without)).forget_rows.tolist() == gone.tolist()
    assert fingerprint(Classifier(load_backbone(again).model)) == found.rows[1].model
    assert str(home / "backbone") in found.verdict[-1], "what the weights met that both started from is not forgotten"
    shown = prepare(as_finished(Run(tmp_path / "out").recipe(), Run(tmp_path / "out"), None)).images
    everything = open_data(f"npz:{home / 'data.npz'}", "train")
    kept = everything.subset(np.setdiff1d(np.arange(180), gone))
    assert shown.fingerprint == kept.fingerprint, "a report does not show what was forgotten"
    # A second request: what the first one took is neither kept, nor retrained on, nor forgotten again.
    (tmp_path / "rows.txt").write_text("1 5 4")
    with pytest.raises(UserError, match=r"row 4 in .* is none the model trained on"):
        forget(tmp_path / "out", f"indices:{tmp_path / 'rows.txt'}", out=tmp_path / "next")
    (tmp_path / "rows.txt").write_text("1 5")
    second = forget(
        tmp_path / "out", f"indices:{tmp_path / 'rows.txt'}", settings=SHORT, retrain=False, out=tmp_path / "next"
    )
    assert "2 of 135 images" in second.description
    record = json.loads((tmp_path / "next" / "record.json").read_text())
    assert [image["row"] for image in record["images"]] == [1, 5]
    left_out = ForgetSplit.load(tmp_path / "next" / "forgetting" / "left_out.npz")
    assert left_out.forget_rows.tolist() == sorted([*gone, 1, 5])
    assert len(left_out.retain_rows) == 133


def test_a_second_request_is_answered_after_the_files_of_the_first_are_gone(home: Path, tmp_path: Path) -> None:
    photos, random = tmp_path / "photos", np.random.default_rng(0)
    photos.mkdir()
    for number in range(120):
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(photos / f"{number:03}.png")
    small = "backbone.args={layers: [1, 1, 1, 1], channels: [8, 8, 16, 16]}"
    pretrain("random", tmp_path / "run", overrides=(f"data=folder:{photos}", "epochs=0", small))
    before = open_data(f"folder:{photos}", "train").paths

    def request(source: Path, paths: list[str], out: Path) -> ForgetSplit:
        (tmp_path / "request.txt").write_text("\n".join(paths))
        forget(source, f"files:{tmp_path / 'request.txt'}", settings=SHORT, retrain=False, out=out)
        return ForgetSplit.load(out / "forgetting" / "left_out.npz")

    first = list(before[::5])
    request(tmp_path / "run", first, tmp_path / "one")
    for path in first:
        Path(path).unlink()
    second = [before[1], before[7]]
    left_out = request(tmp_path / "one", second, tmp_path / "two")
    now = open_data(f"folder:{photos}", "train")
    assert {now.paths[row] for row in left_out.retain_rows} == set(before) - set(first) - set(second)
    # training goes on without them, too, and images that the model never met do not count as its own
    Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(photos / "new.png")
    recipe = load_recipe(
        "random", [f"data=folder:{photos}", f"data.without={tmp_path / 'two/forgetting/left_out.npz'}"]
    )
    assert set(prepare(recipe).images.paths) == set(before) - set(first) - set(second)
    with pytest.raises(UserError, match="holds none of the retain images"):
        forget(tmp_path / "two", "random:10%", data=f"npz:{home / 'data.npz'}", out=tmp_path / "three")


def test_what_a_backbone_cannot_do_is_said_before_it_is_pretrained_again(home: Path, tmp_path: Path) -> None:
    before = set((cache_dir() / "forgetting").glob("*/run"))
    with pytest.raises(UserError, match="scrub edits or trains a classifier head, but this model has none"):
        forget(home / "simclr", "class:1", method="laf", compare=["scrub"], out=tmp_path / "out")
    assert set((cache_dir() / "forgetting").glob("*/run")) == before
    assert not (tmp_path / "out" / "forgetting").exists(), "another request may still be answered here"


def test_the_page_on_deletion_tells_what_each_method_needs_and_its_model_forgets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "deletion.md").read_text()
    cell = r" (yes|–|own loss) \|"
    lines = re.findall(rf"^\| (`[a-z0-9_`, ]+`) \|{4 * cell}", page, re.MULTILINE)
    told = {n.strip(" `"): tuple(needs) for names, *needs in lines for n in names.split(",")}
    says = {True: "yes", False: "–"}
    assert told == {
        n: (
            says[m.needs_labels],
            says[m.needs_retain],
            says[m.needs_head],
            "own loss" if m.own_loss else says[not m.needs_head],
        )
        for n, m in zip(METHODS, map(forgetter_class, METHODS), strict=True)
    }
    meets_others = {n for n in METHODS if forgetter_class(n).needs_unseen}
    assert meets_others == set(re.findall(r"^\| `(\w+)` .*images it never met, which it needs", page, re.MULTILINE))
    (block,) = (b for b in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE) if "timm" in b)
    found: dict = {}
    exec(compile(block, "docs/deletion.md", "exec"), found)
    same = wrap(found["model"], (1, 32, 32))
    assert fingerprint(same.head) == fingerprint(found["forgot"].head)
    assert fingerprint(same.extractor) != fingerprint(found["forgot"].extractor)
    assert "512" in capsys.readouterr().out


def test_wrong_labels_are_forgotten_only_where_they_were_learnt(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.corrupt=noisy:50%@0-1"):
        forget(home / "classifier", "noisy:50%@0-1", out=tmp_path / "out")
    result = forget(home / "noisy", "noisy:50%@0-1", settings=SHORT, retrain=False, out=tmp_path / "out")
    assert "relabelled wrongly" in result.description


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "laff"}, "Did you mean 'laf'"),
        ({"settings": ["epoch=3"]}, "epochs"),
        ({"settings": ["epochs=many"]}, "method laf"),
        ({"what": "class:7"}, "no class 7"),
        ({"what": "class:0-2"}, "names all 180"),
        ({"method": "retrain", "retrain": False}, "--no-retrain leaves out what is to be kept"),
        ({"method": "retrain", "settings": ["epochs=3"]}, "has no settings; leave out epochs=3"),
        ({"method": "retrain", "model": "plain"}, "nothing says how it was trained"),
        ({"keep": ["scrub"]}, "--keep scrub: the table has no such row; it has laf, retrain"),
        ({"model": "/no/such/run"}, "no model '/no/such/run'"),
        ({"data": "no-such-data"}, "no-such-data"),
        ({"what": "random:0%"}, "names no image"),
        ({"what": "random:100%"}, "names all 180"),
        ({"what": "indices:far.txt"}, "row 180 in .* is out of range; the data has rows 0 to 179"),
        ({"what": "indices:none.txt"}, "there is no file"),
        ({"what": "files:far.txt"}, "no file names"),
        ({"what": "random:20%", "settings": ["stop=answers"], "retrain": False}, "use stop=unseen"),
        ({"compare": ["nmcc"]}, "Did you mean 'nmc'"),
    ],
)
def test_mistakes_are_explained_in_a_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plain").symlink_to(home / "backbone" / "backbone")
    Path("far.txt").write_text("3\n180\n")
    arguments = {"model": home / "classifier", "what": "class:0", "out": tmp_path / "out", **changes}
    with pytest.raises(UserError, match=message) as caught:
        forget(arguments.pop("model"), arguments.pop("what"), **arguments)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_in_the_data_and_one_that_is(home: Path, tmp_path: Path) -> None:
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 255, (40, 8, 8), np.uint8)):
        folder = tmp_path / "images" / ("train" if number < 30 else "test") / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    request = tmp_path / "request.txt"
    request.write_text("a/0.png\nb/77.png\n")
    arguments = {"data": f"folder:{tmp_path / 'images'}", "retrain": False, "settings": SHORT}
    result = forget(home / "backbone", f"files:{request}", out=tmp_path / "out", **arguments)
    assert "1 of 30 images" in result.description
    assert "1 not in the data" in result.description
    request.write_text("a/0.png\nb/1.png\n")
    result = forget(home / "backbone", f"files:{request}", out=tmp_path / "both", **arguments)
    assert "2 of 30 images" in result.description
    request.write_text("b/77.png\n")
    with pytest.raises(UserError, match="not in the data"):
        forget(home / "backbone", f"files:{request}", out=tmp_path / "none", **arguments)


def test_a_model_whose_embedding_cannot_be_found(home: Path, tmp_path: Path) -> None:
    """A transformer that returns its tokens: no vector an image."""
    sizes = {"patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 2, "class_token": False}
    pooling = {"global_pool": "avg", "fc_norm": False}
    shape = {"in_chans": 1, "image_size": 8, "mean": (0.5,), "std": (0.25,)}
    model = backbones.create("vit_tiny_patch16_224", **shape, **sizes, **pooling)
    backbones.save(model, tmp_path / "tokens")
    config = tmp_path / "tokens" / "config.json"
    config.write_text(config.read_text().replace('"global_pool": "avg"', '"global_pool": ""'))
    with pytest.raises(UserError, match=r"\(B, D\): pool or flatten it") as caught:
        forget(tmp_path / "tokens", "class:0", data=f"npz:{home / 'data.npz'}", out=tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_exact_forgetting_compared_over_seeds_on_the_command_line(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--forget", "class:2", "--method", "nmc", "--compare", "retrain, head_only, lda", "--seeds", "2"]
    command = [
        "unlabeled",
        "forget",
        str(home / "classifier"),
        *arguments,
        "--no-retrain",
        "--out",
        str(tmp_path / "o"),
    ]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as leave:
        main()
    shown, err = capsys.readouterr()
    assert not leave.value.code, err
    rows = json.loads((tmp_path / "o" / "forgetting" / "rows.json").read_text())
    assert [(r["method"], r["seed"]) for r in rows] == [
        (m, s) for s in (0, 1) for m in ("original", "head_only", "nmc", "lda")
    ]
    assert [r["measures"]["train_f"] for r in rows if r["method"] in ("nmc", "lda")] == [0.0] * 4
    assert load_classifier(tmp_path / "o").head.weight.shape[0] == 3
    assert "class:2: 60 of 180 images" in shown
    assert "nmc beside head_only" in shown
    assert " ± " in (tmp_path / "o" / "table.md").read_text()
    record = json.loads((tmp_path / "o" / "record.json").read_text())
    assert record["request"]["spec"] == "class:2"
    assert record["method"]["name"] == "nmc"
    assert record["method"]["read_labels"] is True
    assert record["measures"]["after"]["train_f"] == 0 < record["measures"]["before"]["train_f"]
    again = ForgetSplit.load(tmp_path / "o" / "forgetting" / "split.npz")
    assert [image["row"] for image in record["images"]] == again.forget_rows.tolist() == list(range(2, 180, 3))


def test_a_killed_forget_goes_on_where_it_stopped(home: Path, tmp_path: Path) -> None:
    """Killed for good (SIGKILL) in the middle of LAF: what was finished is kept, and the end is the same to the bit."""
    out, long = tmp_path / "out", [s for s in SHORT if not s.startswith("epochs")] + ["epochs=40"]
    command = [sys.executable, "-m", "unlabeled", "forget", str(home / "classifier"), "--forget", "class:0"]
    with subprocess.Popen([*command, "--quiet", "--no-retrain", "--out", str(out), *long]) as job:
        until = time.monotonic() + 100
        while not (states := list(out.glob("forgetting/models/laf-*/checkpoint/laf.pt"))):
            assert job.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        job.kill()
    assert states
    assert not list(out.glob("forgetting/rows/laf-*"))
    stamps = {p: p.stat().st_mtime_ns for p in out.glob("forgetting/rows/*/row.json")}
    assert len(stamps) == 2, "original and head_only"
    again = forget(home / "classifier", "class:0", settings=long, retrain=False, out=out)
    whole = forget(home / "classifier", "class:0", settings=long, retrain=False, out=tmp_path / "whole")
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    assert [r.model for r in again.rows] == [r.model for r in whole.rows]


def test_folders_that_must_not_be_written_to(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="own folder"):
        forget(home / "classifier", "class:0", out=home / "classifier")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not made by forgetting"):
        forget(home / "classifier", "class:0", out=tmp_path)
    (tmp_path / "demo" / "forgetting" / "demo").mkdir(parents=True)
    with pytest.raises(UserError, match="not made by forgetting"):
        forget(home / "classifier", "class:0", out=tmp_path / "demo")


def test_a_recipe_without_some_images_needs_the_right_split(home: Path) -> None:
    recipe = load_recipe(home / "classifier", ["data.without=/no/such.npz"])
    with pytest.raises(UserError, match="not a forget split"):
        pretrain(recipe, home / "x")


def test_the_retrained_network_is_left_as_a_run_of_its_own(home: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("1 5 9 13")
    asked = f"indices:{tmp_path / 'rows.txt'}"
    found = forget(home / "simclr", asked, method="retrain", out=tmp_path / "again")
    assert [row.method for row in found.rows] == ["original", "retrain"]
    run = Run(tmp_path / "again")
    assert fingerprint(Classifier(load_backbone(run.folder).model)) == found.rows[1].model
    record = run.read_json("record.json")
    assert record["method"]["name"] == "retrain"
    assert record["models"]["forgotten"] == record["models"]["retrained"] == found.rows[1].model
    # it stands on its own: nothing in it leads to the cache, and what goes on from it leaves the images out
    assert ForgetSplit.load(Path(run.recipe().data.without)).forget_rows.tolist() == [1, 5, 9, 13]
    assert str(cache_dir()) not in "".join(p.read_text() for p in run.folder.rglob("*.json"))
    start = (f"data=npz:{home / 'data.npz'}", "epochs=0", f"backbone.weights={run.folder}")
    assert pretrain("simclr", tmp_path / "next", overrides=start).read_json("data.json")["images"] == 176
    # beside another method
    forget(home / "simclr", asked, settings=SHORT, keep=["retrain"], out=tmp_path / "laf")
    kept = Run(tmp_path / "laf-retrain")
    assert kept.read_json("record.json")["models"]["forgotten"] == found.rows[1].model
    assert Run(tmp_path / "laf").read_json("record.json")["method"]["name"] == "laf"
    tuned, _ = finetune(kept.folder, overrides=("epochs=1", "batch_size=32"), out=tmp_path / "tuned")
    assert tuned.read_json("data.json")["images"] == 176


def test_the_record_says_where_the_weights_come_from_and_what_it_does_not_cover(home: Path, tmp_path: Path) -> None:
    tuned, _ = finetune(home / "simclr", overrides=("epochs=1", "batch_size=32"), out=tmp_path / "tuned")
    (tmp_path / "rows.txt").write_text("3 4")
    asked = f"indices:{tmp_path / 'rows.txt'}"
    found = forget(tuned.folder, asked, settings=SHORT, retrain=False, out=tmp_path / "out")
    record = Run(tmp_path / "out").read_json("record.json")
    steps = [(step["step"].split()[0], step["met_the_images"]) for step in record["lineage"]]
    assert steps == [("random", False), ("simclr", True), ("finetune", True)]
    (said,) = (line for line in record["not_covered"] if "weights it came from" in line)
    assert str(home / "simclr") in said
    assert said in found.verdict, "the terminal and table.md say it, too, with --no-retrain as well"
    assert record["not_covered"] == [line for line in found.verdict if line.startswith("not covered")]
    assert read_lineage(tmp_path / "out" / "backbone")[-1].did == "forget"
    # images that the fine-tuning never saw, because an earlier request took them, are not said to have been met
    again = forget(tmp_path / "out", "random:5%", settings=SHORT, retrain=False, out=tmp_path / "second")
    entries = verify(again.run.folder / "record.jsonl")
    assert [entry["what"] for entry in entries] == ["forget", "forget"], "one record for both requests"
