"""The command line as a user meets it: one life end to end, and every mistake in one line with exit code 2."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import timm
import torch
from PIL import Image

import unlabeled as suite

TINY = (
    "epochs=2",
    "batch_size=64",
    "backbone.args={layers: [1, 1, 1, 1], channels: [8, 8, 16, 16], stem_stride: 2}",
    "health.images=100",
    "output.logger=none",
    "output.log_every=2",
    "hardware.precision=32-true",
)
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small labelled data set as a folder of class folders."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, bright in {"dark": 40, "light": 200}.items():
        (folder / name).mkdir()
        for number in range(80):
            pixels = rng.normal(bright, 25, (16, 16)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return str(folder)


def test_a_whole_life(cli: Cli, data: str, tmp_path: Path) -> None:
    code, out, err = cli("pretrain", "rotation", f"data=folder:{data}", *TINY, "--out", "run")
    assert code == 0, err
    assert "unlabeled probe run" in out
    assert "pretraining" in err
    assert "pretraining" not in out
    run = tmp_path / "run"
    for name in ("recipe.yaml", "metrics.csv", "environment.json", "data.json", "checkpoints/last.ckpt"):
        assert (run / name).is_file()
    environment = json.loads((run / "environment.json").read_text())
    assert environment["versions"]["torch"] == importlib.metadata.version("torch")

    code, out, err = cli("probe", "run", "pixels", "--data", f"folder:{data}", "--json", "out.json")
    assert code == 0, err
    reports = json.loads((tmp_path / "out.json").read_text())["reports"]
    assert [r["model"] for r in reports] == ["run (layer3, flat)", "pixels"]
    assert reports[1]["probes"]["linear"]["top1"] > 0.9
    assert all(name in out for name in ("linear", "kNN", "NMC"))
    assert list((run / "probes").glob("*.json"))

    images = torch.randn(4, 1, 16, 16)
    with torch.no_grad():
        ours = suite.load_backbone(run)(images)
        theirs = timm.create_model(f"local-dir:{run}/backbone", pretrained=True, num_classes=0).eval()(images)
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert suite.embed(run, f"folder:{data}").shape[1] == 16

    code, _, err = cli("pretrain", "rotation", f"data=folder:{data}", *TINY, "--out", "run")
    assert code == 2
    assert "already holds a run; go on with --resume, replace it with --overwrite" in err
    code, _, err = cli("pretrain", "rotation", f"data=folder:{data}", *TINY, "seed=5", "--out", "run", "--resume")
    assert code == 2
    assert "'seed' differs" in err
    code, _, err = cli("pretrain", "run", "--resume")
    assert code == 0
    assert "already finished" in err

    first = (run / "backbone" / "model.safetensors").read_bytes()
    # a mistake that only a step shows is found before the old run is given up
    code, _, err = cli("pretrain", "rotation", f"data=folder:{data}", *TINY, "views.0.count=2", "--out", "run",
                       "--overwrite")  # fmt: skip
    assert code == 2
    assert "learns from 1 view" in err
    single = ("batch_size=2", "optimizer.accumulate=2")  # BatchNorm has nothing to normalise one value by
    code, _, err = cli("pretrain", "supervised", f"data=folder:{data}", *TINY, *single, "--out", "run", "--overwrite")
    assert code == 2
    assert "cannot be trained on views of 16x16 pixels (Expected more than 1 value" in err
    assert (run / "backbone" / "model.safetensors").read_bytes() == first
    assert cli("pretrain", "rotation", f"data=folder:{data}", *TINY, "--out", "run", "--overwrite", "-q")[0] == 0
    assert (run / "backbone" / "model.safetensors").read_bytes() == first


def test_quiet_is_quiet(cli: Cli, data: str) -> None:
    code, out, err = cli("pretrain", "simclr", f"data=folder:{data}", *TINY, "epochs=1", "--out", "q", "--quiet")
    assert code == 0
    assert err == ""
    assert out.startswith("run: q")


def test_a_flat_folder_without_labels_is_enough(cli: Cli, data: str, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in Path(data).rglob("*.png"):
        shutil.copy(path, flat / f"{path.parent.name}-{path.name}")
    code, out, err = cli("pretrain", "rotation", f"data={flat}", *TINY, "--dry-run")
    assert code == 0, err
    assert "parameters" in out
    assert "steps" in out
    code, out, err = cli("pretrain", "gsimclr", f"data={flat}", *TINY, "--dry-run")
    assert code == 0, err
    assert "at most 2" in out  # how many there are is known when the pseudo-labels are
    assert "autoencoder" not in err
    assert not (tmp_path / "runs").exists()
    code, _, err = cli("pretrain", "supervised", f"data={flat}", *TINY)
    assert code == 2
    assert "needs labels" in err
    code, _, err = cli("probe", "pixels", "--data", str(flat))
    assert code == 2
    assert "labels" in err


def test_lists(cli: Cli) -> None:
    code, out, _ = cli("recipes")
    assert code == 0
    assert {"simclr", "rotation", "swav", "mae"} <= {line.split()[0] for line in out.splitlines()}
    assert "temperature: 0.2" in cli("recipes", "show", "simclr", "method.temperature=0.2")[1]
    assert "fashion-mini" in cli("data")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "simlcr"], "Did you mean 'simclr'?"),
        (["pretrain", "simclr", "epoch=3"], "Did you mean 'epochs'?"),
        (["pretrain", "simclr", "data=fashion-minni"], "Did you mean 'fashion-mini'?"),
        (["pretrain", "simclr", "backbone.name=resnet1x"], "timm has no model 'resnet1x'"),
        (["pretrain", "simclr", "epochs=many"], "valid integer, not 'many'"),
        (["pretrain", "simclr", "data=folder:nowhere"], "nowhere"),
        (["pretrain", "simclr", "data=folder:empty"], "empty"),
        (["pretrain", "simclr", "batch_size=9000"], "batch_size=4096 or less"),
        (["pretrain", "mae", "backbone.args.patch_size=64"], "patches of 64 pixels"),
        (["pretrain", "mae", "backbone={name: resnet10_small}"], "vision transformer"),
        (["pretrain", "swav", "backbone={name: vit_tiny_patch16_224, args: {patch_size: 4}}"], "20x20 pixels"),
        (
            ["pretrain", "swav", "backbone={name: vit_tiny_patch16_224, args: {patch_size: 4}}"],
            "for views of several sizes set backbone.args.dynamic_img_size=true.",
        ),
        (
            ["pretrain", "swav", "backbone={name: vit_tiny_patch16_224, args: {patch_size: 14}}"],
            "set backbone.args.dynamic_img_size=true and backbone.args.patch_size=4.",
        ),
        (["pretrain", "simclr", "--epochs", "3"], "but a setting: write epochs=3"),
        (["pretrain", "simclr", "--learning-rate=0.3"], "write optimizer.lr=0.3"),
        (["finetune", "run", "--batch-size", "8"], "write batch_size=8"),
        (["forget", "run", "--forget", "class:0", "--vae-epochs", "2"], "write vae_epochs=2"),
        (["recipes", "show", "simclr", "--temperature", "1"], "write method.temperature=1"),
        (["pretrain", "simclr", "--data", "here", "data=there"], "leave one of them out"),
        (["pretrain", "simclr", "--data", "fashion-minni"], "Did you mean 'fashion-mini'?"),
        (
            ["pretrain", "dino", "backbone={name: vit_tiny_patch16_224, args: {patch_size: 4}}"],
            "for views of several sizes set backbone.args.dynamic_img_size=true.",
        ),
        (
            [
                "pretrain",
                "dino",
                "backbone={name: vit_tiny_patch16_224, args: {patch_size: 7, dynamic_img_size: true}}",
            ],
            "(20) should be divisible by patch size (7)); change 'size' in the recipe's views",
        ),
        (["pretrain", "simclr", "views.0.count=3"], "learns from 2 views"),
        (["pretrain", "gsimclr", "method.clusters=64"], "method.clusters to 512 or more, or batch_size=64 or less"),
        (["pretrain", "old", "--resume"], "schema_version 0"),
        (["pretrain", "cut", "--resume"], "not a whole checkpoint"),
        (["pretrain", "simclr", "--out", "file"], "is a file"),
        (["pretrain", "simclr", "--out", "full"], "not empty and holds no run"),
        (["probe", "nowhere"], "no model 'nowhere'"),
        (["probe", "random:resnet1x"], "timm has no model"),
        (["probe", "pixels", "--probes", "linaer"], "Did you mean 'linear'?"),
        (["probe", "local-dir:empty"], "config.json"),
        (["probe", "cut"], "has not finished"),
        (["probe", "pixels", "--json", "empty"], "is a folder; name a file"),
        (["probe", "pixels", "--json", "file/x.json"], "a file stands where a folder is needed"),
        (["probe", "pixels", "--probes", ","], "name at least one probe"),
        (["finetune", "pixels"], "has not learned anything"),
        (["pretrain", "simclr", "--resume", "--overwrite"], "choose one of them"),
        (["pretrian"], "pretrian"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_2(cli: Cli, arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("do not delete")
    (tmp_path / "file").write_text("x")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "recipe.yaml").write_text("schema_version: 0\nmethod: simclr\n")
    (tmp_path / "cut" / "checkpoints").mkdir(parents=True)
    (tmp_path / "cut" / "recipe.yaml").write_text("method: rotation\nbatch_size: 128\nepochs: 1\n")
    (tmp_path / "cut" / "checkpoints" / "last.ckpt").write_bytes(b"PK\x03\x04 truncated")
    code, out, err = cli(*arguments)
    assert code == 2
    assert message in err.replace("│", " ")
    assert "Traceback" not in err
    assert out == ""
    if arguments[0] != "pretrian":
        assert len(err.strip().splitlines()) <= 2
        assert err.strip().splitlines()[-1].startswith("unlabeled: ")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "do not delete"
    assert not list(tmp_path.glob("runs/*")), "a run that never began leaves a folder"


def test_a_killed_run_resumes_to_the_same_bits(data: str, tmp_path: Path) -> None:
    arguments = [sys.executable, "-W", "ignore", "-m", "unlabeled", "pretrain"]
    settings = ["simclr", f"data=folder:{data}", *TINY, "epochs=12", "output.save_seconds=0"]

    def start(out: str, *more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*arguments, *more, "--out", out], cwd=tmp_path, stderr=subprocess.DEVNULL)

    assert start("whole", *settings).wait(200) == 0
    process = start("killed", *settings)
    checkpoint = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "backbone").exists(), "the run ended before it could be killed"
    assert start("killed", "killed", "--resume").wait(200) == 0
    weights = [(tmp_path / run / "backbone" / "model.safetensors").read_bytes() for run in ("whole", "killed")]
    assert weights[0] == weights[1]


def test_help_and_import_are_quick() -> None:
    def fastest(*command: str) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], check=True, capture_output=True)
            times.append(time.perf_counter() - start)
        return min(times)

    assert fastest("-m", "unlabeled", "--help") < 0.5
    assert fastest("-c", "import unlabeled") < 0.2


@pytest.mark.parametrize(("number", "by"), [(signal.SIGINT, ""), (signal.SIGTERM, " by SIGTERM")])
def test_a_verb_that_is_stopped_says_so_in_one_line(number: signal.Signals, by: str) -> None:
    command = [sys.executable, "-m", "unlabeled", "doctor"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # shells start background jobs with SIGINT ignored
    )
    while process.poll() is None and not psutil.Process(process.pid).children():
        time.sleep(0.01)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert said == f"unlabeled: stopped{by}; nothing half-written is left, the same command goes on\n"
    assert process.returncode == 1


def test_results_sent_to_a_full_disk_are_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "unlabeled", "recipes"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == "unlabeled: cannot write: the disk is full; free some space and resume.\n"
    assert done.returncode == 2


def test_a_teacher_is_read_beside_its_student(cli: Cli, data: str, tmp_path: Path) -> None:
    small = ("method.output_dim=64", "method.hidden_dim=16", "health.every=1")
    code, _, err = cli("pretrain", "random_teacher", f"data=folder:{data}", "backbone.name=resnet10_small", *TINY,
                       *small, "--out", "run", "-q")  # fmt: skip
    assert code == 0, err
    header = (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"knn_train_split", "teacher_knn_train_split"} <= set(header)
    code, out, err = cli("probe", "run", "--probes", "nmc", "--json", "out.json", "-q")
    assert code == 0, err
    reports = json.loads((tmp_path / "out.json").read_text())["reports"]
    assert [Path(report["model"]).name for report in reports] == ["run", "teacher"]
    assert "teacher" in out
    (kept,) = (tmp_path / "run" / "probes").glob("*.json")
    assert [report["model"] for report in json.loads(kept.read_text())["compared_with"]] == [reports[1]["model"]]
