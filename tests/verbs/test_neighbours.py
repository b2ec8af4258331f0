"""Neighbours: a copy finds its twin, the file says what the object says, mistakes get a line."""

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


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures, of which the last is the first once more, and a random network."""
    home = tmp_path_factory.mktemp("neighbours")
    (home / "photos").mkdir()
    pictures = np.random.default_rng(0).integers(0, 255, (11, 16, 16, 3), dtype=np.uint8)
    for number, pixels in enumerate([*pictures, pictures[0]]):
        Image.fromarray(pixels).save(home / "photos" / f"{number:02}.png")
    shape = {"in_chans": 3, "image_size": 16, "mean": (0.5,) * 3, "std": (0.25,) * 3, "seed": 0}
    backbones.save(backbones.create("resnet10t", **shape), home / "model")
    return home


def test_a_copy_is_found_and_no_image_finds_itself(place: Path) -> None:
    found = unlabeled.neighbours(place / "model", place / "photos", k=3)
    assert found.rows.shape == found.cosine.shape == (12, 3)
    assert not (found.rows == np.arange(12)[:, None]).any()
    first, last = found.paths[0], found.paths[11]
    assert found.of(first)[0] == (last, pytest.approx(1, abs=1e-5))
    assert found.duplicates(0.99999) == [(first, last, pytest.approx(1, abs=1e-5))]
    unit = unlabeled.embed(place / "model", place / "photos").astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = unit @ unit.T - 2 * np.eye(12)
    assert np.allclose(found.cosine, -np.sort(-cosine, axis=1)[:, :3], atol=1e-5)


def test_the_command_line_lists_pairs_and_writes_a_table(place: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    options = ("-k", "2", "--duplicates", "0.99999", "--out", "n.csv", "-q")
    code, out, err = cli("neighbours", str(place / "model"), str(place / "photos"), *options)
    assert code == 0, err
    assert out.splitlines()[0] == "12 images, 1 pairs with a cosine of 0.99999 or more"
    with Path("n.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert (rows[0]["rank"], rows[0]["cosine"][:6]) == ("1", "1.0000")


def test_mistakes(place: Path) -> None:
    found = unlabeled.neighbours(place / "model", place / "photos", k=99)
    assert found.rows.shape == (12, 11)
    with pytest.raises(UserError, match=r"there is no image '0\.png'"):
        found.of("0.png")
    with pytest.raises(UserError, match="at least 1"):
        unlabeled.neighbours(place / "model", place / "photos", k=0)
