"""Write docs/pixels.md by opening small data sets of every kind: python docs/tools/pixel_table.py"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unlabeled.core.errors import UserError
from unlabeled.core.progress import quiet, set_quiet
from unlabeled.data import open_data

PAGE = Path(__file__).parents[1] / "pixels.md"
Array = np.ndarray[Any, np.dtype[Any]]
Write = Callable[[Path, Array], None]
HEAD = """# What happens to my pixels

Every image becomes 8 bits a channel before anything else, and is then cut to the wanted size: turned upright, resized
until it just covers the square (antialiased bicubic), and its middle taken. Training, probes, `embed`, and plain timm
on an exported folder see the same tensor.

What the numbers mean is decided **once per data set**: from the types, from what you say, and from all of its training
images. It holds for every split, is said in a line when the data are opened, and stays with the run (`data.json`,
`pixels`) and the backbone (`config.json`, `pixels`), so that images that are embedded later are read alike. Where
nothing tells what the numbers mean, you are asked.

| setting | what it says |
|---|---|
| `data.range=LOW..HIGH` | the values that become black (0) and white (255); others are cut off, and counted aloud |
| `data.window=LOW..HIGH` | the same, where cutting off is wanted; `1%..99%` takes percentiles of the training images |
| `data.bands=4,3,2` | the bands that become the channels, counted from 1 |
| `data.bands=rgba` or `la` | the last of 4 or 2 bands without a meaning is transparency, and is laid over white |
| `data.channels=3` | turns gray into colour or (1) colour into gray, and tells where the channels of an array are |

This page is made by the code that decides: each row is a small data set that was opened.

"""
MIDDLE = """
Transparency that a file declares (PNG, WebP, GIF, TIFF with an alpha channel) is laid over white, or kept with
`data.channels=4`. A plain timm loader drops it instead, does not turn pictures upright by their EXIF tag, and cannot
read more than 8 bits: for such files give plain timm 8-bit copies.

## By settings

