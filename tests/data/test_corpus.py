"""More than 200 broken and odd files: none crashes, each is read rightly or listed with a reason."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

import unlabeled
from unlabeled.data import open_data
from unlabeled.data.listing import printable

COLOUR = (200, 40, 90)
GRAY = 77


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    held = io.BytesIO()
    image.save(held, form, **options)
    return held.getvalue()


def saved(array: np.ndarray[Any, Any]) -> bytes:
    held = io.BytesIO()
    np.save(held, array)
    return held.getvalue()


def png(width: int, height: int, body: bytes, depth: int = 8, kind: int = 0, extra: bytes = b"") -> bytes:
    def block(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = block(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + block(b"IDAT", zlib.compress(body)) + block(b"IEND", b"")


def plain(mode: str, size: tuple[int, int] = (40, 40)) -> Image.Image:
    """One colour, in any mode: whatever is done to it, that colour must come out."""
    if mode in ("L", "LA", "I;16", "1"):
        return {
            "L": lambda: Image.new("L", size, GRAY),
            "LA": lambda: Image.new("LA", size, (GRAY, 255)),
            "I;16": lambda: Image.new("I;16", size, GRAY * 257),
            "1": lambda: Image.new("1", size, 1),
        }[mode]()
    if mode == "P":
        return Image.new("RGB", size, COLOUR).quantize(2)
    return Image.new("RGB", size, COLOUR).convert(mode)


@cache
def readable() -> dict[str, tuple[bytes, tuple[int, int, int], int]]:
    """Files that must be read: name -> (content, expected colour, tolerance)."""
    files: dict[str, tuple[bytes, tuple[int, int, int], int]] = {}
    gray = (GRAY,) * 3
    modes = {
        "png": ("L", "LA", "RGB", "RGBA", "P", "I;16", "1"), "jpg": ("L", "RGB", "CMYK"), "bmp": ("L", "RGB", "P", "1"),
        "tif": ("L", "LA", "RGB", "RGBA", "P", "CMYK", "I;16", "1", "YCbCr"), "gif": ("L", "RGB", "P"),
        "webp": ("RGB", "RGBA"), "ppm": ("L", "RGB", "1"), "jp2": ("L", "RGB", "RGBA"), "tga": ("L", "RGB", "RGBA"),
        "pcx": ("L", "RGB", "P"), "ico": ("RGBA",), "avif": ("RGB", "RGBA"),
    }  # fmt: skip
    if int(PIL.__version__.split(".")[0]) < 13:  # which cannot read the YCbCr TIFF that it writes itself
        modes["tif"] = modes["tif"][:-1]
    forms = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}
    for extension, kinds in modes.items():
        for mode in kinds:
            expected = gray if mode in ("L", "LA", "I;16") else (255,) * 3 if mode == "1" else COLOUR
            data = encoded(plain(mode), forms.get(extension, extension.upper()))
            loose = extension in ("jpg", "webp", "avif", "jp2") or mode in ("CMYK", "YCbCr")
            files[f"{mode.replace(';', '')}.{extension}"] = data, expected, 6 if loose else 0
    rgb, jpeg = encoded(plain("RGB"), "PNG"), encoded(plain("RGB"), "JPEG", quality=95)
    for size in ((1, 1), (20000, 1), (1, 20000), (2, 3), (3000, 2000), (31, 33)):
        files[f"{size[0]}x{size[1]}.png"] = encoded(plain("RGB", size), "PNG"), COLOUR, 0
    for wrong in ("jpg", "gif", "tif", "webp", "bmp", "npy", "PNG", "JpEg"):
        files[f"a png called.{wrong}"] = rgb, COLOUR, 0
    for turn in (*range(10), 99, 65535):
        exif = Image.Exif()
        exif[0x0112] = turn
        files[f"turned {turn}.jpg"] = encoded(plain("RGB"), "JPEG", exif=exif), COLOUR, 3
    for form in ("GIF", "PNG", "WEBP"):
        frames = [plain("RGB"), Image.new("RGB", (40, 40), "blue")]
        options = {"lossless": True} if form == "WEBP" else {}
        moving = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
        files[f"moving.{form.lower()}"] = moving, COLOUR, 0
    clear = Image.new("P", (40, 40), 0)
    clear.putpalette([9, 9, 9])
    for extension in ("png", "gif"):
        files[f"palette clear.{extension}"] = encoded(clear, extension.upper(), transparency=0), (255,) * 3, 0
    files["clear.png"] = encoded(Image.new("RGBA", (40, 40), (1, 2, 3, 0)), "PNG"), (255,) * 3, 0
    for kind in (np.uint8, np.int64, np.uint16, np.float32, np.float64):
        # one range for all integers, and one for all floats: what holds in a folder is decided once
        scale = {"u1": 1, "i8": 257, "u2": 257}.get(np.dtype(kind).str[1:], 1 / 255)
        array = (np.full((40, 40, 3), COLOUR) * scale).astype(kind)
        files[f"{np.dtype(kind)}.npy"] = saved(array), COLOUR, 0
        files[f"{np.dtype(kind)} first.npy"] = saved(array.transpose(2, 0, 1)), COLOUR, 0
    files["unit.npy"] = saved(np.full((40, 40, 3), COLOUR) / 255), COLOUR, 0
    files["float.tif"] = encoded(Image.new("F", (40, 40), GRAY / 255), "TIFF"), gray, 0
    files["trailing.png"], files["trailing.jpg"] = (rgb + b"junk" * 99, COLOUR, 0), (jpeg + b"junk" * 99, COLOUR, 3)
    files["progressive.jpg"] = encoded(plain("RGB"), "JPEG", progressive=True), COLOUR, 3
    files["bad exif.jpg"] = encoded(plain("RGB"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"), COLOUR, 3
    names = (
        "æ ø å",
        "日本語",
        "한국어",
        "العربية",
        "עברית",
        "🐈‍⬛",
        "e\u0301",
        "\u202eltr",
        "a\tb",
        "x\ny",
        "%00",
        "-rf",
        "$(id)",
        "'",
        '"',
    )
    for name in (*names, "." * 3 + "x", "c" * 240, "nul", "space "):
        # A leading dot hides a file, so every name begins with a letter.
        files[f"n{name}.png"] = rgb, COLOUR, 0
    return files


@cache
def broken() -> dict[str, bytes]:
    """Files that must be listed."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    files: dict[str, bytes] = {}
    for form, extension in (("PNG", "png"), ("JPEG", "jpg"), ("BMP", "bmp"), ("TIFF", "tif"), ("GIF", "gif"),
                            ("WEBP", "webp"), ("PPM", "ppm"), ("JPEG2000", "jp2"), ("AVIF", "avif")):  # fmt: skip
        data = encoded(noise, form)
        for part in (0.0, 0.02, 0.1, 0.3, 0.5, 0.7):
            files[f"cut {part}.{extension}"] = data[: int(len(data) * part)]
        files[f"zeros.{extension}"] = bytes(5000)
        files[f"text.{extension}"] = b"this is not a picture\n" * 40
        files[f"html.{extension}"] = b"<!DOCTYPE html><html><body>404</body></html>"
        files[f"pickle.{extension}"] = b"cos\nsystem\n(S'touch owned'\ntR."
    files["bomb.png"] = png(50000, 50000, b"\0" * 99)
    files["wide bomb.png"] = png(2**31 - 1, 1, b"\0" * 99)
    files["no size.png"] = png(0, 0, b"")
    files["inflate.png"] = png(60000, 4000, b"\0" * (60001 * 4000))
    files["text bomb.png"] = png(9, 9, b"\0" * 90, extra=_ztxt())
    files["script.png"] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(owned) (w) file closefile\n"
    files["svg.png"] = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        array = np.full((40, 40), 0.5, dtype=np.float32)
        array[7, 7] = value
        files[f"{name}.tif"] = encoded(Image.fromarray(array), "TIFF")
        files[f"{name}.npy"] = saved(array)
    for name, array in (
        ("text", np.array([["a"]])), ("complex", np.ones((9, 9), complex)), ("flat", np.ones(9)),
        ("none", np.ones((0, 3))),
        ("deep", np.ones((2, 2, 2, 2))), ("bands", np.ones((9, 9, 7))),
    ):  # fmt: skip
        files[f"{name}.npy"] = saved(array)
    held = io.BytesIO()
    np.save(held, np.array([{}], dtype=object), allow_pickle=True)
    files["objects.npy"] = held.getvalue()
    files["cut.npy"] = saved(np.ones((40, 40)))[:-8]
    liar = b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999, 99999, 999), }"
    files["liar.npy"] = b"\x93NUMPY\x01\0" + struct.pack("<H", len(liar) + 1) + liar + b"\n"
    files["code.npy"] = b"\x93NUMPY\x01\0" + struct.pack("<H", 40) + b"__import__('os').system('touch owned')  \n"
    return files


