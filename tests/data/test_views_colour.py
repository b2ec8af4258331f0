"""The colour map and the blur against torchvision's functions, one by one."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from unlabeled.core.model_input import LUMA
from unlabeled.data import colour
from unlabeled.data.blur import gaussian_blur, radius
from unlabeled.data.colour import Normalisation
from unlabeled.data.spec import ViewSpec
from unlabeled.data.views import Views
from unlabeled.data.views_draw import Draw


def photo() -> Tensor:
    """A photograph of middling colours, which no adjustment below drives out of range; uint8 ``(3, 64, 96)``."""
    image = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)
    return (TF.resize(image, [64, 96], antialias=True).float() * 0.4 + 60).to(torch.uint8)


def adjusted(image: Tensor, **factors: float) -> Tensor:
    """In [0, 1], unclamped."""
    drawn = Draw(**{name: torch.tensor([value]) for name, value in factors.items()})
    normal = Normalisation.of((0.0,), (1.0,), len(image), torch.device("cpu"))
    out = torch.empty(1, *image.shape)
    colour.affine(drawn, normal)(image[None].float(), out)
    return out[0]


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
def test_brightness_contrast_saturation_are_torchvisions(factor: float) -> None:
    image = photo()
    for name in ("brightness", "contrast", "saturation"):
        other = getattr(TF, f"adjust_{name}")(image / 255, factor)
        torch.testing.assert_close(adjusted(image, **{name: factor}), other, atol=1e-4, rtol=0)
    for name in ("brightness", "contrast"):
        other = getattr(TF, f"adjust_{name}")(image[:1] / 255, factor)
        torch.testing.assert_close(adjusted(image[:1], **{name: factor}), other, atol=1e-4, rtol=0)


def test_gray_is_torchvisions() -> None:
    image = photo()
    other = TF.rgb_to_grayscale(image / 255, num_output_channels=3)
    torch.testing.assert_close(adjusted(image, saturation=0.0, hue=0.07), other, atol=1e-3, rtol=0)


def test_any_order_of_torchvisions_adjustments_is_the_one_matrix() -> None:
    image = photo()
    ours = adjusted(image, brightness=1.1, contrast=0.8, saturation=0.7)
    steps = (TF.adjust_brightness, 1.1), (TF.adjust_contrast, 0.8), (TF.adjust_saturation, 0.7)
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        other = image / 255
        for step in order:
            other = steps[step][0](other, steps[step][1])
        torch.testing.assert_close(ours, other, atol=1e-3, rtol=0)


@pytest.mark.parametrize("hue", [-0.1, -0.05, 0.05, 0.1])
def test_hue_turns_as_torchvisions_and_keeps_the_luma(hue: float) -> None:
    image = photo()
    ours, other = adjusted(image, hue=hue), TF.adjust_hue(image / 255, hue)
    gap, change = ours - other, other - image / 255
    chroma = gap - gap.mean(0)  # HSV does not keep the luma
    assert chroma.abs().mean() < 0.3 * (change - change.mean(0)).abs().mean()
    assert gap.mean().abs() < 0.005
    luma = torch.tensor(LUMA)[:, None, None]
    torch.testing.assert_close((ours * luma).sum(0), (image / 255 * luma).sum(0), atol=1e-5, rtol=0)


def test_a_whole_turn_of_the_hue_is_nothing_and_thirds_move_red_to_green() -> None:
    image = photo()
    torch.testing.assert_close(adjusted(image, hue=1.0), image / 255, atol=1e-4, rtol=0)
    red = torch.tensor([[[200]], [[90]], [[90]]], dtype=torch.uint8)
    assert adjusted(red, hue=1 / 3).flatten().argmax() == 1
    assert adjusted(red, hue=-1 / 3).flatten().argmax() == 2


def test_colour_operations_leave_other_channels_alone() -> None:
    spec = ViewSpec(jitter=1.0, saturation=0.9, hue=0.5, gray=0.5)
    for channels in (1, 2, 5):
        images = torch.randint(0, 256, (4, channels, 5, 5), dtype=torch.uint8)
        (view,) = Views([spec], (0.0,), (1.0,))(images, key=(0,))
        torch.testing.assert_close(view, images / 255, atol=1e-6, rtol=0)


def test_colours_are_clamped_before_the_normalisation() -> None:
    images = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8)
    spec = ViewSpec(jitter=1.0, brightness=0.9, contrast=0.9)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    (view,) = Views([spec], mean, std)(images, key=(0,))
    pixels = view * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
    assert pixels.amin((0, 2, 3)).abs().max() < 1e-6
    assert (pixels.amax((0, 2, 3)) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("shape", [(17, 17), (9, 12), (40, 25), (131, 33), (1, 4)])
def test_blur_is_torchvisions(shape: tuple[int, int]) -> None:
    images = torch.rand(6, 3, *shape, generator=torch.Generator().manual_seed(0))
    sigmas = torch.tensor([0.3, 0.5, 1.0, 1.5, 2.0, 2.0])
    reach = radius(2.0)
    ours = gaussian_blur(images, sigmas, reach)
    reach = min(reach, min(shape) - 1)
    for view, image, sigma in zip(ours, images, sigmas, strict=True):
        other = TF.gaussian_blur(image, [2 * reach + 1] * 2, [float(sigma)] * 2)
        torch.testing.assert_close(view, other, atol=1e-5, rtol=0)


def test_sigma_scales_with_the_view_and_tiny_ones_do_nothing() -> None:
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    (small,) = Views([ViewSpec(blur=1.0, blur_sigma=(0.1, 1.6))], (0.0,), (1.0,))(images, key=(0,))
    torch.testing.assert_close(small, images / 255, atol=1e-6, rtol=0)
    (view,) = Views([ViewSpec(blur=1.0, blur_sigma=(7.0, 7.0))], (0.0,), (1.0,))(images, key=(0,))
    torch.testing.assert_close(view, TF.gaussian_blur(images / 255, [9, 9], [1.0, 1.0]), atol=1e-4, rtol=0)
