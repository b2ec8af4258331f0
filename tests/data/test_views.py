"""Views against torchvision: what is exact must be exact, what is random must have the same distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from sklearn.datasets import load_sample_image
from torch import Tensor
from torchvision.transforms import v2 as T
from torchvision.transforms.v2 import functional as TF

from unlabeled.core.errors import UserError
from unlabeled.data import open_data
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import CHUNK_BYTES, Views
from unlabeled.recipes.resolve import load_recipe

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


def test_solarize_is_torchvisions() -> None:
    images = noise(30, 3, 6)
    (view,) = Views([ViewSpec(solarize=0.5)], *RGB)(images, key=(0,))
    mean, std = (torch.tensor(x)[:, None, None] for x in RGB)
    pixels = view * std + mean
    turned = torch.isclose(pixels, TF.solarize(images / 255, 0.5), atol=1e-5).flatten(1).all(1)
    assert torch.isclose(pixels, images / 255, atol=1e-5).flatten(1).all(1).logical_xor(turned).all()
    assert 5 < turned.sum() < 25


def test_a_large_batch_is_the_same_in_chunks() -> None:
    images = noise(40, 3, 96)
    spec = SIMCLR.model_copy(update={"size": 48})
    views = Views([spec], *RGB)
    assert images.numel() * 4 > 2 * CHUNK_BYTES
    whole = views(images, key=(1,))[1]
    alone = torch.cat([views(images[i : i + 1], key=(1,), first=i, total=40)[1] for i in range(40)])
    torch.testing.assert_close(whole, alone, atol=1e-5, rtol=0)


def natural(size: int) -> Tensor:
    """The middle of a photograph, uint8 ``(3, size, size)``."""
    photo = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)
    return TF.center_crop(TF.resize(photo, [2 * size], antialias=True), [size, size])


def test_the_statistics_are_torchvisions() -> None:
    image, copies = natural(32), 1500
    spec = ViewSpec(
        crop="resized", flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, gray=0.2
    )
    (ours,) = plain(spec)(image.expand(copies, 3, 32, 32), key=(0,))
    theirs = T.Compose(
        [
            T.RandomResizedCrop(32, antialias=True),
            T.RandomHorizontalFlip(),
            T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            T.RandomGrayscale(0.2),
        ]
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        other = torch.stack([theirs(image / 255) for _ in range(copies)])
    # the standard error of a pixel's mean is 0.25 / sqrt(1500) = 0.0065
    assert (ours.mean(0) - other.mean(0)).abs().max() < 0.035
    assert (ours.mean((0, 2, 3)) - other.mean((0, 2, 3))).abs().max() < 0.012
    assert (ours.std(0) - other.std(0)).abs().max() < 0.03
    contrast = [x.std((2, 3)).mean(0) for x in (ours, other)]
    torch.testing.assert_close(*contrast, atol=0.01, rtol=0)


def test_the_statistics_of_gray_views_are_torchvisions() -> None:
    """At the recipe's settings: the same crops; adjusted, they differ only by how often they are clamped to white."""
    images = open_data("fashion-mini").gather(np.arange(0, 8000, 4))
    spec = load_recipe("simclr", []).views[0].model_copy(update={"count": 1})
    crop = [T.RandomResizedCrop(28, spec.scale, spec.ratio, antialias=True), T.RandomHorizontalFlip()]
    jitter = T.RandomApply([T.ColorJitter(spec.brightness, spec.contrast)], spec.jitter)
    for ours, theirs, white in (
        (spec.model_copy(update={"jitter": 0.0}), T.Compose(crop), 0.002),
        (spec, T.Compose([*crop, jitter]), 0.02),
    ):
        (view,) = plain(ours, channels=1)(images, key=(0,))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            other = torch.stack([theirs(image) for image in images / 255])
        for statistic in (Tensor.mean, Tensor.std):
            one, two = (statistic(x.flatten(1), 1).numpy() for x in (view, other))
            assert kstest(one, two).pvalue > 1e-3
        edges = [x.diff(dim=3).abs().mean((1, 2, 3)).numpy() for x in (view, other)]
        assert kstest(*edges).pvalue > 1e-3
        assert abs((view > 0.999).float().mean() - (other > 0.999).float().mean()) < white


def test_errors_say_what_to_do() -> None:
    with pytest.raises(UserError, match="uint8"):
        plain(ViewSpec())(torch.zeros(1, 3, 4, 4), key=(0,))
    with pytest.raises(UserError, match="give one or 2"):
        plain(ViewSpec())(noise(1, 2, 4), key=(0,))
    with pytest.raises(UserError, match="raise padding to 6"):
        plain(ViewSpec(crop="padded", padding=4, size=20))(noise(1, 3, 9), key=(0,))
    with pytest.raises(UserError, match="std > 0"):
        Views([ViewSpec()], (0.5,), (0.0,))


def test_autocast_around_changes_nothing() -> None:
    spec = ViewSpec(
        count=2, crop="resized", flip=0.5, jitter=1.0, brightness=0.4, saturation=0.4, hue=0.1, gray=0.2, blur=0.5
    )
    views = Views([spec], (0.5,) * 3, (0.25,) * 3)
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    plain = views(images, key=(0,))
    with torch.autocast("cpu", torch.bfloat16):
        around = views(images, key=(0,))
    assert all(torch.equal(one, two) for one, two in zip(plain, around, strict=True))
