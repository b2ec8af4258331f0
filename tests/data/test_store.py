from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import unlabeled
from unlabeled.core.errors import UserError
from unlabeled.core.pixels import BY_TYPE
from unlabeled.data import open_data
from unlabeled.data.listing import Listing
from unlabeled.data.store import prepare

ROOT = str(Path(unlabeled.__path__[0]).parent)
SCRIPT = """
import sys
from unlabeled.data import open_data
images = open_data(sys.argv[1], "train", size=16, cache=sys.argv[2])
print(images.fingerprint, len(images), int(images.images.astype("int64").sum()))
"""


def child(source: Path, cache: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(source), str(cache)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def store_of(cache: Path) -> Path:
    (folder,) = [path for path in (cache / "pixels").iterdir() if path.is_dir()]
    return folder


def noise_source(path: Path, count: int = 6000) -> Path:
    """An array that must be resized, hence stored: many rows in one file, quick to make."""
    images = np.random.default_rng(0).integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)
    np.savez(path, x_train=images, x_test=images[:5])
    return path


def test_a_store_holds_every_pixel_and_is_read_the_second_time(tmp_path, make_images):
    written = make_images(tmp_path / "in", [f"{i:03}.png" for i in range(40)])
    first = open_data(str(tmp_path / "in"))
    folder = store_of(tmp_path / "cache")
    state = (folder / "pixels.u8").stat()
    second = open_data(str(tmp_path / "in"))
    assert (folder / "pixels.u8").stat() == state
    assert first.fingerprint == second.fingerprint
    assert first.shape == (3, 8, 8)
    assert first.paths is not None
    for path, pixels in zip(first.paths, first.images, strict=True):
        assert np.array_equal(pixels.transpose(1, 2, 0), written[Path(path).name])


def test_changed_files_and_other_sizes_get_their_own_store(tmp_path, make_images):
    make_images(tmp_path / "in", [f"{i}.png" for i in range(10)])
    before = open_data(str(tmp_path / "in"))
    assert open_data(str(tmp_path / "in"), size=4).shape == (3, 4, 4)
    make_images(tmp_path / "in", ["3.png"], seed=9)
    assert open_data(str(tmp_path / "in")).fingerprint != before.fingerprint
    assert len([p for p in (tmp_path / "cache/pixels").iterdir() if p.is_dir()]) == 2  # none of images that changed


def test_the_fingerprint_is_of_the_content_wherever_it_lies(tmp_path, make_images):
    for name in ("here", "there"):
        make_images(tmp_path / name, [f"{i}.png" for i in range(10)])
    assert open_data(str(tmp_path / "here")).fingerprint == open_data(str(tmp_path / "there")).fingerprint


