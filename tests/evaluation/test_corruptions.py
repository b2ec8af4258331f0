"""Corruptions: what they do to pixels, harder with severity, the same for the same seed."""

import pytest
import torch

from unlabeled.core.errors import UserError
from unlabeled.evaluation.corruptions import CORRUPTIONS, corrupt


def images(channels=3):
    x = torch.linspace(0, 1, 32)
    pattern = (torch.sin(20 * x)[:, None] * torch.cos(13 * x)[None] * 100 + 120).round().to(torch.uint8)
    shades = torch.tensor([1.0, 0.8, 0.6])[:channels].view(1, -1, 1, 1)
    return (pattern.expand(4, channels, 32, 32) * shades).to(torch.uint8)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_each_kind_changes_more_with_severity(kind):
    x = images()
    changed = [(corrupt(x, kind, s).float() - x.float()).abs().mean() for s in range(1, 6)]
    assert 0 < changed[0] < changed[4]
    assert torch.equal(corrupt(x, kind, 3, seed=1), corrupt(x, kind, 3, seed=1))
    assert corrupt(images(1), kind, 5).shape == (4, 1, 32, 32)


def test_strengths_are_what_they_say():
    grey = torch.full((8, 3, 64, 64), 128, dtype=torch.uint8)
    noise = corrupt(grey, "gaussian_noise", 1).float() / 255 - 128 / 255
    assert noise.std() == pytest.approx(0.08, rel=0.02)
    hit = corrupt(grey, "impulse_noise", 3) != 128
    assert hit.float().mean() == pytest.approx(0.09, rel=0.05)
    shot = corrupt(grey, "shot_noise", 2).float() / 255
    assert shot.var() == pytest.approx(128 / 255 / 25, rel=0.05)  # of a Poisson number over its rate
    x = images()
    spread = corrupt(x, "contrast", 4).float().std((2, 3)) / x.float().std((2, 3))
    assert spread.mean() == pytest.approx(0.1, rel=0.05)
    assert torch.equal(corrupt(images(1), "hue", 5), images(1))


def test_bad_input():
    with pytest.raises(UserError, match="Did you mean 'jpeg'"):
        corrupt(images(), "jpg", 1)
    with pytest.raises(UserError, match="1 to 5"):
        corrupt(images(), "jpeg", 6)
