from __future__ import annotations

import io
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unlabeled.core.pixels import DecodeError, PixelRule
from unlabeled.data.decode import decode, measure

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (12, 16), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    held = io.BytesIO()
    image.save(held, form, **options)
    return held.getvalue()


def smooth(height: int, width: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1)
    return Image.fromarray(np.stack([red, green, 128 + 0 * x], -1).astype(np.uint8))


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000", "TGA", "PCX"])
def test_lossless_formats_come_back_exactly(form):
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(Image.fromarray(COLOUR), form, **options)
    assert np.array_equal(decode(data, 12, 16, 3), COLOUR)
    assert measure(data) == (12, 16, 3)


def test_gray_and_colour_turn_into_one_another():
    gray, colour = encoded(Image.fromarray(GRAY)), encoded(Image.fromarray(COLOUR))
    assert np.array_equal(decode(gray, 12, 16, 1)[..., 0], GRAY)
    assert np.array_equal(decode(gray, 12, 16, 3), np.repeat(GRAY[..., None], 3, -1))
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(colour, 12, 16, 1)[..., 0] - luma).max() <= 1
    assert measure(gray) == (12, 16, 1)


def test_transparency_is_laid_over_white():
    alpha = np.zeros((12, 16), dtype=np.uint8)
    alpha[:, 8:] = 255
    rgba = Image.fromarray(np.dstack([COLOUR, alpha]))
    expected = COLOUR.copy()
    expected[:, :8] = 255
    assert np.array_equal(decode(encoded(rgba), 12, 16, 3), expected)
    assert np.array_equal(decode(encoded(rgba), 12, 16, 4)[..., 3], alpha)
    gray_alpha = Image.merge("LA", (Image.fromarray(GRAY), Image.fromarray(alpha)))
    assert (decode(encoded(gray_alpha), 12, 16, 1)[:, :8] == 255).all()
    assert np.array_equal(decode(encoded(gray_alpha), 12, 16, 1)[:, 8:, 0], GRAY[:, 8:])


def test_palettes_with_and_without_transparency():
    palette = Image.fromarray(COLOUR).quantize(16)
    assert np.array_equal(decode(encoded(palette), 12, 16, 3), np.asarray(palette.convert("RGB")))
    indices = np.zeros((12, 16), dtype=np.uint8)
    indices[:, 8:] = 1
    image = Image.fromarray(indices).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    pixels = decode(encoded(image, transparency=0), 12, 16, 3)
    assert (pixels[:, :8] == 255).all()
    assert (pixels[:, 8:] == (40, 50, 60)).all()
    assert np.array_equal(decode(encoded(image, "GIF", transparency=0), 12, 16, 3), pixels)


def test_bilevel_is_black_and_white():
    bits = GRAY > 127
    assert np.array_equal(decode(encoded(Image.fromarray(bits)), 12, 16, 1)[..., 0], bits * np.uint8(255))


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_becomes_the_colour_it_looks_like(form):
    image = Image.new("RGB", (16, 12), (200, 30, 60)).convert("CMYK")
    pixels = decode(encoded(image, form), 12, 16, 3)
    assert np.abs(pixels.astype(int) - (200, 30, 60)).max() <= 3


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_not_cut(form):
    deep = RNG.integers(0, 65536, (12, 16), dtype=np.uint16)
    data = encoded(Image.fromarray(deep), form)
    pixels = decode(data, 12, 16, 1)[..., 0]
    assert np.array_equal(pixels, np.rint(deep / 65535 * 255))
    assert measure(data) == (12, 16, 1)
    assert np.array_equal(decode(data, 12, 16, 3)[..., 2], pixels)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(turn, form):
    """A picture stored turned and tagged so is shown upright: corners tell."""
    upright = np.zeros((32, 48, 3), dtype=np.uint8)
    upright[:16, :24], upright[:16, 24:], upright[16:, :24] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    undo = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, 1), 7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1), 8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    stored = Image.fromarray(np.ascontiguousarray(undo[turn](upright)))
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"quality": 95, "subsampling": 0} if form == "JPEG" else {"lossless": True} if form == "WEBP" else {}
    data = encoded(stored, form, exif=exif, **options)
    pixels = decode(data, 32, 48, 3)
    assert measure(data) == (32, 48, 3)
    assert np.abs(pixels.astype(int) - upright)[4:12, 4:12].max() < 40
    assert np.abs(pixels.astype(int) - upright)[4:12, 40:44].max() < 40
    assert np.abs(pixels.astype(int) - upright)[20:28, 4:12].max() < 40


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_taken(form):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    options = {"lossless": True} if form == "WEBP" else {}
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert (decode(data, 8, 8, 3) == (250, 0, 0)).all()


