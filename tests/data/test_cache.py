from __future__ import annotations

import json
import os
import time

import pytest

from unlabeled.core.errors import UserError
from unlabeled.core.files import locked
from unlabeled.data import open_data
from unlabeled.data.cache import clear_cache, list_cache, made_of


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


def test_features_that_do_not_say_whose_they_are_go_with_a_deletion(tmp_path):
    """Those of other places stay, and those of images that come from nowhere, which say so."""
    manifests = {
        "mine": {"origin": "here"},
        "other": {"origin": "there"},
        "nowhere": {"origin": ""},
        "older": {"dim": 4},
    }
    for name, manifest in manifests.items():
        (tmp_path / "features" / name).mkdir(parents=True)
        (tmp_path / "features" / name / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "prepared" / "elsewhere").mkdir(parents=True)
    found = made_of(frozenset({"here"}), frozenset(), (1, 8, 8), tmp_path)
    assert {each.path.name for each in found} == {"mine", "older"}
