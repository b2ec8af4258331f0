"""Views against torchvision: what is exact must be exact, what is random must have the same distribution."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate

from unlabeled.core.errors import UserError
from unlabeled.data import resample
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import Views
from unlabeled.data.views_draw import Box

RGB = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
SIMCLR = ViewSpec(
    count=2,
    crop="resized",
    flip=0.5,
    jitter=0.8,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    gray=0.2,
    blur=0.5,
    blur_sigma=(0.1, 12.0),
    solarize=0.2,
)


def noise(n: int, c: int, h: int, w: int | None = None, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, c, h, w or h), dtype=torch.uint8, generator=generator)


def plain(*specs: ViewSpec, channels: int = 3) -> Views:
    return Views(specs, (0.0,) * channels, (1.0,) * channels)


def test_nothing_asked_is_the_normalised_image() -> None:
    images = noise(5, 3, 12, 9)
    (view,) = Views([ViewSpec()], *RGB)(images, key=(0,))
    mean, std = (torch.tensor(x)[:, None, None] for x in RGB)
    torch.testing.assert_close(view, (images / 255 - mean) / std, atol=1e-6, rtol=1e-6)
    assert view.dtype == torch.float32


def test_views_are_a_function_of_the_key() -> None:
    images = noise(6, 3, 16)
    views = Views([SIMCLR], *RGB)
    one, two = views(images, key=(3, 1, "train"))
    torch.manual_seed(99)
    again = views(images, key=(3, 1, "train"))
    assert torch.equal(one, again[0])
    assert torch.equal(two, again[1])
    assert not torch.equal(one, two)
    assert not torch.equal(one, views(images, key=(3, 2, "train"))[0])


SPECS = st.builds(
    ViewSpec,
    count=st.integers(1, 2),
    size=st.sampled_from([None, 9]),
    crop=st.sampled_from(["none", "resized", "padded"]),
    flip=st.sampled_from([0.0, 0.5]),
    rotate=st.sampled_from([0.0, 30.0]),
    jitter=st.sampled_from([0.0, 0.8]),
    brightness=st.just(0.4),
    contrast=st.sampled_from([0.0, 0.4]),
    saturation=st.just(0.4),
    hue=st.sampled_from([0.0, 0.1]),
    gray=st.sampled_from([0.0, 0.3]),
    blur=st.sampled_from([0.0, 0.5]),
    blur_sigma=st.just((1.0, 20.0)),
    solarize=st.sampled_from([0.0, 0.3]),
)


@settings(max_examples=40, deadline=None)
@given(specs=st.lists(SPECS, min_size=1, max_size=2), channels=st.sampled_from([1, 2, 3]), cut=st.integers(1, 7))
def test_any_number_of_ranks_sees_the_same_views(specs: list[ViewSpec], channels: int, cut: int) -> None:
    images = noise(8, channels, 11)
    views = Views(specs, (0.5,), (0.25,))
    whole = views(images, key=(1,))
    parts = views(images[:cut], key=(1,), total=8), views(images[cut:], key=(1,), first=cut, total=8)
    assert len(whole) == sum(spec.count for spec in specs)
    for number, view in enumerate(whole):
        torch.testing.assert_close(torch.cat([part[number] for part in parts]), view, atol=1e-5, rtol=0)
        size = specs[0].size if number < specs[0].count else specs[-1].size
        assert view.shape == (8, channels, size or 11, size or 11)


def test_flips_are_exact() -> None:
    images = noise(40, 3, 8, 10)
    (view,) = plain(ViewSpec(flip=0.5))(images, key=(0,))
    straight, turned = images / 255, images.flip(3) / 255
    flipped = torch.isclose(view, turned, atol=1e-6).flatten(1).all(1)
    assert torch.isclose(view, straight, atol=1e-6).flatten(1).all(1).logical_xor(flipped).all()
    assert 8 < flipped.sum() < 32


def test_padded_crops_are_exact_and_reach_every_place() -> None:
    images = noise(400, 1, 5) // 2 + 1
    (view,) = plain(ViewSpec(crop="padded", padding=2), channels=1)(images, key=(0,))
    padded = torch.nn.functional.pad(images, (2,) * 4) / 255
    windows = padded.unfold(2, 5, 1).unfold(3, 5, 1).flatten(2, 3)[:, 0]
    found = torch.isclose(windows, view, atol=1e-6).flatten(2).all(2)
    assert found.any(1).all()
    assert found.any(0).all()


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize("box", [(0, 0, 37, 29), (3, 5, 30, 20), (10, 2, 8, 25), (7, 7, 2, 3), (0, 28, 37, 1)])
@pytest.mark.parametrize("size", [(16, 16), (48, 40)])
def test_resized_crops_are_torchvisions(kind: str, box: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    images = noise(3, 2, 37, 29).float()
    top, left, height, width = (torch.full((3,), float(x)) for x in box)
    mirror = torch.tensor([0.0, 1.0, 0.0])
    ours = resample.resize(images.permute(0, 2, 1, 3).contiguous(), Box(top, left, height, width), mirror, size, kind)
    cut = images[:, :, box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
    theirs = interpolate(cut, size, mode=kind, antialias=True, align_corners=False)
    theirs[1] = theirs[1].flip(2)
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-5)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(UserError, match="uint8"):
        plain(ViewSpec())(torch.zeros(1, 3, 4, 4), key=(0,))
    with pytest.raises(UserError, match="give one or 2"):
        plain(ViewSpec())(noise(1, 2, 4), key=(0,))
    with pytest.raises(UserError, match="raise padding to 6"):
        plain(ViewSpec(crop="padded", padding=4, size=20))(noise(1, 3, 9), key=(0,))
    with pytest.raises(UserError, match="std > 0"):
        Views([ViewSpec()], (0.5,), (0.0,))
