from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unlabeled.core.errors import UserError
from unlabeled.data import open_data

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 10, 12, 3), dtype=np.uint8)
NCHW = IMAGES.transpose(0, 3, 1, 2)
LABELS = np.arange(20) % 4


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("owned"),)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (("x_train", "y_train"), ("x_test", "y_test")),
        (("X_train", "y_train"), ("X_val", "y_val")),
        (("train_images", "train_labels"), ("test_images", "test_labels")),
    ],
)
def test_npz_with_splits_of_its_own(tmp_path, train, test):
    np.savez(tmp_path / "d.npz", **{train[0]: IMAGES, train[1]: LABELS, test[0]: IMAGES[:5], test[1]: LABELS[:5, None]})
    opened, held = open_data(f"npz:{tmp_path}/d.npz"), open_data(str(tmp_path / "d.npz"), "test")
    assert np.array_equal(opened.images, NCHW)
    assert np.array_equal(opened.labels, LABELS)  # type: ignore[arg-type]
    assert np.array_equal(held.labels, LABELS[:5])  # type: ignore[arg-type]
    assert held.classes == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    "images",
    [IMAGES, NCHW, IMAGES.astype(np.int64), IMAGES / 255, IMAGES.astype(np.float32), IMAGES.astype(np.uint16) * 257],
)
@pytest.mark.parametrize("keys", [("images", "labels"), ("x", "y"), ("X", "target")])
def test_npz_of_any_layout_and_depth_is_split(tmp_path, images, keys):
    np.savez(tmp_path / "d.npz", **{keys[0]: images, keys[1]: np.array(list("abcd"))[LABELS]})
    train, test = open_data(str(tmp_path / "d.npz")), open_data(str(tmp_path / "d.npz"), "test")
    assert train.classes == ("a", "b", "c", "d")
    assert len(train) == 16
    assert sorted(map(bytes, [*train.images, *test.images])) == sorted(map(bytes, NCHW.copy()))
    assert "stratified" in train.note


def test_npz_rows_of_nan_are_bad_images_and_many_channels_are_kept(tmp_path):
    floats = np.random.default_rng(0).random((30, 9, 9, 6)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=floats)
    assert open_data(str(tmp_path / "d.npz")).shape == (6, 9, 9)
    floats[7, 2, 2, 2] = np.nan
    np.savez(tmp_path / "d.npz", x=floats)
    images = open_data(str(tmp_path / "d.npz"), max_bad_fraction=0.1)
    assert [bad.reason for bad in images.bad_files] == ["NaN or infinite values"]
    assert images.shape == (6, 9, 9)


def test_hostile_archives_are_refused_and_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("objects.npz", images=np.array([Bomb()], dtype=object))
    np.savez("notes.npz", images=IMAGES, notes=np.array([Bomb()], dtype=object))
    assert len(open_data("notes.npz")) == 16
    Path("pickle.npz").write_bytes(pickle.dumps(Bomb()))
    with zipfile.ZipFile("bomb.npz", "w") as archive:
        archive.writestr("images.npy", pickle.dumps(Bomb()))
    header = io.BytesIO()
    huge = {"descr": "|u1", "fortran_order": False, "shape": (10**7, 999, 999, 3)}
    np.lib.format.write_array_header_1_0(header, huge)
    with zipfile.ZipFile("huge.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
    with zipfile.ZipFile("../slip.npz", "w") as archive:
        archive.writestr("../../images.npy", b"x")
    np.savez("cut.npz", images=IMAGES)
    Path("cut.npz").write_bytes(Path("cut.npz").read_bytes()[:-300])
    for name, kind in (("deflate", zipfile.ZIP_DEFLATED), ("lzma", zipfile.ZIP_LZMA)):
        header = io.BytesIO()
        np.save(header, IMAGES // 8)
        with zipfile.ZipFile(f"{name}.npz", "w", kind) as archive:
            archive.writestr("images.npy", header.getvalue())
        data = Path(f"{name}.npz").read_bytes()
        Path(f"{name}.npz").write_bytes(data[:60] + bytes([255] * 60) + data[120:])
    with zipfile.ZipFile("header.npz", "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\0\x20\0" + b"{'shape': (".ljust(31) + b"\n")
    np.savez("locked.npz", images=IMAGES)
    locked = bytearray(Path("locked.npz").read_bytes())
    locked[6] |= 1
    locked[locked.find(b"PK\1\2") + 8] |= 1
    Path("locked.npz").write_bytes(locked)
    for name in ("objects", "pickle", "bomb", "huge", "../slip", "cut", "deflate", "lzma", "header", "locked"):
        with pytest.raises(UserError) as caught:
            open_data(f"npz:{name}.npz")
        assert "\n" not in str(caught.value)
    assert not Path("owned").exists()


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({}, "no array 'images'"),
        ({"weights": IMAGES}, "no array 'images'"),
        ({"x": IMAGES[0, 0]}, r"shape \(12, 3\)|shape \(12, 3, 1\)"),
        ({"x": IMAGES, "y": LABELS[:3]}, "20 images but 3 labels"),
        ({"x": IMAGES, "y": LABELS[:0], "classes": np.array("a")}, "20 images but 0 labels"),
        ({"x": IMAGES, "y": np.array(3)}, "20 images but 1 labels"),
        ({"x": IMAGES.astype(np.int64) - 500}, r"data.range=-500..-\d+"),
        ({"x": IMAGES.astype("U3")}, "are no pixels"),
    ],
)
def test_archives_that_do_not_serve_say_why(tmp_path, arrays, says):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(UserError, match=says):
        open_data(str(tmp_path / "d.npz"))


