"""Resampling against torch's antialiased interpolation, and rotations against numpy's."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from unlabeled.data import resample
from unlabeled.data.resample import Source
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import Views
from unlabeled.data.views_draw import Box


def noise(n: int, c: int, h: int, w: int) -> Tensor:
    return torch.randint(0, 256, (n, c, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def boxes(*each: tuple[int, int, int, int]) -> Box:
    return Box(*torch.tensor(each, dtype=torch.float32).T)


def theirs(image: Tensor, box: tuple[int, int, int, int], size: tuple[int, int], kind: str) -> Tensor:
    cut = image[:, box[0] : box[0] + box[2], box[1] : box[1] + box[3]].float()
    return interpolate(cut[None], size, mode=kind, antialias=True, align_corners=False)[0]


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize("image", [(30, 29), (61, 70)])  # with a table of matrices and without
@pytest.mark.parametrize("size", [(16, 16), (35, 40)])
def test_resized_crops_are_torchs(kind: resample.Interpolation, image: tuple[int, int], size: tuple[int, int]) -> None:
    H, W = image
    each = [(0, 0, H, W), (3, 5, 27, 20), (10, 2, 8, 25), (7, 7, 2, 3), (0, W - 1, H, 1), (H - 16, 0, 16, 16)]
    images, box = noise(len(each), 2, H, W), boxes(*each)
    shrinks = (box.height > size[0]) | (box.width > size[1])
    mirror = torch.tensor([0.0, 1, 0, 1, 0, 1])
    ours = resample.resized_crop(Source(images), box, shrinks, mirror, size, kind)
    for view, image_, corner, turned in zip(ours, images, each, mirror, strict=True):
        expected = theirs(image_, corner, size, kind)
        torch.testing.assert_close(view, expected.flip(2) if turned else expected, atol=5e-3, rtol=0)


def test_enlarging_is_the_same_in_both_ways() -> None:
    images, box = noise(3, 3, 50, 44), boxes((0, 0, 50, 44), (10, 12, 9, 13), (49, 0, 1, 44))
    source, mirror = Source(images), torch.tensor([0.0, 1, 1])
    ours = resample.enlarge(source.floats, box, mirror, (50, 44))
    torch.testing.assert_close(
        ours, resample.resize(source.lines, box, mirror, (50, 44), "bilinear"), atol=5e-3, rtol=0
    )


def test_a_bicubic_view_stays_in_range() -> None:
    images = noise(4, 1, 10, 10) // 128 * 255
    (view,) = Views([ViewSpec(size=25, interpolation="bicubic")], (0.0,), (1.0,))(images, key=(0,))
    assert view.min() == 0
    assert view.max() == 1


@pytest.mark.parametrize("turns", [0, 1, 2, 3, -1])
def test_right_angles_are_exact(turns: int) -> None:
    images = noise(2, 3, 12, 12)
    angle = torch.full((2,), turns * math.pi / 2)
    ours = resample.rotate(images.float(), boxes((0, 0, 12, 12), (0, 0, 12, 12)), None, angle, (12, 12), "bilinear", 1)
    torch.testing.assert_close(ours, torch.rot90(images, turns, (2, 3)).float(), atol=1e-2, rtol=0)


def test_a_flip_comes_before_the_turn() -> None:
    images = noise(1, 1, 12, 12)
    turn = torch.tensor([math.pi / 2])
    ours = resample.rotate(images.float(), boxes((0, 0, 12, 12)), torch.ones(1), turn, (12, 12), "bilinear", 1)
    torch.testing.assert_close(ours, torch.rot90(images.flip(3), 1, (2, 3)).float(), atol=1e-2, rtol=0)


def test_rotations_are_torchvisions_inside() -> None:
    images = noise(1, 3, 40, 40)
    angle = torch.tensor([math.radians(17)])
    ours = resample.rotate(images.float(), boxes((0, 0, 40, 40)), None, angle, (40, 40), "bilinear", 1)
    other = TF.rotate(images.float(), 17.0, InterpolationMode.BILINEAR)
    y, x = torch.meshgrid(torch.arange(40) - 19.5, torch.arange(40) - 19.5, indexing="ij")
    inside = x.square() + y.square() < 19**2
    torch.testing.assert_close(ours[..., inside], other[..., inside], atol=2e-2, rtol=0)


def test_a_rotated_crop_is_the_crop_rotated() -> None:
    smooth = interpolate(noise(1, 3, 6, 6).float(), (60, 60), mode="bicubic").clamp(0, 255).round()
    box = (13, 9, 30, 36)
    ours = resample.rotate(smooth, boxes(box), None, torch.tensor([0.3]), (48, 48), "bilinear", 1)
    other = TF.rotate(theirs(smooth[0], box, (48, 48), "bilinear")[None], math.degrees(0.3), InterpolationMode.BILINEAR)
    y, x = torch.meshgrid(torch.arange(48) - 23.5, torch.arange(48) - 23.5, indexing="ij")
    inside = x.square() + y.square() < 22**2
    assert (ours - other)[..., inside].abs().mean() < 1  # they interpolate twice


def test_no_halo_and_no_black_where_there_is_image() -> None:
    white = torch.full((50, 1, 20, 20), 255, dtype=torch.uint8)
    (view,) = Views([ViewSpec(rotate=45)], (0.0,), (1.0,))(white, key=(0,))
    assert view.lt(1e-6).logical_or(view.sub(1).abs() < 1e-5).all()
    middle = boxes(*[(8, 8, 4, 4)] * 50)
    turned = resample.rotate(white.float(), middle, None, torch.linspace(-3, 3, 50), (4, 4), "bilinear", 1)
    assert turned.min() > 254.9


def test_a_shrunk_rotation_is_antialiased() -> None:
    stripes = (torch.arange(64) % 2 * 255).to(torch.uint8).expand(8, 1, 64, 64)
    (view,) = Views([ViewSpec(rotate=10, size=16)], (0.0,), (1.0,))(stripes, key=(0,))
    assert (view[:, :, 4:-4, 4:-4] - 0.5).abs().max() < 0.2
