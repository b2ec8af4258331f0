"""Ranges, bands and layout: decided once per data set, from all of its training images, and said."""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unlabeled.core.errors import UserError
from unlabeled.core.pixels import BY_TYPE, DecodeError, PixelRule, channels_lead
from unlabeled.data import ImageSet, open_data
from unlabeled.data.decode import decode
from unlabeled.data.settings import PixelSettings

RNG = np.random.default_rng(0)


def arrays(folder: Path, images: list[np.ndarray[Any, Any]]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        np.save(folder / f"{i:02}.npy", image)
    return str(folder)


def said(images: ImageSet) -> str:
    return " | ".join(images.lines)


@pytest.mark.parametrize(("depth", "top"), [(8, 255), (10, 1000), (12, 4000), (14, 10_000), (16, 65_000)])
@pytest.mark.parametrize("dtype", ["uint16", "int32", "int64"])
def test_integers_take_the_depth_that_holds_the_training_images(tmp_path, depth, top, dtype):
    images = [RNG.integers(0, top + 1, (8, 8)).astype(dtype) for _ in range(12)]
    images[0][0, 0], images[0][0, 1] = top, 0
    opened = open_data(arrays(tmp_path / "d", images), "all")
    high = 2**depth - 1
    assert opened.rule.integers == (0, high)
    assert np.array_equal(opened.images[:, 0], np.rint(np.stack(images) / high * 255))
    assert f"values 0..{top}" in said(opened) or f"..{top} of" in said(opened)
    assert f"0..{high} become 0..255" in said(opened)


def test_dark_images_stay_dark_beside_bright_ones(tmp_path):
    images = [np.full((8, 8), 200 if i == 0 else 65_000, np.int64) for i in range(8)]
    means = open_data(arrays(tmp_path / "a", images), "all").images.mean((1, 2, 3))
    assert means.tolist() == [1] + [253] * 7
    floats = [np.full((8, 8), 0.5 if i == 0 else 255.0, np.float32) for i in range(8)]
    assert open_data(arrays(tmp_path / "b", floats), "all").images.mean((1, 2, 3)).tolist() == [0] + [255] * 7


def test_a_rounding_error_in_one_split_does_not_rescale_it(tmp_path):
    train, test = RNG.random((20, 8, 8)).astype(np.float32), RNG.random((20, 8, 8)).astype(np.float32)
    test[0, 0, 0] = np.float32(1 + 1e-6)
    np.savez(tmp_path / "d.npz", x_train=train, x_test=test)
    opened = [open_data(f"npz:{tmp_path / 'd.npz'}", split) for split in ("train", "test")]
    for images, pixels in zip(opened, (train, test), strict=True):
        assert np.array_equal(images.images[:, 0], np.rint(pixels.clip(0, 1) * 255))
        assert images.rule.floats == (0, 1)
    assert "cut off" not in said(opened[1])


def test_the_training_images_decide_for_the_test_images_and_what_is_cut_is_said(tmp_path, capsys):
    np.savez(
        tmp_path / "d.npz", x_train=np.full((6, 4, 4), 4000, np.uint16), x_test=np.full((3, 4, 4), 9000, np.uint16)
    )
    test = open_data(f"npz:{tmp_path / 'd.npz'}", "test")
    assert test.rule.integers == (0, 4095)
    assert (test.images == 255).all()
    assert "3 images of" in capsys.readouterr().err
    again = open_data(f"npz:{tmp_path / 'd.npz'}", "test", range="0..9000")
    assert "cut off" not in said(again)


def test_a_type_that_no_training_image_has_is_said(tmp_path, capsys):
    np.savez(tmp_path / "d.npz", x_train=np.zeros((6, 4, 4), np.uint8), x_test=np.full((3, 4, 4), 514, np.uint16))
    assert (open_data(f"npz:{tmp_path / 'd.npz'}", "test").images == 2).all()
    assert "have a type that no training image has" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.linspace(-1000, 3000, 64).astype(np.int16), r"data.range=-1000..3000"),
        (np.linspace(0, 1e6, 64).astype(np.int64), r"do not|data.range=0..1e\+06"),
        (np.linspace(-2, 2, 64), r"neither 0..1 nor 0..255.*data.range=-2..2"),
        (np.linspace(0, 1.3, 64), r"neither 0..1 nor 0..255.*data.range=0..1.3"),
        (np.linspace(0, 10_000, 64).astype(np.float32), r"data.range=0..10000"),
    ],
)
def test_where_nothing_tells_the_range_it_is_asked_for(tmp_path, values, says):
    name = arrays(tmp_path / "d", [values.reshape(8, 8)] * 4)
    with pytest.raises(UserError, match=says):
        open_data(name, "all")
    low, high = float(values.min()), float(values.max())
    given = open_data(name, "all", range=f"{low}..{high}")
    expected = np.rint((values.astype(np.float64) - low) / (high - low) * 255).reshape(8, 8)
    assert np.abs(given.images[0, 0].astype(int) - expected).max() <= 1
    assert given.images.min() == 0
    assert given.images.max() == 255


