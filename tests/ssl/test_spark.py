"""SparK: nothing hidden is seen, statistics are those of the visible, and the loss is the formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from unlabeled import backbones
from unlabeled.backbones.sparse import sparse
from unlabeled.core.errors import UserError
from unlabeled.heads.mae import patchify
from unlabeled.recipes.resolve import load_recipe
from unlabeled.runs.prepared import prepare
from unlabeled.ssl.method import Batch
from unlabeled.ssl.spark import SparK, SparKConfig

GRID = (2, 2)


def network(name="resnet10_small", size=16, **options):
    small = {"layers": (1, 1, 1, 1), "channels": (4, 4, 8, 8)} if name == "resnet10_small" else {}
    return backbones.create(
        name, in_chans=1, image_size=size, mean=(0.5,), std=(0.5,), seed=0, **{**small, **options}
    )  # fmt: skip


@pytest.fixture
def method(info):
    torch.manual_seed(0)
    return SparK(SparKConfig(decoder_dim=16), network(), info)


@pytest.fixture
def batch():
    return Batch([torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(1))], torch.arange(8))


def spread_out(hidden, side):
    return hidden.view(-1, 1, *GRID).repeat_interleave(side // 2, 2).repeat_interleave(side // 2, 3)


def test_statistics_and_values_are_those_of_the_visible_positions():
    torch.manual_seed(0)
    parts = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3, momentum=None)).double()
    kept = torch.tensor([[0, 3], [1, 2], [2, 3]])
    hidden = spread_out(torch.ones(3, 4, dtype=torch.bool).scatter(1, kept, False), 8)
    images = torch.randn(3, 1, 8, 8, dtype=torch.float64).masked_fill(hidden, 0)
    with sparse(kept, GRID, parts):
        found = parts(images)
    plain = parts[0](images).detach()
    seen = plain.transpose(0, 1)[:, ~hidden[:, 0]]  # (3, positions)
    expected = (plain - seen.mean(1).view(3, 1, 1)) / (seen.var(1, correction=0).view(3, 1, 1) + 1e-5).sqrt()
    torch.testing.assert_close(found, expected.masked_fill(hidden, 0), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(parts[1].running_mean, seen.mean(1))
    torch.testing.assert_close(parts[1].running_var, seen.var(1))
    assert not parts[0]._forward_hooks  # and it is an ordinary network again
    assert not parts[1]._forward_pre_hooks


@pytest.mark.parametrize("name", ["resnet10_small", "convnext_atto"])
def test_maps_are_zero_where_hidden_and_the_networks_own_where_all_is_seen(name):
    size = 64 if name == "convnext_atto" else 16
    model, images = network(name, size).eval(), torch.randn(2, 1, size, size)
    kept = torch.tensor([[0], [3]])
    hidden = torch.ones(2, 4, dtype=torch.bool).scatter(1, kept, False)
    with torch.no_grad(), sparse(kept, GRID, model):
        maps = model.forward_intermediates(images.masked_fill(spread_out(hidden, size), 0), intermediates_only=True)
    assert len(maps) >= 4
    for found in maps:
        holes = spread_out(hidden, found.shape[2]).expand_as(found)
        assert found[holes].abs().max() == 0
        assert found[~holes].abs().max() > 0
    with torch.no_grad(), sparse(torch.arange(4).expand(2, -1), GRID, model):
        whole = model.forward_features(images)
    torch.testing.assert_close(whole, model.forward_features(images), rtol=1e-3, atol=1e-4)


def test_one_cell_alone_is_as_good_as_cut_out_without_strides():
    """Zeros around a visible cell at every layer: what a stack of convolutions makes of the cell by itself."""
    torch.manual_seed(0)
    stack = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1)).double()
    image = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    image[:, :, :4, 4:] = cell = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    with sparse(torch.tensor([[1]]), GRID, stack):
        found = stack(image)
    torch.testing.assert_close(found[:, :, :4, 4:], stack(cell))


@pytest.mark.parametrize("norm_pix", [True, False])
def test_the_loss_is_the_mean_square_over_hidden_cells(norm_pix, info, batch, step):
    method = SparK(SparKConfig(decoder_dim=16, norm_pix=norm_pix), network(), info).double().eval()
    images = batch.views[0].double()
    kept, hidden = method.masks(images, step)
    assert kept.shape == (8, 2)  # 0.4 of 4 cells, rounded
    assert (hidden.sum(dim=1) == 2).all()
    target, painted = patchify(images, (8, 8)).numpy(), method.painted(images, kept, hidden).detach().numpy()
    if norm_pix:
        deviation = np.sqrt(target.var(-1, ddof=1, keepdims=True) + 1e-6)
        target = (target - target.mean(-1, keepdims=True)) / deviation
    expected = ((painted - target) ** 2)[hidden.numpy()].mean()
    assert float(method(Batch([images], batch.rows), step)["loss"].detach()) == pytest.approx(expected, rel=1e-9)


def test_hidden_pixels_do_not_matter_and_every_parameter_learns(method, batch, step):
    images = batch.views[0]
    kept, hidden = method.masks(images, step)
    method.eval()
    other = images.masked_fill(spread_out(hidden, 16), 100.0)
    torch.testing.assert_close(method.painted(other, kept, hidden), method.painted(images, kept, hidden))
    method.train()
    method(batch, step)["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def test_it_says_when_it_paints_one_thing_and_shows_pictures(method, batch, step):
    with torch.no_grad():
        method.decoder.predict.weight.mul_(50)  # it begins small
    healthy = {key: float(value.detach()) for key, value in method(batch, step).items()}
    assert method.warnings(healthy, step) is None
    (picture,) = method.pictures(batch, step)
    assert picture.images.shape == (3, 8, 1, 16, 16)
    with torch.no_grad():
        method.decoder.predict.weight.zero_()
    blind = {key: float(value.detach()) for key, value in method(batch, step).items()}
    assert "SparK has collapsed: it paints the same" in method.warnings(blind, step)


def test_what_does_not_fit_is_refused_in_a_line(vit, info, step, method):
    vit = network("vit_tiny_patch16_224", 32, patch_size=4, depth=1, embed_dim=24, num_heads=2)
    with pytest.raises(UserError, match=r"'spark' needs a convolutional network.*not this VisionTransformer"):
        SparK(SparKConfig(), vit, info)
    with pytest.raises(UserError, match=r"halve evenly.*maps of 4x4 from 28x28.*set size.*multiple of 8, e\.g\. 32"):
        SparK(SparKConfig(), network(size=28), info)
    with pytest.raises(UserError, match="leaves 0 of 4 cells visible"):
        SparK(SparKConfig(mask_ratio=0.95), network(), info)
    with pytest.raises(UserError, match="views of 32x32 pixels, its backbone takes 16x16"):
        method(Batch([torch.randn(8, 1, 32, 32)], torch.arange(8)), step)
    with pytest.raises(UserError, match="'spark' cannot compute blocks again"):
        prepare(load_recipe("spark", ["hardware.checkpoint_activations=true"]))
