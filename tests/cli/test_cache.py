from __future__ import annotations

from typing import Any

import numpy as np

from unlabeled.data import open_data


def test_the_cache_is_listed_and_cleared(cli: Any, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("UNLABELED_CACHE", str(tmp_path / "cache"))
    (tmp_path / "d").mkdir()
    for i in range(3):
        np.save(tmp_path / f"d/{i}.npy", np.zeros((8, 8), np.uint8))
    open_data(str(tmp_path / "d"), "all")
    code, out, _ = cli("cache")
    assert code == 0
    assert str(tmp_path / "d") in out
    assert "pixels " in out
    assert "1 of pixels would be removed" in cli("cache", "--clear", "pixels")[1]
    assert "1 of pixels, features, decisions, prepared removed" in cli("cache", "--clear", "all", "--yes")[1]
    assert cli("cache")[1].startswith("0.00 MB in ")
    code, _, err = cli("cache", "--clear", "picture")
    assert code == 2
    assert "the cache has no 'picture'" in err