def test_resizing_takes_the_centre_and_does_not_alias():
    wide = smooth(40, 120)
    pixels = decode(encoded(wide), 20, 20, 3)
    expected = wide.crop((40, 0, 80, 40)).resize((20, 20), Image.Resampling.BICUBIC)
    assert np.abs(pixels.astype(int) - np.asarray(expected)).max() <= 8
    assert np.abs(pixels[5:-5, 5:-5].astype(int) - np.asarray(expected)[5:-5, 5:-5]).max() <= 1
    checker = Image.fromarray(((np.indices((64, 64)).sum(0) % 2) * 255).astype(np.uint8))
    assert np.abs(decode(encoded(checker), 16, 16, 1).astype(int) - 127).max() <= 2


def test_large_jpegs_are_decoded_scaled_with_the_same_result():
    large = smooth(1200, 1600)
    data = encoded(large, "JPEG", quality=95)
    expected = large.crop((200, 0, 1400, 1200)).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.abs(decode(data, 32, 32, 3).astype(int) - np.asarray(expected)).max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (1, 20000), (20000, 1), (3, 500)])
def test_extreme_shapes_are_read(size):
    image = Image.new("RGB", size, (9, 99, 199))
    assert np.array_equal(decode(encoded(image), 32, 32, 3), np.full((32, 32, 3), (9, 99, 199)))


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    held = io.BytesIO()
    np.save(held, array, allow_pickle=True)
    return held.getvalue()


def test_arrays_of_any_channels_and_layout():
    bands = RNG.integers(0, 256, (12, 16, 9), dtype=np.uint8)
    assert np.array_equal(decode(_npy(bands), 12, 16, 9), bands)
    assert np.array_equal(decode(_npy(np.asfortranarray(bands)), 12, 16, 9), bands)
    assert np.array_equal(decode(_npy(bands.transpose(2, 0, 1)), 12, 16, 9), bands)
    assert measure(_npy(bands.transpose(2, 0, 1)), PixelRule(channels_first=True)) == (12, 16, 9)
    with pytest.raises(DecodeError, match=r"say which with data\.channels"):
        measure(_npy(bands.transpose(2, 0, 1)))
    assert decode(bands, 6, 6, 9).shape == (6, 6, 9)
    assert np.array_equal(decode(_npy(COLOUR), 12, 16, 3), COLOUR)
    assert np.array_equal(decode(COLOUR / 255, 12, 16, 3), COLOUR)
    to_255 = PixelRule(integers=(0, 255), floats=(0, 255))
    for array in (COLOUR.astype(np.float32), COLOUR.astype(np.int64), COLOUR.astype(np.uint16)):
        assert np.array_equal(decode(array, 12, 16, 3, to_255), COLOUR)
    with pytest.raises(DecodeError, match="nothing says which range values of type int64 have"):
        decode(COLOUR.astype(np.int64), 12, 16, 3)
    with pytest.raises(DecodeError, match="9 channels where 3 are wanted"):
        decode(bands, 12, 16, 3, PixelRule(channels_first=False))
    with pytest.raises(DecodeError, match="3 channels where 9 are wanted"):
        decode(encoded(Image.fromarray(COLOUR)), 12, 16, 9)


def test_tiff_pages_are_channels_where_so_many_are_wanted():
    bands = RNG.integers(0, 65536, (6, 12, 16), dtype=np.uint16)
    pages = [Image.fromarray(band) for band in bands]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert np.array_equal(decode(data, 12, 16, 6), np.rint(bands / 65535 * 255).transpose(1, 2, 0))
    assert np.array_equal(decode(data, 12, 16, 1, PixelRule(bands=(1,)))[..., 0], np.rint(bands[1] / 257))
    with pytest.raises(DecodeError, match=r"it has 6 channels where 1 are wanted; .* data.bands=1"):
        decode(data, 12, 16, 1)


