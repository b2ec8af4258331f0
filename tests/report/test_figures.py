from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unlabeled.report import mosaic, probe_chart
from unlabeled.report.pixels import sprite, to_picture


def reports(*names: str) -> list[dict[str, Any]]:
    probes = {p: {"top1": 0.8, "interval": [0.78, 0.82]} for p in ("linear", "knn")}
    return [{"model": name, "data": "clothes", "probes": probes} for name in names]


def test_the_probe_chart_is_a_picture_of_every_model() -> None:
    picture = Image.open(io.BytesIO(probe_chart(reports("pixels", "runs/simclr"))))
    assert picture.format == "PNG"
    assert picture.width > 800
    text = probe_chart(reports("pixels", "runs/simclr"), "svg").decode()
    ET.fromstring(text)
    assert text == probe_chart(reports("pixels", "runs/simclr"), "svg").decode()


def test_odd_names_and_missing_probes_do_not_break_the_chart() -> None:
    odd = reports("$x^$", "_hidden", "<b>" * 40)
    odd[1]["probes"] = {"knn": {"top1": 1.0, "interval": [0.9, 1.0]}}
    assert probe_chart(odd).startswith(b"\x89PNG")
    assert probe_chart([]).startswith(b"\x89PNG")


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (5, "RGB")])
def test_images_of_any_number_of_channels_are_shown(channels: int, mode: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (channels, 6, 9), dtype=np.uint8)
    picture = to_picture(image)
    assert (picture.mode, picture.size) == (mode, (9, 6))
    assert np.array_equal(np.asarray(picture)[..., 0] if mode == "RGB" else np.asarray(picture), image[0])
    assert to_picture(image, 3).size == (3, 2)


def test_a_sprite_holds_every_image_at_its_place() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 1, 8, 8), dtype=np.uint8)
    data, columns, side = sprite(images)
    sheet = np.asarray(Image.open(io.BytesIO(data)))
    for i, image in enumerate(images):
        y, x = i // columns * side, i % columns * side
        assert np.array_equal(sheet[y : y + side, x : x + side], image[0])


def test_a_mosaic_has_gaps() -> None:
    image = np.zeros((1, 4, 4), dtype=np.uint8)
    sheet = np.asarray(Image.open(io.BytesIO(mosaic([[image, image], [image]]))))
    assert sheet.shape == (10, 10)
    assert (sheet[4:6] == 255).all()
    assert (sheet[6:, 6:] == 255).all()
