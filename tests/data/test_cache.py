from __future__ import annotations

import os
import time

import pytest

from unlabeled.core.errors import UserError
from unlabeled.core.files import locked
from unlabeled.data import open_data
from unlabeled.data.cache import clear_cache, list_cache


def test_what_the_cache_holds_is_listed_sized_and_cleared(tmp_path, make_images):
    make_images(tmp_path / "one", [f"{i}.png" for i in range(5)])
    make_images(tmp_path / "two", [f"{i}.png" for i in range(9)], size=16)
    for name in ("one", "two"):
        open_data(str(tmp_path / name), "all")
    cache = tmp_path / "cache"
    (cache / "data").mkdir()
    (cache / "data/mnist.gz").write_bytes(b"x" * 5000)
    kept = {item.what: item for item in list_cache()}
    assert set(kept) == {str(tmp_path / "one"), str(tmp_path / "two"), ""}
    assert kept[str(tmp_path / "two")].bytes >= 9 * 3 * 16 * 16
    assert kept[""].kind == "data"
    old = kept[str(tmp_path / "one")].path
    for file in old.iterdir():
        os.utime(file, (time.time() - 5 * 86400,) * 2)
    assert [item.path for item in clear_cache(unused_days=3, dry_run=True)] == [old]
    assert old.is_dir()
    assert [item.path for item in clear_cache(unused_days=3)] == [old]
    assert not old.exists()
    assert not old.with_suffix(".lock").exists()
    with locked(kept[str(tmp_path / "two")].path.with_suffix(".lock")):
        assert clear_cache() == []  # another process works on it
    assert len(clear_cache()) == 1
    assert [item.kind for item in list_cache()] == ["data"]  # downloads go only when they are named
    assert len(clear_cache(("data",))) == 1
    with pytest.raises(UserError, match="the cache has no 'pixel'"):
        clear_cache(("pixel",))


def test_the_pixels_of_images_that_changed_are_not_kept(tmp_path, make_images):
    make_images(tmp_path / "in", [f"{i}.png" for i in range(5)])
    for new in range(3):
        small, own = open_data(str(tmp_path / "in"), "all", size=4), open_data(str(tmp_path / "in"), "all")
        assert len(small) == len(own) == 5 + new
        assert len(list_cache()) == 2
        make_images(tmp_path / "in", [f"new{new}.png"], seed=new)
