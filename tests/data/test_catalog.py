from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import unlabeled
from unlabeled.core.errors import UserError
from unlabeled.data import ImageSet, list_data, open_data
from unlabeled.data.named import NAMED, find

ROOT = str(Path(unlabeled.__path__[0]).parent)
OFFICIAL = Path("/usr/share/datasets/fashion-mnist")


def write_idx(folder: Path, part: str, images: np.ndarray, labels: np.ndarray, packed: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for what, array in (("images-idx3", images), ("labels-idx1", labels)):
        data = struct.pack(f">4B{array.ndim}i", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
        name = f"{part}-{what}-ubyte"
        (folder / (name + ".gz" if packed else name)).write_bytes(gzip.compress(data) if packed else data)


def digits(folder: Path, packed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)
    labels = (np.arange(30) % 10).astype(np.uint8)
    for part in ("train", "t10k"):
        write_idx(folder, part, images, labels, packed)
    return images, labels


def test_fashion_mini_is_balanced_and_inside_the_package():
    for split, per_class in (("train", 800), ("test", 200)):
        images = open_data("fashion-mini", split)
        assert images.shape == (1, 28, 28)
        assert images.labels is not None
        assert np.bincount(images.labels).tolist() == [per_class] * 10
        assert images.classes is not None
        assert images.classes[9] == "Ankle boot"
    package = Path(unlabeled.__path__[0]) / "data"
    assert (package / "fashion-mini.npz").stat().st_size <= 4_500_000
    assert "Zalando" in (package / "fashion-mini.LICENSE").read_text()


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mini_holds_the_official_rows():
    full = open_data("fashion-mnist")
    assert len(full) == 60000
    mini = open_data("fashion-mini")
    with np.load(Path(unlabeled.__path__[0]) / "data/fashion-mini.npz", allow_pickle=False) as held:
        rows = held["rows_train"]
    assert np.array_equal(full.images[rows], mini.images)
    assert np.array_equal(full.labels[rows], mini.labels)  # type: ignore[index]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "MNIST/raw", "mnist"])
def test_idx_files_are_found_where_they_lie(tmp_path, packed, below):
    images, labels = digits(tmp_path / below, packed)
    opened = open_data("mnist", data_dir=tmp_path)
    assert np.array_equal(opened.images[:, 0], images)
    assert np.array_equal(opened.labels, labels)  # type: ignore[arg-type]
    assert {entry.name: entry.found for entry in list_data(tmp_path)}["mnist"] == tmp_path / below


@pytest.mark.parametrize("below", ["", "cifar10"])
def test_cifar10_is_found_as_image_files_in_class_folders(tmp_path, monkeypatch, make_images, below):
    names = [f"{part}/{name}/{i}.png" for part in ("train", "test") for name in NAMED["cifar10"].classes for i in "01"]
    written = make_images(tmp_path / below, names)
    monkeypatch.setenv("UNLABELED_DATA", str(tmp_path))
    test = open_data("cifar10", "test")
    assert len(test) == 20
    assert test.classes == NAMED["cifar10"].classes
    assert test.labels is not None
    assert test.labels.tolist() == [i // 2 for i in range(20)]
    assert np.array_equal(test.images[5].transpose(1, 2, 0), written["test/bird/1.png"])
    assert len(open_data("cifar10", "train", data_dir=tmp_path)) == 20
    (tmp_path / below / "train/kitten").mkdir()
    assert find("cifar10") is None  # not the ten classes: another data set


def test_the_environment_and_the_working_folder_are_looked_into(tmp_path, monkeypatch):
    digits(tmp_path / "one/KMNIST/raw")
    monkeypatch.setenv("UNLABELED_DATA", str(tmp_path / "one"))
    assert len(open_data("kmnist")) == 30
    monkeypatch.delenv("UNLABELED_DATA")
    digits(tmp_path / "two/data/MNIST/raw")
    monkeypatch.chdir(tmp_path / "two")
    assert len(open_data("mnist")) == 30


def test_stl10_is_read_column_by_column(tmp_path):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 96, 96), dtype=np.uint8)
    for part in ("train", "test", "unlabeled"):
        images.transpose(0, 1, 3, 2).tofile(folder / f"{part}_X.bin")
    for part in ("train", "test"):
        (np.arange(6, dtype=np.uint8) + 1).tofile(folder / f"{part}_y.bin")
    train = open_data("stl10", data_dir=tmp_path)
    assert np.array_equal(train.images, images)
    assert train.labels is not None
    assert train.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert open_data("stl10-unlabeled", data_dir=tmp_path).labels is None
    assert open_data("stl10-unlabeled", "test", data_dir=tmp_path).labels is not None


def test_damaged_and_forged_files_are_refused(tmp_path):
    digits(tmp_path / "MNIST/raw", packed=True)
    file = tmp_path / "MNIST/raw/train-images-idx3-ubyte.gz"
    for data in (file.read_bytes()[:-200], b"", b"junk", gzip.compress(b"\0\0\x08\x03" + b"\x7f" * 12)):
        file.write_bytes(data)
        with pytest.raises(UserError, match=r"damaged .* delete them"):
            open_data("mnist", data_dir=tmp_path)
    # A pickle under CIFAR's name must not run: torchvision compares checksums before it reads.
    forged = tmp_path / "cifar-10-batches-py"
    forged.mkdir()
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (forged / name).write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.")
    with pytest.raises(UserError, match="damaged"):
        open_data("cifar10", data_dir=tmp_path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["mnist", "cifar10", "stl10", "svhn"])
def test_a_download_that_fails_says_what_to_do_offline(tmp_path, monkeypatch, name):
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing answers there
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(UserError, match=r"could not be downloaded \(.*offline, put its files .* --data-dir") as caught:
        open_data(name, data_dir=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fashion-mnits", "Did you mean 'fashion-mnist'"),
        ("cifar-10", "Did you mean 'cifar10'"),
        ("./nowhere", "no folder"),
        ("/nowhere/at/all", "no folder"),
        ("photos/cats", "no folder photos/cats"),
        ("folder:nowhere", "no folder nowhere"),
        ("csv:nowhere.csv", "no file nowhere.csv"),
        ("nowhere.npz", "no file"),
        ("wds/nowhere-*.tar", "no .tar shard matches"),
        ("noise:many", "noise:10000"),
        ("noise:0", "noise:10000"),
        ("noise:9999999", "noise:10000"),
        ("", "name of the data is empty"),
        ("~nobody-here/x", "no folder"),
        ("a\nb\x1b[31m", r"'a\\nb\\x1b\[31m'"),
        ("x" * 5000, "cannot be read|no data set"),
        ("torch/nothing", "timm cannot open"),
    ],
)
def test_errors_name_what_where_and_how(tmp_path, monkeypatch, name, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says) as caught:
        open_data(name)
    assert "\n" not in str(caught.value)