@pytest.mark.parametrize(
    "harm", ["flip", "cut", "empty", "gone", "journal", "torn", "manifest", "lying manifest", "touch", "longer"]
)
def test_a_corrupted_store_is_mended(tmp_path, harm):
    source = noise_source(tmp_path / "x.npz")
    clean = open_data(str(source), size=16)
    fingerprint, expected = clean.fingerprint, clean.images.copy()
    del clean
    folder = store_of(tmp_path / "cache")
    pixels, journal, manifest = folder / "pixels.u8", folder / "journal", folder / "manifest.json"
    data = bytearray(pixels.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 255
        pixels.write_bytes(data)
    elif harm in ("cut", "empty"):
        pixels.write_bytes(data[: len(data) // 3 if harm == "cut" else 0])
    elif harm == "longer":
        pixels.write_bytes(data + b"more")
    elif harm == "gone":
        pixels.unlink()
    elif harm == "journal":
        manifest.unlink()
        lines = journal.read_bytes().split(b"\n")
        journal.write_bytes(b"\n".join([b"garbage", lines[1][:9] + b"[0, " + lines[1][13:], *lines[2:]]))
        pixels.write_bytes(bytes(len(data)))
    elif harm == "torn":
        manifest.unlink()
        journal.write_bytes(journal.read_bytes()[:-5])
    elif harm == "manifest":
        manifest.write_text("{")
    elif harm == "lying manifest":
        held = json.loads(manifest.read_text())
        manifest.write_text(json.dumps(held | {"bad": [[10**9, "x"]]}))
    elif harm == "touch":
        os.utime(pixels)
    mended = open_data(str(source), size=16)
    assert mended.fingerprint == fingerprint
    assert np.array_equal(mended.images, expected)
    assert mended.bad_files == ()


def test_a_killed_preparation_goes_on_where_it_was(tmp_path):
    """SIGKILL at random moments; what the journal vouches for is kept, and the result is that of one clean run."""
    source = noise_source(tmp_path / "x.npz")
    reference = open_data(str(source), size=16, cache=tmp_path / "clean")
    dice, killed, kept = random.Random(0), 0, 0
    while killed < 6:
        process = child(source, tmp_path / "torn")
        journal = next((tmp_path / "torn/pixels").glob("*/journal"), None) if (tmp_path / "torn").exists() else None
        size = journal.stat().st_size if journal else 0
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            journal = journal or next(iter((tmp_path / "torn").glob("pixels/*/journal")), None)
            if journal and journal.exists() and journal.stat().st_size != size:
                break
            time.sleep(0.001)
        time.sleep(dice.random() * 0.02)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += 1
        kept = max(kept, len(journal.read_bytes().split(b"\n")) - 1 if journal else 0)
    assert killed >= 1
    assert kept >= 1
    resumed = open_data(str(source), size=16, cache=tmp_path / "torn")
    assert resumed.fingerprint == reference.fingerprint
    assert np.array_equal(resumed.images, reference.images)


def test_rows_without_a_journal_line_are_never_taken_for_decoded(tmp_path):
    source = noise_source(tmp_path / "x.npz")
    reference = open_data(str(source), size=16, cache=tmp_path / "clean").images.copy()
    open_data(str(source), size=16)
    folder = store_of(tmp_path / "cache")
    (folder / "manifest.json").unlink()
    lines = (folder / "journal").read_bytes().split(b"\n")
    (folder / "journal").write_bytes(lines[1] + b"\n")
    data = bytearray((folder / "pixels.u8").read_bytes())
    rows = 1024 * 16 * 16 * 3
    data[:rows] = bytes(rows)  # black, as a file is before it is written
    (folder / "pixels.u8").write_bytes(data)
    assert np.array_equal(open_data(str(source), size=16).images, reference)


def test_two_processes_prepare_one_store(tmp_path):
    source = noise_source(tmp_path / "x.npz")
    running = [child(source, tmp_path / "shared") for _ in range(3)]
    results = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], results
    reference = open_data(str(source), size=16)
    expected = f"{reference.fingerprint} 6000 {reference.images.astype('int64').sum()}\n"
    assert [out for out, _ in results] == [expected] * 3
    assert sum("decode  6000/6000" in err for _, err in results) == 1  # one worked, the others waited


def test_unreadable_files_are_listed_and_skipped_up_to_the_limit(tmp_path, make_images):
    written = make_images(tmp_path / "in", [f"{label}/{i}.png" for i in range(10) for label in "ab"])
    (tmp_path / "in/a/3.png").write_bytes(b"not a picture")
    (tmp_path / "in/b/5.png").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        open_data(str(tmp_path / "in"))
    message = str(caught.value)
    for part in ("2 of 20", "a/3.png (not an image", "b/5.png (the file is empty)", "data.max_bad_fraction=0.01"):
        assert part in message
    assert "\n" not in message
    train = open_data(str(tmp_path / "in"), max_bad_fraction=0.1)
    test = open_data(str(tmp_path / "in"), "test", max_bad_fraction=0.1)
    assert [Path(bad.path).name for bad in train.bad_files] == ["3.png", "5.png"]
    assert len(train) + len(test) == 18
    for images in (train, test):
        assert images.paths is not None
        assert images.labels is not None
        for path, pixels, label in zip(images.paths, images.images, images.labels, strict=True):
            name = str(Path(path).relative_to(tmp_path / "in"))
            assert np.array_equal(pixels.transpose(1, 2, 0), written[name])
            assert "ab"[label] == name[0]


def test_on_demand_gives_the_same_pixels_and_lists_the_bad(tmp_path, make_images):
    make_images(tmp_path / "in", [f"{i:02}.png" for i in range(30)], size=20)
    stored = open_data(str(tmp_path / "in"), size=12)
    lazy = open_data(str(tmp_path / "in"), size=12, store=False)
    assert np.array_equal(stored.images, lazy.images)
    assert lazy.shape == (3, 12, 12)
    (tmp_path / "in/04.png").write_bytes(b"broken")
    lazy = open_data(str(tmp_path / "in"), size=12, store=False, max_bad_fraction=0.05)
    black = [row for row, image in enumerate(lazy.images) if not image.any()]
    assert [Path(bad.path).name for bad in lazy.bad_files] == ["04.png"]
    assert [Path(lazy.paths[row]).name for row in black] == ["04.png"]  # type: ignore[index]
    (tmp_path / "in/05.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="2 of 30 images"):
        open_data(str(tmp_path / "in"), size=12, store=False, max_bad_fraction=0.05).images  # noqa: B018


def test_whatever_a_reader_raises_is_listed(tmp_path):
    def read(row: int) -> np.ndarray:
        if row == 3:
            raise SyntaxError("broken PNG file")  # as Pillow does, inside another library's reader
        return np.zeros((8, 8, 3), dtype=np.uint8)

    listing = Listing(read, [f"{row}" for row in range(9)], "made here")
    stored = prepare(listing, (3, 8, 8), BY_TYPE, name="made", max_bad_fraction=0.2, cache=tmp_path)
    assert stored.bad == [(3, "broken PNG file")]


def test_a_folder_removed_under_the_work_is_said(tmp_path):
    def read(row: int) -> np.ndarray:
        if row == 1500:
            shutil.rmtree(tmp_path / "pixels")
        return np.zeros((4, 4, 3), dtype=np.uint8)

    listing = Listing(read, [f"{row}" for row in range(3000)], "made here")
    with pytest.raises(UserError, match=r"cannot write .*: the folder is gone"):
        prepare(listing, (3, 8, 8), BY_TYPE, name="made", max_bad_fraction=0.0, cache=tmp_path)


def test_a_full_disk_is_said_before_any_work(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((2000, 4, 4, 1), dtype=np.uint8))
    with pytest.raises(UserError, match=r"needs .* GB .* \$UNLABELED_CACHE"):
        open_data(str(tmp_path / "x.npz"), size=16384, channels=4)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written_is_said(tmp_path, make_images):
    make_images(tmp_path / "in", ["1.png", "2.png"])
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UserError, match="permission denied"):
        open_data(str(tmp_path / "in"), cache=tmp_path / "locked")


def test_a_file_where_the_cache_should_be_is_said(tmp_path, make_images):
    make_images(tmp_path / "in", ["1.png", "2.png"])
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        open_data(str(tmp_path / "in"), cache=tmp_path / "file")
