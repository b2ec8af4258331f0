"""Select: the list is one that ``data=`` takes, every image is in one place, mistakes get a line."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import unlabeled
from unlabeled import backbones
from unlabeled.core.errors import UserError
from unlabeled.verbs.select import write_list


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten dark and ten bright pictures in two classes, the last of each a copy of its first; and a random network."""
    home = tmp_path_factory.mktemp("select")
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("bright", 155)):
        (home / "pool" / name).mkdir(parents=True)
        pictures = rng.integers(low, low + 100, (9, 16, 16, 3), dtype=np.uint8)
        for number, pixels in enumerate([*pictures, pictures[0]]):
            Image.fromarray(pixels).save(home / "pool" / name / f"{number}.png")
    (home / "own").mkdir()
    for number, pixels in enumerate(rng.integers(155, 255, (3, 16, 16, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(home / "own" / f"{number}.png")
    shape = {"in_chans": 3, "image_size": 16, "mean": (0.5,) * 3, "std": (0.25,) * 3, "seed": 0}
    backbones.save(backbones.create("resnet10t", **shape), home / "model")
    return home


@pytest.mark.parametrize("by", ["near", "clusters", "random"])
def test_every_image_is_kept_left_or_the_twin_of_another(place: Path, by: str) -> None:
    like = place / "own" if by == "near" else None
    found = unlabeled.select(place / "model", place / "pool", like=like, by=by, keep=6)
    names = [Path(path).relative_to(place / "pool").as_posix() for path in found.pool.paths or ()]
    assert [(names[row], names[of]) for row, of in found.twins.tolist()] == [
        ("bright/9.png", "bright/0.png"),
        ("dark/9.png", "dark/0.png"),
    ]
    assert sorted([*found.kept, *found.left, *found.twins[:, 0]]) == list(range(20))
    assert len(found.kept) == 6
    if by == "near":
        assert all("bright" in path for path in found.paths)
        assert found.score[found.kept].min() > found.score[found.left].max() or len(found.left) == 12
    again = unlabeled.select(place / "model", place / "pool", like=like, by=by, keep="30%")  # type: ignore[arg-type]
    assert again.paths == found.paths
    other = unlabeled.select(place / "model", place / "pool", by="random", keep=6, seed=1)
    assert by != "random" or other.paths != found.paths


def test_the_command_line_writes_a_list_that_data_takes_and_a_page(
    place: Path, cli: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    words = ("select", str(place / "model"), str(place / "pool"), "--like", str(place / "own"), "--keep", "8")
    code, out, err = cli(*words, "--out", str(tmp_path / "list.csv"), "--page", str(tmp_path / "page.html"), "-q")
    assert code == 0, err
    expected = "kept 8 of 20 images by near, left 10, and 2 near-duplicates of others; learn from them with: data=csv:"
    assert out.startswith(expected)
    with (tmp_path / "list.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == {"bright"}
    data = unlabeled.open_data(f"csv:{tmp_path / 'list.csv'}")
    assert list(data.paths or ()) == [row["path"] for row in rows]
    assert data.shape == (3, 16, 16)
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img") == 8 + 10 + 4
    assert "8 of 20 images" in page
    code, out, _ = cli(*words[:3], "--keep", "20", "--by", "random", "--keep-twins", "--out", str(tmp_path / "all.csv"))
    assert (code, out.split(" images")[0]) == (0, "kept 20 of 20")


def test_mistakes(place: Path, tmp_path: Path) -> None:
    model, pool = place / "model", place / "pool"
    with pytest.raises(UserError, match="near to what"):
        unlabeled.select(model, pool, by="near")
    with pytest.raises(UserError, match=r"there is no --by clusterz\. Did you mean 'clusters'"):
        unlabeled.select(model, pool, by="clusterz")
    with pytest.raises(UserError, match="not for --by random"):
        unlabeled.select(model, pool, by="random", like=place / "own", keep=3)
    with pytest.raises(UserError, match="needs the number of images"):
        unlabeled.select(model, pool)
    for keep in ("none", "0", "21", "0%", "101%"):
        with pytest.raises(UserError, match=f"--keep {keep} must be a number or share of the 20 images"):
            unlabeled.select(model, pool, keep=keep)
    found = unlabeled.select(model, pool, keep=3)
    with pytest.raises(UserError, match=r"give it the ending \.csv"):
        write_list(found, tmp_path / "list.txt")
    arrays = np.random.default_rng(0).integers(0, 255, (6, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "pool.npz", images=arrays)
    unnamed = unlabeled.select(model, f"npz:{tmp_path / 'pool.npz'}", keep=3)
    with pytest.raises(UserError, match="no image files that a list could name"):
        write_list(unnamed, tmp_path / "list.csv")