def test_few_levels_are_said_with_the_setting_that_keeps_more(tmp_path):
    values = RNG.integers(0, 3000, (20, 8, 8)).astype(np.uint16)
    values[:, 0, 0] = 65_535  # saturated pixels
    opened = open_data(arrays(tmp_path / "d" / "in", list(values)), "all")
    assert re.search(r"but 90 % of the values lie in [\d.]+ and keep only 1\d levels: data.window=", said(opened))
    better = open_data(str(tmp_path / "d" / "in"), "all", window="0%..98%")
    assert len(np.unique(better.images)) > 200
    assert better.rule.beyond == "cut"
    assert "cut off" not in said(better)


def test_settings_apply_to_eight_bits_where_there_is_nothing_else(tmp_path):
    masks = [(RNG.random((8, 8)) > 0.5).astype(np.uint8) for _ in range(4)]
    opened = open_data(arrays(tmp_path / "d", masks), "all", range="0..1")
    assert np.array_equal(opened.images[:, 0], np.stack(masks) * 255)
    Image.fromarray(masks[0]).save(tmp_path / "d/x.png")
    again = open_data(str(tmp_path / "d"), "all", range="0..1")
    assert np.array_equal(again.images[-1, 0], masks[0] * 255)


def test_a_png_of_sixteen_bits_a_channel_is_not_cut_down(tmp_path):
    deep = RNG.integers(0, 4096, (8, 8, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)

    def block(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (8).to_bytes(4, "big") * 2 + bytes((16, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", zlib.compress(rows)) + block(b"IEND", b"")
    (tmp_path / "d").mkdir()
    for i in range(4):
        (tmp_path / f"d/{i}.png").write_bytes(png)
    opened = open_data(str(tmp_path / "d"), "all")
    assert opened.rule.integers == (0, 4095)
    assert np.array_equal(opened.images[0].transpose(1, 2, 0), np.rint(deep / 4095 * 255))


def test_tiffs_of_sixteen_bits_and_several_bands_are_not_cut_down(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    deep = RNG.integers(0, 4096, (8, 8, 3), dtype=np.uint16)
    (tmp_path / "d").mkdir()
    for i in range(4):
        tifffile.imwrite(tmp_path / f"d/{i}.tif", deep, photometric="rgb")
    opened = open_data(str(tmp_path / "d"), "all")
    assert np.array_equal(opened.images[0].transpose(1, 2, 0), np.rint(deep / 4095 * 255))
    infrared = RNG.integers(0, 256, (8, 8, 4), dtype=np.uint8)
    for i in range(4):
        tifffile.imwrite(tmp_path / f"d/{i}.tif", infrared, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(open_data(str(tmp_path / "d"), "all").images[0].transpose(1, 2, 0), infrared)


@pytest.mark.parametrize("bands", [2, 4])
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_a_last_band_without_a_meaning_is_a_channel_in_every_reader(tmp_path, bands, kind):
    pixels = RNG.integers(0, 256, (6, 9, 9, bands), dtype=np.uint8)
    if kind == "npz":
        np.savez(tmp_path / "d.npz", images=pixels)
        name = f"npz:{tmp_path / 'd.npz'}"
    else:
        name = arrays(tmp_path / "d", list(pixels))
    assert np.array_equal(open_data(name, "all").images, pixels.transpose(0, 3, 1, 2))
    few = bands - 1
    with pytest.raises(UserError, match=rf"data.bands={'la' if few == 1 else 'rgba'} if the last is transparency"):
        open_data(name, "all", channels=few, max_bad_fraction=0)
    picked = open_data(name, "all", bands=",".join(map(str, range(bands, 1, -1))))
    assert np.array_equal(picked.images, pixels.transpose(0, 3, 1, 2)[:, :0:-1])
    over_white = open_data(name, "all", bands="la" if few == 1 else "RGBA")
    assert over_white.shape[0] == few
    alpha = pixels[..., -1:] / 255
    expected = pixels[..., :-1] * alpha + 255 * (1 - alpha)
    assert np.abs(over_white.images.transpose(0, 2, 3, 1) - expected).max() <= 1.5


@pytest.mark.parametrize(("pages", "channels"), [(13, None), (3, None), (3, 3), (2, None)])
def test_gray_pages_of_tiffs_are_bands(tmp_path, pages, channels):
    for i in range(4):
        frames = [Image.fromarray(np.full((8, 8), 15 * (k + 1), np.uint8)) for k in range(pages)]
        frames[0].save(tmp_path / f"{i}.tif", save_all=True, append_images=frames[1:])
    opened = open_data(str(tmp_path), "all", channels=channels)
    assert opened.images[2, :, 3, 3].tolist() == [15 * (k + 1) for k in range(pages)]
    assert f"the {pages} pages or bands of each file are its channels" in said(opened)


def test_pages_that_differ_are_not_bands_and_animations_are_said(tmp_path, capsys):
    for i in range(4):
        frames = [Image.fromarray(np.full((8, 8), 40 * (k + 1), np.uint8)) for k in range(2 + i % 2)]
        frames[0].save(tmp_path / f"{i}.tif", save_all=True, append_images=frames[1:])
    opened = open_data(str(tmp_path), "all")
    assert opened.shape == (1, 8, 8)
    assert (opened.images == 40).all()
    err = capsys.readouterr().err
    assert "4 files of" in err
    assert "of which only the first is used" in err


def test_colour_that_a_gray_sample_hides_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("unlabeled.data.shape._SAMPLE", 2)
    for i in range(5):
        image = Image.new("L", (8, 8), 50 * i) if i != 2 else Image.new("RGB", (8, 8), "red")
        (tmp_path / "in").mkdir(exist_ok=True)
        image.save(tmp_path / f"in/{i}.png")
    assert open_data(str(tmp_path / "in"), "all").shape == (1, 8, 8)
    assert "1 colour images of" in capsys.readouterr().err
    open_data(str(tmp_path / "in"), "all", channels=1)
    assert "colour" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shapes", "channels", "first"),
    [
        ([(13, 8, 8)], None, True), ([(8, 8, 13)], None, False), ([(13, 8, 8)], 13, True), ([(3, 40, 40)], None, True),
        ([(40, 40, 3)], None, False), ([(3, 30, 40)], None, True), ([(30, 40, 4)], None, False),
        ([(7, 16, 24)], None, True), ([(200, 300, 13)], None, False), ([(1, 28, 1)], None, False),
        ([(4, 4, 4)], None, False), ([(20, 30, 12), (25, 40, 12)], None, False),
        ([(12, 20, 30), (12, 25, 40)], None, True),
        ([(3, 40, 40)], 3, True), ([(8, 5, 3)], 3, False), ([(5, 5, 5)], 5, False),
    ],
)  # fmt: skip
def test_the_channels_of_arrays_are_where_only_they_can_be(shapes, channels, first):
    assert channels_lead(shapes, channels) is first


@pytest.mark.parametrize("shape", [(64, 48, 200), (9, 12, 16), (5, 3, 3), (13, 4, 4), (200, 64, 48)])
def test_where_channels_may_be_at_either_end_it_is_asked(shape):
    with pytest.raises(DecodeError, match=r"say which with data.channels"):
        channels_lead([shape], None)
    assert channels_lead([shape], shape[0]) is True
    assert channels_lead([shape], shape[2]) is False


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"range": "9..3"}, "must be smaller"), ({"range": "bright"}, "LOW..HIGH"),
        ({"range": "1%..99%"}, r"0\.\.4095"),
        ({"window": "1%..99"}, "1%..99%"), ({"window": "-5%..200%"}, "must be smaller"),
        ({"bands": "0,1"}, "from 1 on"),
        ({"bands": "red"}, "from 1 on"), ({"range": "0..1", "window": "0..1"}, "one of them"),
        ({"bands": "1,2", "channels": 5}, "2 channels"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_say_what_would(given, says):
    with pytest.raises(UserError, match=says):
        PixelSettings(**given)


@pytest.mark.parametrize("text", ["0..4095", "0-4095", "0,4095", "[0, 4095]", " 0 to 4095 ", "0:4095.0"])
def test_ranges_may_be_written_in_many_ways(text):
    assert PixelSettings(range=text).given_range(None) == (0, 4095)
    assert PixelSettings(window="-1000..-2.5e1").given_range(None) == (-1000, -25)


@given(
    low=st.integers(-1000, 1000), span=st.integers(1, 70_000),
    bands=st.none() | st.lists(st.integers(0, 9), min_size=1),
    alpha=st.booleans(), first=st.none() | st.booleans(), beyond=st.sampled_from(["cut", "said", "refused"]),
)  # fmt: skip
def test_rules_are_kept_and_read_whole(low, span, bands, alpha, first, beyond):
    import json

    rule = PixelRule((low, low + span), (0.0, 1.0), None, beyond, None if bands is None else tuple(bands), alpha, first)
    assert PixelRule.fromdict(json.loads(json.dumps(rule.asdict()))) == rule


@pytest.mark.parametrize(
    "held", [{"x": 1}, [], {"floats": [1, 0]}, {"beyond": "x"}, {"alpha": 3}, {"bands": "a"}, None]
)
def test_rules_from_elsewhere_are_checked(held):
    with pytest.raises((ValueError, TypeError)):
        PixelRule.fromdict(held)


@settings(deadline=None, max_examples=200)
@given(
    width=st.integers(1, 260), height=st.integers(1, 260), size=st.integers(1, 256), colour=st.booleans(),
)  # fmt: skip
def test_every_image_of_every_size_can_be_cut_to_every_other(width, height, size, colour):
    image = Image.new("RGB" if colour else "L", (width, height), 77 if not colour else (1, 2, 3))
    held = io.BytesIO()
    image.save(held, "PPM")
    pixels = decode(held.getvalue(), size, size, 3 if colour else 1)
    assert pixels.shape == (size, size, 3 if colour else 1)
    assert (pixels == ((1, 2, 3) if colour else 77)).all()


def test_the_sizes_of_which_the_offset_was_rounded_below_zero():
    for side in (28, 30, 50, 56, 60, 100, 112, 224):
        for length in range(1, 300):
            assert decode(np.zeros((length, 41), np.uint8), side, side, 1).shape == (side, side, 1)


def test_by_type_is_what_holds_where_no_data_set_tells():
    assert BY_TYPE.range_of(np.dtype(np.uint16)) == (0, 65535)
    assert BY_TYPE.range_of(np.dtype(np.float64)) == (0, 1)
    assert BY_TYPE.range_of(np.dtype(np.uint8)) == (0, 255)
    assert BY_TYPE.range_of(np.dtype(np.int32)) is None
