"""Every way to make a view, on a GPU without one."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import Views

COLOURS = {"jitter": 0.8, "brightness": 0.6, "contrast": 0.6, "saturation": 0.6, "hue": 0.1, "gray": 0.2}
WAYS = {
    "whole": ViewSpec(flip=0.5),
    "another size": ViewSpec(size=20),
    "padded": ViewSpec(crop="padded", padding=4, flip=0.5),
    "resized": ViewSpec(crop="resized", scale=(0.2, 1.0), flip=0.5, **COLOURS),
    "bicubic": ViewSpec(crop="resized", interpolation="bicubic"),
    "turned": ViewSpec(crop="resized", rotate=10, flip=0.5),
    "blurred": ViewSpec(crop="resized", blur=0.5, blur_sigma=(1.0, 14.0), solarize=0.3),
}


@pytest.mark.parametrize("side", [28, 64])
@pytest.mark.parametrize("way", WAYS)
def test_views_are_made_where_the_images_lie(way: str, side: int, fake: ModuleType) -> None:
    images = torch.randint(0, 256, (16, 3, side, side), dtype=torch.uint8)
    expected = Views([WAYS[way]], (0.5,) * 3, (0.25,) * 3)(images, key=(0, 1))
    views = Views([WAYS[way]], (0.5,) * 3, (0.25,) * 3)
    with fake.fake_gpu() as gpu:
        made = views(images.pin_memory().to(fake.GPU), key=(0, 1))
        assert [(view.device, view.shape) for view in made] == [(fake.GPU, view.shape) for view in expected]
        assert not gpu.unpinned, f"copies that the host waits for: {gpu.unpinned}"