def _ztxt() -> bytes:
    data = b"k\0\0" + zlib.compress(bytes(80_000_000), 9)
    return struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    (root / "good").mkdir()
    (root / "bad").mkdir()
    for name, (data, _, _) in readable().items():
        (root / "good" / name).write_bytes(data)
    for name, data in broken().items():
        (root / "bad" / name).write_bytes(data)
    (root / "bad/loop.png").symlink_to("loop.png")
    (root / "bad/dangling.jpg").symlink_to("nowhere")
    (root / "bad/device.png").symlink_to("/dev/zero")
    (root / "bad/folders").symlink_to("..")
    os.mkfifo(root / "bad/pipe.png")
    (root / "bad/folder.png").mkdir()
    return root


def test_the_corpus_is_large_enough(corpus):
    assert len(readable()) + len(broken()) + 5 >= 200


@pytest.mark.parametrize("stored", [True, False])
def test_every_file_of_the_corpus_is_read_rightly_or_listed(corpus, tmp_path, monkeypatch, stored):
    monkeypatch.chdir(tmp_path)
    good, bad = readable(), broken()
    sets = [open_data(str(corpus), split, size=16, channels=3, max_bad_fraction=1.0, store=stored)
            for split in ("train", "test")]  # fmt: skip
    read: dict[str, np.ndarray[Any, Any]] = {}
    for images in sets:
        assert images.paths is not None
        read |= dict(zip(images.paths, images.images, strict=True))
    listed = {Path(entry.path).name: entry.reason for images in sets for entry in images.bad_files}
    escaped = {printable(name): name for name in good}
    named = {Path(path).name: pixels for path, pixels in read.items()}
    wrong = []
    for shown, name in escaped.items():
        _, expected, tolerance = good[name]
        pixels = named.get(shown)
        if pixels is None or np.abs(pixels.astype(int) - np.array(expected)[:, None, None]).max() > tolerance:
            wrong.append((name, None if pixels is None else pixels[:, 8, 8].tolist(), listed.get(shown)))
    assert not wrong
    assert not set(listed) & set(escaped)
    expected_bad = {*bad, "loop.png", "dangling.jpg", "device.png", "pipe.png"}
    assert expected_bad - set(listed) == set()
    assert all(reason and reason.isprintable() and len(reason) <= 200 for reason in listed.values())
    assert not (tmp_path / "owned").exists()


def test_files_that_may_not_be_read_are_listed(tmp_path, make_images):
    """Root may read anything: then a child that has given up its rights, once all is imported, does the reading."""
    for name in ("before", "in"):
        make_images(tmp_path / name, [f"{i}.png" for i in range(30)])
    (tmp_path / "in/7.png").chmod(0)
    # The folders that pytest makes are closed to others; the child stands inside instead of walking in.
    code = (
        "import os; from unlabeled.data import open_data\n"
        "len(open_data('before', store=False).images)\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "sets = [open_data('in', split, max_bad_fraction=0.1, store=False) for split in ('train', 'test')]\n"
        "assert sum(len(images.images) for images in sets) == 30\n"
        "print([bad for images in sets for bad in images.bad_files])"
    )
    tmp_path.chmod(0o755)
    environment = os.environ | {"PYTHONPATH": str(Path(unlabeled.__path__[0]).parent)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "[BadFile(path='in/7.png', reason='Permission denied')]", done.stderr