def png(row: int) -> bytes:
    held = io.BytesIO()
    Image.fromarray(IMAGES[row]).save(held, "PNG")
    return held.getvalue()


def write_shard(path: Path, rows: list[int], label: str = "cls", image: str = "png") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for row in rows:
            members = [(f"part/{row:03}.{image}", png(row)), (f"part/{row:03}.txt", b"a caption")]
            if label:
                text = str(LABELS[row]) if label == "cls" else json.dumps({"label": int(LABELS[row])})
                members.append((f"part/{row:03}.{label}", text.encode()))
            for name, data in members:
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))


@pytest.mark.parametrize("label", ["cls", "json", ""])
@pytest.mark.parametrize("pattern", ["{}/set-*.tar", "{}", "{}/set-{{000..001}}.tar"])
def test_webdataset_shards(tmp_path, label, pattern):
    write_shard(tmp_path / "set-000.tar", [*range(10)], label)
    write_shard(tmp_path / "set-001.tar", [*range(10, 20)], label, image="rgb.png")
    name = "wds/" + pattern.format(tmp_path)
    train, test = open_data(name), open_data(name, "test")
    assert len(train) == 16
    assert sorted(map(bytes, [*train.images, *test.images])) == sorted(map(bytes, NCHW.copy()))
    assert train.classes == (("0", "1", "2", "3") if label else None)
    if label:
        for path, number in zip(train.paths or (), train.labels if train.labels is not None else (), strict=True):
            assert LABELS[int(Path(path).name.split(".")[0])] == number


def test_shards_named_after_splits_are_the_splits(tmp_path):
    write_shard(tmp_path / "train-0.tar", [0, 1, 2])
    write_shard(tmp_path / "train-1.tar", [3])
    write_shard(tmp_path / "val-0.tar", [5, 6])
    train, test = open_data(f"wds/{tmp_path}"), open_data(f"wds/{tmp_path}", "test")
    assert np.array_equal(train.images, NCHW[:4])
    assert np.array_equal(test.images, NCHW[5:7])
    assert test.labels is not None
    assert test.labels.tolist() == [1, 2]


def test_damaged_and_hostile_shards(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_shard(tmp_path / "a.tar", [*range(20)])
    data = Path("a.tar").read_bytes()
    Path("a.tar").write_bytes(data[: len(data) // 2 - 700])
    images = open_data("wds/a.tar", max_bad_fraction=0.3)
    assert 5 < len(images) < 10
    assert images.labels is not None
    assert any("a.tar" in bad.path for bad in images.bad_files)
    Path("b.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match="hold no images"):
        open_data("wds/b.tar")
    with tarfile.open("c.tar", "w") as archive:
        for name, content in (("1.pyd", pickle.dumps(Bomb())), ("../../2.png", png(0)), ("/3.png", png(1))):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("4.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert len(open_data("wds/c.tar")) + len(open_data("wds/c.tar", "test")) == 2
    assert not Path("owned").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "b.tar", "c.tar", "cache"]


@pytest.mark.parametrize("splits", [True, False])
def test_hugging_face_data_sets_on_disk(tmp_path, splits):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b", "c", "d"])})
    rows = {"image": [Image.fromarray(image) for image in IMAGES], "label": LABELS.tolist()}
    made = datasets.Dataset.from_dict(rows, features=features)
    if splits:
        made = datasets.DatasetDict({"train": made, "test": made.select(range(5))})
    made.save_to_disk(str(tmp_path / "hf"))
    train, test = open_data(f"hfds/{tmp_path}/hf"), open_data(f"hfds/{tmp_path}/hf", "test")
    assert train.classes == ("a", "b", "c", "d")
    if splits:
        assert np.array_equal(train.images, NCHW)
        assert np.array_equal(test.labels, LABELS[:5])  # type: ignore[arg-type]
    else:
        assert (len(train), len(test)) == (16, 4)


def test_hugging_face_folders_that_are_none_say_so(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="save_to_disk"):
        open_data(f"hfds/{tmp_path}/empty")


def test_whatever_timm_opens(tmp_path, make_images):
    written = make_images(
        tmp_path, [f"{part}/{c}/{i}.png" for part in ("train", "val") for c in "ab" for i in range(3)]
    )
    train = open_data("torch/image_folder", data_dir=tmp_path)
    test = open_data("torch/image_folder", "test", data_dir=tmp_path)
    assert (len(train), len(test)) == (6, 6)
    assert train.classes == ("a", "b")
    assert train.labels is not None
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert np.array_equal(test.images[5].transpose(1, 2, 0), written["val/b/2.png"])
