"""The drawn parameters against torchvision's, in distribution."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import kstest
from torchvision.transforms import RandomResizedCrop

from unlabeled.core import rng
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views_draw import draw, largest_box, random_boxes

N = 3000


@pytest.mark.parametrize("image", [(32, 32), (40, 24)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.05, 0.14)])
def test_boxes_are_distributed_as_torchvisions(image: tuple[int, int], scale: tuple[float, float]) -> None:
    spec = ViewSpec(crop="resized", scale=scale)
    ours = torch.stack(random_boxes(spec, image, N, rng.torch_generator(0)), 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        blank = torch.empty(3, *image)
        drawn = [RandomResizedCrop.get_params(blank, list(scale), [0.75, 4 / 3]) for _ in range(N)]
    theirs = torch.tensor(drawn, dtype=torch.float32)
    for statistic in (lambda b: b[:, 0], lambda b: b[:, 1], lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 2] / b[:, 3]):
        assert kstest(statistic(ours).numpy(), statistic(theirs).numpy()).pvalue > 1e-3


def test_boxes_are_whole_pixels_inside_the_image_and_the_bound() -> None:
    for image, scale in (((32, 32), (0.08, 1.0)), ((9, 50), (0.3, 1.0)), ((64, 48), (0.05, 0.14))):
        spec = ViewSpec(crop="resized", scale=scale)
        top, left, height, width = random_boxes(spec, image, N, rng.torch_generator(1))
        for values in (top, left, height, width):
            assert torch.equal(values, values.round())
        assert top.min() >= 0
        assert left.min() >= 0
        assert (top + height).max() <= image[0]
        assert (left + width).max() <= image[1]
        tallest, widest = largest_box(spec, image)
        assert height.max() <= tallest
        assert width.max() <= widest


@pytest.mark.parametrize("image", [(10, 100), (100, 10)])
def test_where_nothing_fits_the_centre_is_taken(image: tuple[int, int]) -> None:
    spec = ViewSpec(crop="resized", scale=(1.0, 1.0))
    box = [int(x[0]) for x in random_boxes(spec, image, 1, rng.torch_generator(0))]
    assert box == list(RandomResizedCrop.get_params(torch.empty(1, *image), [1.0, 1.0], [0.75, 4 / 3]))


def test_factors_are_uniform_and_applied_together() -> None:
    spec = ViewSpec(jitter=0.8, brightness=0.4, contrast=1.5, saturation=0.4, hue=0.1, flip=0.5, rotate=30, gray=0.2)
    drawn = draw(spec, (32, 32), N, rng.torch_generator(0))
    assert drawn.brightness is not None
    assert drawn.contrast is not None
    assert drawn.saturation is not None
    assert drawn.hue is not None
    assert drawn.flip is not None
    assert drawn.angle is not None
    untouched = drawn.brightness == 1
    assert torch.equal(untouched, drawn.hue == 0)
    assert abs(untouched.float().mean() - 0.2) < 0.03
    for values, low, high in (
        (drawn.brightness[~untouched], 0.6, 1.4),
        (drawn.contrast[~untouched], 0.0, 2.5),
        (drawn.hue[~untouched], -0.1, 0.1),
        (drawn.angle, -math.radians(30), math.radians(30)),
    ):
        assert kstest(values.numpy(), "uniform", args=(low, high - low)).pvalue > 1e-3
    assert abs((drawn.saturation == 0).float().mean() - 0.2) < 0.03
    assert abs(drawn.flip.mean() - 0.5) < 0.03
    pairs = torch.corrcoef(torch.stack([drawn.brightness, drawn.contrast, drawn.hue, drawn.flip, drawn.angle]))
    assert (pairs - torch.eye(5)).abs().max() < 0.08


def test_blur_is_for_a_view_of_224_pixels() -> None:
    spec = ViewSpec(blur=0.5, blur_sigma=(1.0, 2.0), size=112)
    sigma = draw(spec, (32, 32), N, rng.torch_generator(0)).sigma
    assert sigma is not None
    blurred = sigma[sigma > 0]
    assert abs(len(blurred) / N - 0.5) < 0.03
    assert kstest(blurred.numpy(), "uniform", args=(0.5, 0.5)).pvalue > 1e-3