"""


def _npy(path: Path, image: Array) -> None:
    np.save(path.with_suffix(".npy"), image)


def _picture(ending: str, mode: str | None = None) -> Write:
    def write(path: Path, image: Array) -> None:
        picture = Image.fromarray(image)
        (picture.convert(mode) if mode else picture).save(path.with_suffix(ending))

    return write


def _pages(path: Path, image: Array) -> None:
    pages = [Image.fromarray(np.ascontiguousarray(image[..., page])) for page in range(image.shape[2])]
    pages[0].save(path.with_suffix(".tif"), save_all=True, append_images=pages[1:])


def _values(low: float, high: float, kind: str, *bands: int) -> Array:
    """(32, 32, …) from ``low`` to ``high``, both of which occur."""
    shape = (32, 32, *bands)
    values = np.linspace(low, high, int(np.prod(shape))).reshape(shape)
    return (values if kind.startswith("float") else np.rint(values)).astype(kind)


def _halves(*bands: int) -> Array:
    """(32, 32, …) half black and half white, which no compression blurs."""
    image = np.zeros((32, 32, *bands), np.uint8)
    image[16:] = 255
    return image


KINDS: list[tuple[str, Write, Array]] = [
    ("JPEG, gray", _picture(".jpg"), _halves()),
    ("JPEG, colour", _picture(".jpg"), _halves(3)),
    ("JPEG, CMYK", _picture(".jpg", "CMYK"), _halves(3)),
    ("PNG, 1 bit", _picture(".png"), _values(0, 1, "bool")),
    ("PNG, palette", _picture(".png", "P"), _halves(3)),
    ("PNG, gray, 16 bits, all used", _picture(".png"), _values(0, 65535, "uint16")),
    ("PNG, gray, 16 bits, of which 12 are used", _picture(".png"), _values(0, 4095, "uint16")),
    ("PNG, gray with transparency", _picture(".png"), _values(0, 255, "uint8", 2)),
    ("PNG, colour with transparency", _picture(".png"), _values(0, 255, "uint8", 4)),
    ("TIFF, 2 gray pages", _pages, _values(0, 255, "uint8", 2)),
    ("TIFF, 13 gray pages of 16 bits", _pages, _values(0, 10000, "uint16", 13)),
    ("TIFF, floats in 0..1", _picture(".tif"), _values(0, 1, "float32")),
    ("array, bool", _npy, _values(0, 1, "bool")),
    ("array, uint8", _npy, _values(0, 255, "uint8")),
    ("array, uint8, hardly used", _npy, _values(0, 9, "uint8")),
    ("array, int64 in 0..255", _npy, _values(0, 255, "int64")),
    ("array, uint16 in 0..255", _npy, _values(0, 255, "uint16")),
    ("array, uint16 in 0..1000", _npy, _values(0, 1000, "uint16")),
    ("array, int32 in 0..4095", _npy, _values(0, 4095, "int32")),
    ("array, uint16 in 0..10000 (reflectance)", _npy, _values(0, 10000, "uint16")),
    ("array, int16 in -1000..3000 (tomography)", _npy, _values(-1000, 3000, "int16")),
    ("array, int32 in 0..100000", _npy, _values(0, 100_000, "int32")),
    ("array, float32 in 0..1", _npy, _values(0, 1, "float32")),
    ("array, float32 a rounding error beyond 1", _npy, _values(0, 1.000001, "float32")),
    ("array, float64 in 0..255", _npy, _values(0, 255, "float64")),
    ("array, float32 in 0..1.3", _npy, _values(0, 1.3, "float32")),
    ("array, float32 in -2..2", _npy, _values(-2, 2, "float32")),
    ("array, 2 bands", _npy, _values(0, 255, "uint8", 2)),
    ("array, 3 bands", _npy, _values(0, 255, "uint8", 3)),
    ("array, 4 bands", _npy, _values(0, 255, "uint8", 4)),
    ("array, 13 bands, last", _npy, _values(0, 255, "uint8", 13)),
    ("array, 13 bands, first", _npy, np.moveaxis(_values(0, 255, "uint8", 13), 2, 0)),
    ("array, 9×12×16", _npy, np.zeros((9, 12, 16), np.uint8)),
]
SETTINGS: list[tuple[str, Write, Array, dict[str, Any]]] = [
    ("array, int16 in -1000..3000", _npy, _values(-1000, 3000, "int16"), {"range": "-1000..3000"}),
    ("array, int16 in -1000..3000", _npy, _values(-1000, 3000, "int16"), {"window": "-160..240"}),
    ("array, float32 in -2..2", _npy, _values(-2, 2, "float32"), {"window": "1%..99%"}),
    ("array, uint8, masks of 0 and 1", _npy, _values(0, 1, "uint8"), {"range": "0..1"}),
    ("array, 13 bands", _npy, _values(0, 255, "uint8", 13), {"bands": "4,3,2"}),
    ("array, 13 bands", _npy, _values(0, 255, "uint8", 13), {"channels": 3}),
    ("array, 4 bands", _npy, _values(0, 255, "uint8", 4), {"bands": "rgba"}),
    ("array, 4 bands", _npy, _values(0, 255, "uint8", 4), {"channels": 3}),
    ("array, 9×12×16", _npy, np.zeros((9, 12, 16), np.uint8), {"channels": 9}),
    ("PNG, colour with transparency", _picture(".png"), _values(0, 255, "uint8", 4), {"channels": 4}),
    ("JPEG, colour", _picture(".jpg"), _halves(3), {"channels": 1}),
]


def row(name: str, write: Write, image: Array, settings: dict[str, Any]) -> str:
    """What opening four such images gives, as a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        photos.mkdir()
        for number in range(4):
            write(photos / str(number), image)
        try:
            opened = open_data(str(photos), "all", cache=Path(folder, "cache"), **settings)
        except UserError as error:
            reason = re.search(r"0\.npy \((.*?)\)[;.]", str(error))
            found, said = "refused", reason[1] if reason else str(error)
        else:
            pixels = opened.images
            found = f"{'×'.join(map(str, opened.shape))}, {pixels.min()}..{pixels.max()}"
            said = "; ".join(opened.lines) or "–"
        said = said.replace(f"'{photos}': ", "")
    given = "".join(f"`data.{key}={value}` | " for key, value in settings.items())
    return f"| {name} | {given}{found} | {said} |"


def page() -> str:
    """The whole page."""
    before = quiet()
    set_quiet(True)
    try:
        plain = [row(*kind, {}) for kind in KINDS]
        chosen = [row(*kind) for kind in SETTINGS]
    finally:
        set_quiet(before)
    return (
        HEAD
        + "\n".join(["| stored as | result: C×H×W, darkest..brightest | what is said |", "|---|---|---|", *plain])
        + "\n"
        + MIDDLE
        + "\n".join(["| stored as | setting | result | what is said |", "|---|---|---|---|", *chosen])
        + "\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
