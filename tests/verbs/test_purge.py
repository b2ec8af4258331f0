"""A deletion that stays deleted: benchmarks/deletion.py at its smallest size, and what purge leaves alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from unlabeled.core.files import cache_dir
from unlabeled.data import open_data
from unlabeled.data.prints import pixel_prints
from unlabeled.runs.folder import Run
from unlabeled.runs.traces import named_in

ROOT = Path(__file__).parents[2]
SMALL = (
    "epochs=1", "batch_size=16", "health.every=0", "optimizer.warmup_epochs=0",
    "backbone.args={layers: [1, 1, 1, 1], channels: [16, 16, 32, 32]}",
)  # fmt: skip


@pytest.fixture(scope="module")
def deletion(script: Callable[[Path], ModuleType]) -> ModuleType:
    return script(ROOT / "benchmarks" / "deletion.py")


@pytest.mark.slow
def test_after_a_day_of_requests_nothing_on_the_disk_holds_the_images(
    deletion: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path / "cache"))
    small = (*deletion.SMALL, SMALL[-1])
    found = deletion.day(tmp_path, count=120, sizes=(8, 5), settings=small, quick=("epochs=1", "vae_epochs=1"))
    assert found == []


def photographs(folder: Path, seed: int, count: int = 60) -> None:
    folder.mkdir()
    random = np.random.default_rng(seed)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(folder / f"person-{seed}-{number:02}.png")


def state(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_what_holds_the_images_goes_and_nothing_else(
    cli: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path / "cache"))
    for name, seed in (("photos", 1), ("others", 2)):
        photographs(tmp_path / name, seed)
        assert cli("pretrain", "simclr", f"data={name}", *SMALL, "--out", f"runs/{name}")[0] == 0
    assert cli("neighbours", "runs/photos", "photos")[0] == 0
    assert cli("pretrain", "simclr", "data=photos", *SMALL, "seed=5", "--out", "runs/alone")[0] == 0
    assert cli("export", "runs/photos", "--to", "timm", "--out", "exported")[0] == 0
    held = open_data("photos", "test", cache=tmp_path / "elsewhere").paths[0]
    data = open_data("photos", "train", cache=tmp_path / "elsewhere")
    asked = [held, *data.paths[:3]]
    (tmp_path / "request.txt").write_text("\n".join(asked))
    Path("runs/others/notes.txt").write_text("mine")
    before = state(tmp_path)
    quick = ("epochs=1", "vae_epochs=1", "--no-retrain")
    asking = ("forget", "runs/photos", "--forget", "files:request.txt", *quick, "--out", "runs/answer")
    assert cli(*asking)[0] == 0
    hashes = pixel_prints(data, np.arange(3))
    assert all(word in Path("runs/answer/record.json").read_text() for word in hashes)

    now = state(tmp_path)
    code, planned, _ = cli("purge", "runs/answer", "exported", "--dry-run")
    assert code == 0
    assert state(tmp_path) == now, "a dry run removes nothing"
    code, said, _ = cli("purge", "runs/answer", "exported")
    assert code == 0
    for line in planned.partition("not covered")[0].splitlines()[1:]:
        assert line in said, "what was done is what was said"
    after = state(tmp_path)
    gone = {path.relative_to(tmp_path).parts[:2] for path in before.keys() - after.keys()}
    assert gone >= {("runs", "photos"), ("exported", "model.safetensors"), ("cache", "pixels")}
    assert not Path("runs/photos").exists()
    others = [path for path in before if "others" in path.parts]
    assert all(after[path] == before[path] for path in others), "another project's runs stay as they were"
    kept = [json.loads(p.read_text())["source"] for p in (cache_dir() / "pixels").glob("*/manifest.json")]
    assert kept == ["others"], "and what was decoded of its images"
    assert f"{tmp_path / 'runs' / 'alone'} met the images in a life of its own" in said
    assert Run("runs/alone").finished(), "it is said, and not removed"
    assert "4 of the images' files still lie in photos" in said
    names = [Path(name).name for name in asked]
    assert named_in([tmp_path / "runs", tmp_path / "cache"], names, hashes)[0] == []

    code, said, _ = cli("record", "verify", "runs/answer")
    assert code == 0
    assert "whole: 2 entries" in said
    record = Run("runs/answer").read_json("record.json")
    assert record["images"]["count"] == 3
    assert any("life of its own" in line for line in record["not_covered"])
    code, _, said = cli("purge", "runs/answer")
    assert (code, "it was purged before" in said) == (2, True)
    code, _, said = cli("purge", "runs/alone")
    assert (code, "was not made by `unlabeled forget`" in said) == (2, True)
    # whoever changes the record or the weights is found out
    for name, what in (("record.json", "record.json was changed"), ("backbone/model.safetensors", "other weights")):
        shutil.copytree("runs/answer", "runs/forged")
        forged = Path("runs/forged", name)
        forged.write_bytes(forged.read_bytes().replace(b"a", b"b"))
        code, _, said = cli("record", "verify", "runs/forged")
        assert (code, what in said) == (2, True)
        shutil.rmtree("runs/forged")


def test_a_retrained_network_answers_for_the_run_it_replaces(
    cli: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path / "cache"))
    photographs(tmp_path / "photos", 1)
    assert cli("pretrain", "simclr", "data=photos", *SMALL, "--out", "runs/photos")[0] == 0
    (tmp_path / "request.txt").write_text("\n".join(open_data("photos", "train").paths[:3]))
    asking = ("forget", "runs/photos", "--forget", "files:request.txt")
    assert cli(*asking, "epochs=1", "vae_epochs=1", "--out", "runs/laf")[0] == 0
    code, said, _ = cli(*asking, "--method", "retrain", "--out", "runs/again", "--purge")
    assert code == 0
    assert not Path("runs/photos").exists()
    assert "life of its own" not in said
    for name in ("laf", "again"):  # both answer the same request
        assert Run(f"runs/{name}").read_json("record.json")["images"]["count"] == 3
        assert not Path(f"runs/{name}/forgetting/request.json").exists()
        assert cli("record", "verify", f"runs/{name}")[0] == 0
    assert not Path("runs/laf/forgetting/models").exists(), "the control in it held the original's encoder"
    assert Run("runs/again").finished()


def test_names_and_hashes_are_found_in_packed_files_and_over_the_edges_of_pieces(tmp_path: Path) -> None:
    word = "0123456789abcdef0123456789abcdef"
    np.savez_compressed(tmp_path / "packed.npz", prints=np.array([word.encode()]))
    (tmp_path / "raw.bin").write_bytes(b"\0" * ((16 << 20) - 3) + bytes.fromhex(word) + b"\0" * 9)
    (tmp_path / "named.txt").write_text("a page with Zoë-03.png on it")
    (tmp_path / "innocent.txt").write_text("nothing")
    found, count = named_in([tmp_path], ["Zoë-03.png"], [word])
    assert [path.name for path in found] == ["named.txt", "packed.npz", "raw.bin"]
    assert count == 4