def test_wrong_splits_sizes_and_kinds_are_refused(tmp_path):
    with pytest.raises(UserError, match="no split 'validation'"):
        open_data("fashion-mini", "validation")
    with pytest.raises(UserError, match=r"data\.size"):
        open_data("fashion-mini", size=0)
    with pytest.raises(UserError, match=r"data\.channels"):
        open_data("fashion-mini", channels=-3)
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        open_data(str(tmp_path / "file.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        open_data(str(tmp_path / "empty"))


def test_noise_is_what_it_says_and_the_same_every_time():
    noise = open_data("noise:300", size=24)
    assert noise.shape == (3, 24, 24)
    assert noise.labels is None
    mean, std = noise.statistics()
    assert np.allclose(mean, 0.5, atol=0.005)
    assert np.allclose(std, 0.245, atol=0.01)  # 0.25 less what clipping takes
    assert np.array_equal(open_data("noise:200", size=24).images, noise.images[:200])
    assert not np.array_equal(open_data("noise:300", "test", size=24).images, noise.images)


def test_named_data_can_be_resized_and_coloured():
    gray = open_data("fashion-mini", "test")
    colour = open_data("fashion-mini", "test", size=28, channels=3)
    assert np.array_equal(colour.images[:, 1], gray.images[:, 0])
    assert np.array_equal(colour.labels, gray.labels)  # type: ignore[arg-type]
    small = open_data("fashion-mini", "test", size=14)
    assert small.shape == (1, 14, 14)
    assert abs(small.images.mean() - gray.images.mean()) < 1.5


def test_listing_data_is_quick_and_needs_no_torch():
    code = "import sys, unlabeled.data as d; d.list_data(); assert 'torch' not in sys.modules"
    start = time.monotonic()
    environment = os.environ | {"PYTHONPATH": ROOT}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert time.monotonic() - start < 3
    assert all(isinstance(entry.description, str) for entry in list_data())


def test_opened_sets_print_themselves():
    assert repr(open_data("fashion-mini", "test")) == (
        "ImageSet('fashion-mini', 'test', 2000 images, shape (1, 28, 28), 10 classes)"
    )
    assert isinstance(open_data("noise:2"), ImageSet)
