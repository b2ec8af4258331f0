"""Training, probing, embedding and plain timm on the exported folder see the same tensor of any image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

import unlabeled
from unlabeled.backbones import Backbone, create, load, remember_rule, save
from unlabeled.core.errors import UserError
from unlabeled.core.fit import fit_array
from unlabeled.core.model_input import normalised, sized
from unlabeled.core.pixels import BY_TYPE, Bands, PixelRule
from unlabeled.data import open_data
from unlabeled.data.decode import decode
from unlabeled.forgetting.images import PixelArray, Preprocess, UnlabelledImages
from unlabeled.probes import extract

SMALL = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}


class Mirror(torch.nn.Module):
    """A network that gives back what it sees."""

    def __init__(self, channels: int, size: int, rule: PixelRule = BY_TYPE) -> None:
        super().__init__()
        self.pretrained_cfg = {
            "input_size": (channels, size, size),
            "mean": (0.4,) * channels,
            "std": (0.3,) * channels,
        }
        remember_rule(self, rule)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def backbone(channels: int, size: int, rule: PixelRule = BY_TYPE) -> Backbone:
    return Backbone(Mirror(channels, size, rule)).eval()


def through_timm(picture: Image.Image, folder: Path) -> Tensor:
    """What a user of plain timm gets: nothing of this package is called."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    transform: Any = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.no_grad():
        return model(transform(picture.convert("L" if model.pretrained_cfg["input_size"][0] == 1 else "RGB"))[None])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(32, 32), (500, 375), (375, 500), (33, 47), (20, 61), (32, 90), (640, 640)])
def test_plain_timm_reproduces_embed_from_a_jpeg_file(tmp_path, channels, mode, size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1] // 4 + 1, size[0] // 4 + 1, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).convert(mode).save(tmp_path / "x.jpg", quality=90)
    mean, std = (0.47, 0.41, 0.3)[:channels], (0.2, 0.25, 0.3)[:channels]
    model = create("resnet10_small", in_chans=channels, image_size=32, mean=mean, std=std, seed=0, **SMALL)
    save(model, tmp_path / "backbone")
    with Image.open(tmp_path / "x.jpg") as picture:
        expected = unlabeled.load_backbone(tmp_path / "backbone").embed(picture)
        found = through_timm(picture, tmp_path / "backbone")
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/x.jpg").write_bytes((tmp_path / "x.jpg").read_bytes())
    np.testing.assert_allclose(unlabeled.embed(tmp_path / "backbone", tmp_path / "folder"), expected, atol=1e-6)


def images() -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Arrays (H, W, C) of any size, number of bands and type, in the range that belongs to it."""

    def of(shape: tuple[int, int, int], kind: str, seed: int) -> np.ndarray[Any, Any]:
        values = np.random.default_rng(seed).random(shape)
        top = {"uint8": 255, "uint16": 4095, "int32": 4095, "int64": 4095, "float32": 1, "float64": 1}[kind]
        return (values * top).astype(kind) if top == 1 else np.rint(values * top).astype(kind)

    sides = st.integers(1, 60)
    shapes = st.tuples(sides, sides, st.sampled_from([1, 3, 5]))
    return st.builds(
        of, shapes, st.sampled_from(["uint8", "uint16", "int32", "int64", "float32", "float64"]), st.integers(0, 9)
    )


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(image=images(), size=st.integers(1, 40))
def test_every_path_sees_the_same_tensor(image, size):
    rule = PixelRule(integers=(0, 4095), floats=(0, 1), beyond="said", channels_first=False)
    channels = image.shape[2]
    model = backbone(channels, size, rule)
    trained = torch.from_numpy(decode(image, size, size, channels, rule).transpose(2, 0, 1)[None].copy())
    expected = normalised(trained, model.mean, model.std).flatten(1)
    assert torch.equal(model.embed(image) if image.shape[0] != channels else model.embed(image[None]), expected)
    assert torch.equal(model.embed([image[None]]), expected)
    # stored at its own size and cut by whoever reads it
    stored = torch.from_numpy(decode(image, *image.shape[:2], channels, rule).transpose(2, 0, 1)[None].copy())
    mean, std = model.mean.flatten().tolist(), model.std.flatten().tolist()
    seen = UnlabelledImages(PixelArray(stored), Preprocess(tuple(mean), tuple(std), size, channels)).batch(
        np.array([0])
    )
    assert torch.equal(seen.flatten(1), expected)
    assert torch.equal(normalised(sized(stored, size), model.mean, model.std).flatten(1), expected)
    if channels in (1, 3) and image.dtype == np.uint8:
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        assert torch.equal(model.embed(picture), expected)


@settings(deadline=None, max_examples=100)
@given(width=st.integers(1, 300), height=st.integers(1, 300), size=st.integers(1, 224), seed=st.integers(0, 99))
def test_pictures_are_cut_as_torchvision_cuts_them(width, height, size, seed):
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    wanted = Compose([Resize(size, InterpolationMode.BICUBIC), CenterCrop(size)])(Image.fromarray(pixels))
    assert np.array_equal(fit_array(Bands(pixels, "RGB"), size, size, 3), np.asarray(wanted))


def test_the_probe_reads_what_embed_gives(tmp_path):
    (tmp_path / "d").mkdir()
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 4096, (20 + i, 31, 4)).astype(np.uint16)
        np.save(tmp_path / f"d/{i}.npy", pixels)
    data = open_data(str(tmp_path / "d"), "all", size=16)
    model = create("resnet10_small", in_chans=4, image_size=16, mean=(0.5,) * 4, std=(0.3,) * 4, seed=0, **SMALL)
    save(remember_rule(model, data.rule), tmp_path / "backbone")
    held = load(tmp_path / "backbone")
    assert held.pixel_rule == data.rule
    loaded = Backbone(held).eval()
    bank = extract(loaded, data, mean=(0.5,) * 4, std=(0.3,) * 4, dtype="float32").features
    embedded = loaded.embed([np.load(tmp_path / f"d/{i}.npy") for i in range(6)])
    np.testing.assert_allclose(bank, embedded, atol=1e-6)
    np.testing.assert_allclose(unlabeled.embed(tmp_path / "backbone", tmp_path / "d"), embedded, atol=1e-6)


def test_values_beyond_those_of_training_are_said(capsys):
    model = backbone(1, 4, PixelRule(integers=(0, 4095), beyond="said"))
    bright = model.embed(np.full((4, 4), 60_000, np.uint16))
    assert "values beyond those of the training images were cut off" in capsys.readouterr().err
    assert torch.equal(bright, model.embed(np.full((4, 4), 4095, np.int64)))
    with pytest.raises(UserError, match=r"takes uint8, uint16 or float in \[0, 1\], of 1 channels"):
        backbone(1, 4).embed(np.full((4, 4), 7, np.int64))


@pytest.mark.parametrize("held", ['{"floats": [1, 0]}', '"x"', '{"bands": "a"}', '{"what": 1}'])
def test_a_rule_from_elsewhere_is_checked(tmp_path, held):
    model = create("resnet10_small", in_chans=1, image_size=8, mean=(0.5,), std=(0.3,), seed=0, **SMALL)
    save(remember_rule(model, BY_TYPE), tmp_path / "b")

    config = json.loads((tmp_path / "b/config.json").read_text())
    config["pixels"] = json.loads(held)
    (tmp_path / "b/config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config.json: pixels: "):
        load(tmp_path / "b")
