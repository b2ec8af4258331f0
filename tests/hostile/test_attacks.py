"""Files made to run code, to write elsewhere, or to eat the machine: refused in a line, or read as plain data."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import unlabeled
from unlabeled import backbones
from unlabeled.backbones.interop import load_weights
from unlabeled.core.errors import UserError
from unlabeled.data import open_data
from unlabeled.data.forget_sets import ForgetSplit
from unlabeled.forgetting.epochs import Checkpoint
from unlabeled.probes import storage
from unlabeled.probes.store import Store
from unlabeled.recipes.resolve import load_recipe
from unlabeled.runs.folder import Run
from unlabeled.ssl.pseudo_labels import AutoencoderConfig, pseudo_labels
from unlabeled.verbs.pretrain import default_folder, pretrain
from unlabeled.verbs.probe import keep_report
from unlabeled.verbs.report import report

NET = "backbone.args={layers: [1, 1, 1, 1], channels: [4, 4, 8, 8], stem_stride: 2}"


class Evil:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("owned"),)


class Images:
    """Some images, as a method sees them."""

    fingerprint = "f"

    def __len__(self) -> int:
        return 32

    def gather(self, rows: Any) -> torch.Tensor:
        pixels = np.random.default_rng(0).integers(0, 256, (32, 1, 8, 8), dtype=np.uint8)
        return torch.from_numpy(pixels[rows])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run."""
    home = tmp_path_factory.mktemp("trained")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 8, 8), dtype=np.uint8)
    np.savez(home / "data.npz", x=pixels, y=np.arange(64) % 2)
    settings = (f"data=npz:{home / 'data.npz'}", NET, "batch_size=32", "health.every=0", "output.logger=none")
    pretrain("rotation", home / "run", overrides=(*settings, "epochs=1"))
    return home


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the run beside things that must stay as they are; where the attack would leave its mark."""
    home = tmp_path / "home"
    shutil.copytree(trained / "run", home / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "last.ckpt").write_text("precious")
    (home / "precious.csv").write_text("precious")
    monkeypatch.chdir(home)
    yield home / "run"
    assert not list(tmp_path.rglob("owned*")), "code in a file was executed"
    assert [p.name for p in (tmp_path / "elsewhere").iterdir()] == ["last.ckpt"]
    assert (tmp_path / "elsewhere" / "last.ckpt").read_text() == "precious"
    assert (home / "precious.csv").read_text() == "precious"


def resume(run: Path) -> None:
    """Go on with a run as if it had not finished."""
    shutil.rmtree(run / "backbone")
    pretrain(load_recipe(run), run, resume=True)


def evil_torch(path: Path, wrap: Callable[[Any], Any] = lambda evil: evil) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(wrap(Evil()), path)


def script(path: Path) -> None:
    """A TorchScript archive: a program under the name of a checkpoint."""

    class Program(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    torch.jit.save(torch.jit.script(Program()), path)


def config(run: Path, **changes: Any) -> None:
    path = run / "backbone" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def recipe(run: Path, text: str) -> None:
    (run / "recipe.yaml").write_text(text)


def laughs(depth: int) -> str:
    """YAML whose aliases unfold to ten to the power of ``depth`` words."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, depth)]
    return "\n".join([*lines, "method: simclr", f"epochs: *a{depth - 1}\n"])