@pytest.mark.parametrize("layout", ["contig", "separate"])
def test_tiffs_of_many_channels(layout):
    tifffile = pytest.importorskip("tifffile")
    bands = RNG.integers(0, 65536, (12, 16, 7), dtype=np.uint16)
    held = io.BytesIO()
    stored = bands if layout == "contig" else bands.transpose(2, 0, 1)
    tifffile.imwrite(held, stored, photometric="minisblack", planarconfig=layout)
    assert np.array_equal(decode(held.getvalue(), 12, 16, 7), np.rint(bands / 65535 * 255))
    assert measure(held.getvalue()) == (12, 16, 7)
    with pytest.raises(DecodeError, match="7 channels where 3 are wanted"):
        decode(held.getvalue(), 12, 16, 3)


def test_floats_that_are_no_pixels_are_refused():
    sound = np.linspace(0, 1, 192, dtype=np.float32).reshape(12, 16)
    assert np.array_equal(decode(encoded(Image.fromarray(sound), "TIFF"), 12, 16, 1)[..., 0], np.rint(sound * 255))
    for value, reason in ((np.nan, "NaN"), (np.inf, "NaN or infinite"), (-1, "outside"), (300, "outside")):
        broken = sound.copy()
        broken[3, 3] = value
        with pytest.raises(DecodeError, match=reason):
            decode(encoded(Image.fromarray(broken), "TIFF"), 12, 16, 1)


def _png_claiming(width: int, height: int) -> bytes:
    import zlib

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    body = block(b"IHDR", header) + block(b"IDAT", zlib.compress(b"\0" * 1000)) + block(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an image"),
        (b"hello", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (encoded(smooth(64, 64), "JPEG")[:700], "truncated"),
        (encoded(smooth(64, 64))[:-60], "truncated|broken|unexpected|Truncated"),
        (_png_claiming(60000, 60000), "pixels"),
        (_npy(COLOUR)[:-9], "truncated"),
        (_npy(np.array([{}, []], dtype=object)), "Python objects"),
        (_npy(COLOUR.astype("S3")), "no pixels"),
        (_npy(np.zeros((2, 3, 4, 5))), "not an image"),
        (b"\x93NUMPY\x01\x00\x46\x00{'descr': '|u1', 'fortran_order': False, 'shape': (99999, 99999, 999), }\n", "."),
    ],
)  # fmt: skip
def test_what_cannot_be_read_has_a_reason_on_one_line(data, reason):
    with pytest.raises(DecodeError, match=reason) as caught:
        decode(data, 12, 16, 3)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 200


def test_files_that_are_no_regular_files_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path, reason in (
        (tmp_path / "pipe.png", "not a regular file"),
        (tmp_path, "not a regular file|Is a directory"),
        (tmp_path / "gone.png", "No such file"),
        (Path("/dev/zero"), "not a regular file"),
        (Path("nul\0byte.png"), "null byte"),
    ):
        with pytest.raises(DecodeError, match=reason):
            decode(path, 8, 8, 3)


def test_damaged_exif_does_not_spoil_the_picture():
    data = encoded(Image.fromarray(COLOUR), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert np.array_equal(decode(data, 12, 16, 3), COLOUR)


FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA", "PCX", "ICO")
Image.init()
SAMPLES = [encoded(smooth(20, 30), form) for form in FORMATS if form in Image.SAVE] + [
    _npy(COLOUR)
]  # AVIF: Pillow 11.3


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(
    data=st.sampled_from(SAMPLES),
    harms=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=6),
    cut=st.floats(0, 1),
)
def test_no_mutation_of_a_file_raises_anything_but_a_reason(data, harms, cut):
    mutated = bytearray(data)
    for place, harm in harms:
        start = int(place * min(len(mutated), 4 * 64 if len(harm) % 2 else len(mutated)))
        mutated[start : start + len(harm)] = harm
    mutated = mutated[: int(len(mutated) * max(cut, 0.2))] if cut < 0.9 else mutated
    with suppress(DecodeError):
        pixels = decode(bytes(mutated), 8, 8, 3)
        assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
