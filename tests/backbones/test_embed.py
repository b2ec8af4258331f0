"""Whatever form an image comes in, the network sees what it would have seen in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unlabeled
from unlabeled.backbones import Backbone, create, save
from unlabeled.core.errors import UserError
from unlabeled.data import open_data


@pytest.fixture(scope="module")
def colour() -> Backbone:
    small = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}
    model = create("resnet10_small", in_chans=3, image_size=16, mean=(0.4,) * 3, std=(0.2,) * 3, seed=1, **small)
    return Backbone(model).eval()


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Files that a careless reader gets wrong: wide, tall, turned, transparent, gray, of 16 bits, small."""
    y, x = np.mgrid[0:40, 0:60] / 60
    smooth = np.stack([x, y, (x + y) / 2], axis=-1)
    wide = Image.fromarray((255 * smooth).astype(np.uint8))
    folder = tmp_path / "photographs"
    folder.mkdir()
    wide.save(folder / "a-wide.png")
    wide.transpose(Image.Transpose.ROTATE_90).save(folder / "b-tall.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    wide.save(folder / "c-turned.jpg", exif=exif, quality=95)
    veil = wide.copy()
    veil.putalpha(Image.fromarray((255 * x).astype(np.uint8)))
    veil.save(folder / "d-veiled.png")
    wide.convert("L").save(folder / "e-gray.png")
    Image.fromarray((65535 * x).astype(np.uint16)).save(folder / "f-sixteen.png")
    wide.crop((0, 0, 16, 16)).save(folder / "g-small.png")
    return folder


def test_pictures_are_embedded_as_the_files_of_a_data_set(colour: Backbone, photographs: Path) -> None:
    from_files = unlabeled.embed(colour, photographs)
    assert from_files.shape == (7, 16)
    pictures = [Image.open(path) for path in sorted(photographs.iterdir())]
    sizes = [picture.size for picture in pictures]
    np.testing.assert_allclose(from_files, colour.embed(pictures), atol=1e-5)
    assert [picture.size for picture in pictures] == sizes  # the user's pictures are as they were


def test_arrays_are_cropped_and_resized_as_files(colour: Backbone, photographs: Path) -> None:
    picture = Image.open(photographs / "a-wide.png")
    array = np.asarray(picture)
    wanted = colour.embed(picture)
    for form in (array, array.transpose(2, 0, 1)[None], torch.from_numpy(array.copy()), array.astype(np.float32) / 255):
        torch.testing.assert_close(colour.embed(form), wanted, atol=0, rtol=0)
    torch.testing.assert_close(colour.embed(array[:, ::-1]), colour.embed(array[:, ::-1].copy()), atol=0, rtol=0)
    sixteen = array.astype(np.uint16) * 257
    torch.testing.assert_close(colour.embed(sixteen), colour.embed(array), atol=0, rtol=0)
    mixed = colour.embed([picture, array, array.astype(np.float32) / 255])
    torch.testing.assert_close(mixed, wanted.expand(3, -1), atol=1e-6, rtol=1e-6)


def test_a_folder_is_embedded_whole_and_in_order(colour: Backbone, photographs: Path) -> None:
    for number in range(20):
        Image.fromarray(np.full((16, 16, 3), 12 * number, np.uint8)).save(photographs / f"z{number:02}.png")
    embeddings = unlabeled.embed(colour, photographs)
    everything = open_data(str(photographs), "all", size=16, channels=3)
    assert everything.paths is not None
    assert [Path(path).name for path in everything.paths] == sorted(path.name for path in photographs.iterdir())
    np.testing.assert_allclose(embeddings, colour.embed(everything.gather(np.arange(27))), atol=1e-6)


def test_one_image_is_enough(colour: Backbone, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    Image.new("RGB", (16, 16), "red").save(tmp_path / "one" / "red.png")
    assert unlabeled.embed(colour, tmp_path / "one").shape == (1, 16)
    assert colour.embed([]).shape == (0, 16)


def test_many_channels_of_sixteen_bits_from_files_to_embeddings(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    bands = generator.integers(0, 65536, (6, 5, 16, 16), dtype=np.uint16)
    (tmp_path / "bands").mkdir()
    for number, image in enumerate(bands):
        np.save(tmp_path / "bands" / f"{number}.npy", image)
    small = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}
    model = create("resnet10_small", in_chans=5, image_size=16, mean=(0.5,) * 5, std=(0.3,) * 5, seed=1, **small)
    save(model, tmp_path / "backbone")
    embeddings = unlabeled.embed(tmp_path / "backbone", tmp_path / "bands")
    np.testing.assert_allclose(embeddings, unlabeled.load_backbone(tmp_path / "backbone").embed(bands), atol=1e-5)


def test_what_is_no_image_for_it_is_said(colour: Backbone) -> None:
    with pytest.raises(UserError, match=r"takes .* of 3 channels"):
        colour.embed(np.zeros((2, 16, 16, 5), np.uint8))
    with pytest.raises(UserError, match="uint8, uint16 or float"):
        colour.embed(np.zeros((2, 3, 16, 16), np.int64))
    with pytest.raises(UserError, match="cannot be used"):
        colour.embed(Image.fromarray(np.full((16, 16), -1.0, np.float32)))
    for wrong in (1.5, -0.1, np.nan):
        with pytest.raises(UserError, match=r"float in \[0, 1\]"):
            colour.embed(np.full((2, 16, 16, 3), wrong))
    with pytest.raises(UserError, match="Path is not an image"):
        colour.embed(Path("picture.png"))
    with pytest.raises(UserError, match="array of shape"):
        colour.embed(np.zeros((2, 0, 9, 3), np.uint8))