def evil_npy(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as handle:
        np.save(handle, np.array([Evil()], dtype=object), allow_pickle=True)


def probe_file(path: Path, **changes: Any) -> None:
    whole = {"format": 1, "probe": "NearestMeanProbe", "parameters": {"dict": []}, "state": {"dict": []}, **changes}
    np.savez(path, header=np.array(json.dumps(whole)))


def link(run: Path, name: str) -> None:
    place = run / name
    if place.is_dir():
        shutil.rmtree(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(run.parent.parent / "elsewhere")


LAST, WEIGHTS, DEEP = "checkpoints/last.ckpt", "backbone/model.safetensors", "[" * 100_000
Attack = tuple[Callable[[Path], object], Callable[[Path], object]]
REFUSED: dict[str, Attack] = {
    "pickle as checkpoint": (lambda r: (r / LAST).write_bytes(pickle.dumps(Evil())), resume),
    "code in a checkpoint": (lambda r: evil_torch(r / LAST), resume),
    "code in a checkpoint's optimiser": (lambda r: evil_torch(r / LAST, lambda e: {"optimizer": e, "step": 1}), resume),
    "TorchScript as checkpoint": (lambda r: script(r / LAST), resume),
    "checkpoint of numbers": (lambda r: torch.save({"step": "no", "total": []}, r / LAST), resume),
    "code in foreign weights": (
        lambda r: evil_torch(r / "w.pth", lambda e: {"state_dict": e}),
        lambda r: load_weights(backbones.load(r / "backbone"), r / "w.pth"),
    ),
    "code beside foreign weights": (
        lambda r: evil_torch(r / "w.ckpt", lambda e: {"state_dict": {}, "hyper_parameters": e}),
        lambda r: load_weights(backbones.load(r / "backbone"), r / "w.ckpt"),
    ),
    "legacy pickle as weights": (
        lambda r: (r / "w.pt").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR."),
        lambda r: load_weights(backbones.load(r / "backbone"), r / "w.pt"),
    ),
    "safetensors that is a pickle": (
        lambda r: (r / WEIGHTS).write_bytes(pickle.dumps(Evil())),
        unlabeled.load_backbone,
    ),
    "safetensors header of 2^63 bytes": (
        lambda r: (r / WEIGHTS).write_bytes(header(b"{}", 1 << 63)),
        unlabeled.load_backbone,
    ),
    "safetensors of 100 TB": (
        lambda r: (r / WEIGHTS).write_bytes(
            header(json.dumps({"x": {"dtype": "F32", "shape": [25 * 10**12], "data_offsets": [0, 10**14]}}).encode())
        ),
        unlabeled.load_backbone,
    ),
    "safetensors with a negative offset": (
        lambda r: (r / WEIGHTS).write_bytes(
            header(json.dumps({"x": {"dtype": "U8", "shape": [1], "data_offsets": [-9, -8]}}).encode() + b"x")
        ),
        unlabeled.load_backbone,
    ),
    "safetensors nested deeply": (
        lambda r: (r / WEIGHTS).write_bytes(header(DEEP.encode())),
        unlabeled.load_backbone,
    ),
    "safetensors of other weights": (
        lambda r: save_file({"conv1.weight": torch.zeros(9, 9)}, r / WEIGHTS),
        unlabeled.load_backbone,
    ),
    "config that names a pickle": (
        lambda r: (evil_torch(r / "w.pth"), config(r, model_args={"checkpoint_path": str(r / "w.pth")})),
        unlabeled.load_backbone,
    ),
    "config that names a pickled array": (
        lambda r: (evil_npy(r / "w.npz"), config(r, model_args={"checkpoint_path": str(r / "w.npz")})),
        unlabeled.load_backbone,
    ),
    "config that fetches weights": (
        lambda r: config(r, model_args={"pretrained": True, "pretrained_cfg": {"hf_hub_id": "evil/evil"}}),
        unlabeled.load_backbone,
    ),
    "config with a path as architecture": (
        lambda r: config(r, architecture="../../../etc/passwd"),
        unlabeled.load_backbone,
    ),
    "config with a hub address as architecture": (
        lambda r: config(r, architecture="hf-hub:evil/evil"),
        unlabeled.load_backbone,
    ),
    "config nested deeply": (lambda r: (r / "backbone/config.json").write_text(DEEP), unlabeled.load_backbone),
    "config that is a list": (lambda r: (r / "backbone/config.json").write_text("[]"), unlabeled.load_backbone),
    "recipe that builds objects": (
        lambda r: recipe(r, "method: !!python/object/apply:os.system ['touch owned']\n"),
        load_recipe,
    ),
    "recipe that imports": (lambda r: recipe(r, "method: !!python/module:antigravity x\n"), load_recipe),
    "recipe that unfolds without end": (lambda r: recipe(r, laughs(12)), load_recipe),
    "recipe nested deeply": (lambda r: recipe(r, f"method: {'[' * 50_000}"), load_recipe),
    "recipe that names a pickle": (
        lambda r: (
            evil_torch(r / "w.pth"),
            recipe(r, f"method: rotation\nbackbone: {{name: resnet18, args: {{checkpoint_path: {r / 'w.pth'}}}}}\n"),
        ),
        lambda r: pretrain(load_recipe(r), r.parent / "other"),
    ),
    "recipe that is a link to a secret": (
        lambda r: ((r / "recipe.yaml").unlink(), (r / "recipe.yaml").symlink_to("/etc/passwd")),
        load_recipe,
    ),
    "recipe with code as forget split": (
        lambda r: (
            evil_npy(r / "split.npz"),
            recipe(r, (r / "recipe.yaml").read_text().replace("without: null", f"without: {r / 'split.npz'}")),
        ),
        resume,
    ),
    "checkpoints folder that leads elsewhere": (lambda r: link(r, "checkpoints"), resume),
    "tables that lead elsewhere": (lambda r: link(r, "forgetting/rows/x"), resume),
    "lock that leads elsewhere": (
        lambda r: ((r / ".lock").unlink(), (r / ".lock").symlink_to(r.parent / "precious.csv")),
        resume,
    ),
    "probes folder that leads elsewhere": (
        lambda r: link(r, "probes"),
        lambda r: keep_report(Run(r), {"data": "x", "probes": {}}),
    ),
    "forget split that holds code": (lambda r: evil_npy(r / "split.npz"), lambda r: ForgetSplit.load(r / "split.npz")),
    "data that holds code": (lambda r: evil_npy(r / "x.npz"), lambda r: open_data(f"npz:{r / 'x.npz'}")),
    "data with a path as name": (
        lambda r: zipfile.ZipFile(r / "x.npz", "w").writestr("../../elsewhere/owned.npy", b"x"),
        lambda r: open_data(f"npz:{r / 'x.npz'}"),
    ),
    "probe that is a pickle": (
        lambda r: (r / "p.npz").write_bytes(pickle.dumps(Evil())),
        lambda r: storage.load(r / "p.npz"),
    ),
    "probe of another class": (lambda r: probe_file(r / "p.npz", probe="Popen"), lambda r: storage.load(r / "p.npz")),
    "probe with a foreign record": (
        lambda r: probe_file(r / "p.npz", parameters={"dict": [["k", {"record": "Popen", "fields": {"dict": []}}]]}),
        lambda r: storage.load(r / "p.npz"),
    ),
    "probe that replaces its methods": (
        lambda r: probe_file(r / "p.npz", state={"dict": [["predict", 1], ["__class__", 2]]}),
        lambda r: storage.load(r / "p.npz"),
    ),
    "probe without parts": (lambda r: probe_file(r / "p.npz", state=3), lambda r: storage.load(r / "p.npz")),
    "hub name with a path": (lambda r: None, lambda r: unlabeled.load_backbone("hf-hub:../../../elsewhere")),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.timeout(60)
def test_attacks_are_refused_in_a_line(name: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    plant, open_it = REFUSED[name]
    plant(run)
    with pytest.raises(UserError) as caught:
        open_it(run)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000


def autoencoder(run: Path) -> np.ndarray[Any, Any]:
    return pseudo_labels(
        Images(), 1, 4, AutoencoderConfig(epochs=1), seed=0, cache=run / "cache", device=torch.device("cpu")
    )  # fmt: skip


def spoil(run: Path) -> None:
    """Put code in place of everything that the pseudo-labels kept."""
    autoencoder(run)
    for path in (run / "cache").rglob("*.npy"):
        evil_npy(path)
        evil_torch(path.with_name("training.pt"))


def features(run: Path) -> np.ndarray[Any, Any]:
    store = Store(run / "features", "key", 5, np.float32, 2)
    return np.asarray(
        store.fill(lambda rows: torch.from_numpy(rows), lambda x: x[:, None].float(), torch.device("cpu"))
    )


def lies(run: Path, manifest: str) -> None:
    features(run)
    (run / "features" / "key" / "manifest.json").write_text(manifest)


def digest(folder: Path) -> str:
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


HARMLESS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "code in the pseudo-labels' cache": (spoil, autoencoder),
    "code in a forgetting checkpoint": (
        lambda r: evil_torch(r / "c" / "laf.pt"),
        lambda r: Checkpoint(r / "c", "key").load("laf"),
    ),
    "features of no dimension": (lambda r: lies(r, '{"complete": true, "dim": 0, "batch": 0}'), features),
    "features of a wrong size": (lambda r: lies(r, '{"complete": true, "dim": 9999999, "batch": 2}'), features),
    "features in batches of none": (lambda r: lies(r, '{"complete": false, "batch": 0}'), features),
    "features with a list as manifest": (lambda r: lies(r, "[1]"), features),
    "metrics that lead elsewhere": (
        lambda r: ((r / "metrics.csv").unlink(), (r / "metrics.csv").symlink_to(r.parent / "precious.csv")),
        resume,
    ),
    "facts nested deeply": (lambda r: (r / "data.json").write_text(DEEP), lambda r: Run(r).read_json("data.json")),
    "facts with markup": (
        lambda r: (r / "data.json").write_text(json.dumps({"name": "</script><img src=x onerror=alert(1)>"})),
        lambda r: report([str(r)]),
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
@pytest.mark.timeout(60)
def test_attacks_that_are_read_as_data_do_nothing(name: str, run: Path) -> None:
    plant, open_it = HARMLESS[name]
    if plant is spoil:
        expected = autoencoder(run)
        plant(run)
        assert np.array_equal(autoencoder(run), expected)
    elif open_it is features:
        plant(run)
        assert features(run).tolist() == [[0], [1], [2], [3], [4]]
    else:
        before = digest(run)
        plant(run)
        open_it(run)
        assert digest(run) == before


@pytest.mark.parametrize("name", ["../../elsewhere/x", "/tmp/elsewhere", "..", "a/b", "\\\\host\\x", "\0", "x" * 999])
def test_a_recipe_does_not_choose_where_its_run_is_written(name: str) -> None:
    recipe = load_recipe("simclr")
    parts = {part: getattr(recipe, part).model_copy(update={"name": name}) for part in ("data", "backbone")}
    folder = default_folder(recipe.model_copy(update={"name": name, **parts}))
    assert folder.parent == Path("runs")
    assert len(folder.name) < 200
    assert folder.name.isprintable()
    assert not set(folder.name) & set("/\\:")


def test_there_are_enough_of_them() -> None:
    assert len(REFUSED) + len(HARMLESS) >= 45
    assert os.sep == "/" or REFUSED
