from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from unlabeled.core.errors import UserError
from unlabeled.heads.mae import patchify
from unlabeled.ssl.method import Batch
from unlabeled.ssl.painting import contrast
from unlabeled.ssl.simmim import SimMIM, SimMIMConfig, masked_distance


@pytest.fixture
def method(vit, info):
    return SimMIM(SimMIMConfig(mask_unit=4), vit(), info)


@pytest.fixture
def batch():
    return Batch([torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(1))], torch.arange(8))


def test_the_loss_is_the_mean_over_hidden_pixels_as_in_the_authors_code():
    predicted, target = (torch.randn(3, 2, 8, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    hidden = torch.zeros(3, 4, dtype=torch.bool).scatter(1, torch.rand(3, 4).argsort(dim=1)[:, :2], True)
    found = masked_distance(patchify(predicted, (4, 4)), patchify(target.detach(), (4, 4)), hidden)
    pixels = hidden.view(3, 1, 2, 2).double().repeat_interleave(4, 2).repeat_interleave(4, 3)
    expected = (nn.functional.l1_loss(predicted, target.detach(), reduction="none") * pixels).sum() / pixels.sum() / 2
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    ours, theirs = (torch.autograd.grad(loss, predicted)[0] for loss in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


@pytest.mark.parametrize("options", [{}, {"reg_tokens": 2}, {"class_token": False, "global_pool": "avg"}])
def test_every_parameter_learns(options, vit, info, batch, step):
    method = SimMIM(SimMIMConfig(mask_unit=4), vit(**options), info)
    method(batch, step)["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def test_hidden_pixels_are_not_seen_and_the_token_stands_for_them(method, batch, step):
    images = batch.views[0]
    hidden = method.masks(images, step)
    assert (hidden.sum(dim=1) == 30).all()  # 0.6 of 49, rounded up
    lengths = []
    method.backbone.blocks.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    painted = method.painted(images, hidden)
    assert lengths == [1 + 49]
    pixels = hidden.view(8, 1, 7, 7).repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(method.painted(images.masked_fill(pixels, 1e3), hidden), painted)
    with torch.no_grad():
        method.mask_token.add_(1.0)
    assert not torch.allclose(method.painted(images, hidden), painted)


def test_the_target_is_the_pixels_that_the_encoder_sees(method, batch, step):
    hidden = method.masks(batch.views[0], step)
    target, painted = patchify(batch.views[0], (4, 4)), method.painted(batch.views[0], hidden)
    torch.testing.assert_close(method(batch, step)["loss"], (painted - target)[hidden].abs().mean())


def test_larger_units_hide_whole_squares(vit, info, batch, step):
    method = SimMIM(SimMIMConfig(mask_unit=14), vit(patch_size=7), info)
    hidden = method.masks(batch.views[0], step).view(8, 2, 2, 2, 2)
    assert (hidden.sum(dim=(1, 2, 3, 4)) == 12).all()  # three of four squares of four patches
    assert torch.equal(hidden.any(dim=2).any(dim=3), hidden.all(dim=2).all(dim=3))
    assert SimMIM(SimMIMConfig(mask_unit=2, mask_ratio=0.7), vit(img_size=20, patch_size=2), info).hidden == 70


def test_it_learns_to_paint_and_says_when_it_paints_one_thing(vit, info, step):
    torch.manual_seed(0)
    method = SimMIM(SimMIMConfig(mask_unit=4), vit(), info)
    images = torch.linspace(-2, 2, 28).expand(8, 1, 28, 28) * torch.tensor([1.0, -1.0] * 4).view(8, 1, 1, 1)
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-3)
    rows = []
    for number in range(60):
        out = method(Batch([images], torch.arange(8)), dataclasses.replace(step, number=number))
        optimizer.zero_grad()
        out["loss"].backward()
        optimizer.step()
        rows.append({key: float(value.detach()) for key, value in out.items()})
    assert np.mean([row["loss"] for row in rows[-5:]]) < 0.5 * rows[0]["loss"]
    assert method.warnings(rows[-1], step) is None
    with torch.no_grad():
        method.paint.weight.zero_()
    blind = {key: float(value.detach()) for key, value in method(Batch([images], torch.arange(8)), step).items()}
    assert "paints the same into all images" in method.warnings(blind, step)


def test_contrast_is_a_ratio_of_deviations_over_images():
    target = torch.randn(6, 4, 3, dtype=torch.float64)
    assert float(contrast(target / 2 + torch.randn(4, 3), target)) == pytest.approx(0.5, rel=1e-5)


def test_pictures_show_what_was_painted(method, batch, step):
    (picture,) = method.pictures(batch, step)
    assert picture.images.shape == (3, 8, 1, 28, 28)
    hidden = method.masks(batch.views[0], step)
    original, _, painted = (patchify(row, (4, 4)) for row in picture.images)
    assert torch.equal(painted[~hidden], original[~hidden])
    assert not torch.equal(painted[hidden], original[hidden])


def test_what_does_not_fit_is_refused_in_a_line(resnet, vit, info, step):
    with pytest.raises(UserError, match="'simmim' needs a plain vision transformer"):
        SimMIM(SimMIMConfig(), resnet(), info)
    for unit in (6, 8, 32):
        with pytest.raises(UserError, match=f"squares of {unit} pixels.*set method.mask_unit to a multiple of 4"):
            SimMIM(SimMIMConfig(mask_unit=unit), vit(), info)
    with pytest.raises(UserError, match="hides 1 of 1 squares"):
        SimMIM(SimMIMConfig(mask_unit=28), vit(), info)
    with pytest.raises(UserError, match="views of 32x32 pixels"):
        SimMIM(SimMIMConfig(mask_unit=4), vit(), info)(Batch([torch.randn(8, 1, 32, 32)], torch.arange(8)), step)
