from __future__ import annotations

import numpy as np
import pytest
import torch

from unlabeled.core.errors import UserError
from unlabeled.ssl.data2vec import Data2Vec, Data2VecConfig, layer_average, regression_loss
from unlabeled.ssl.method import Batch


@pytest.fixture
def method(vit, info):
    return Data2Vec(Data2VecConfig(layers=2), vit(depth=3), info)


@pytest.fixture
def batch():
    return Batch([torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(1))], torch.arange(8))


def normal(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_the_loss_is_the_formula_and_so_is_its_gradient(beta):
    predicted = (torch.randn(3, 5, 4, dtype=torch.float64) * 3).requires_grad_()
    target, hidden = torch.randn(3, 5, 4, dtype=torch.float64), torch.rand(3, 5) < 0.6
    found = regression_loss(predicted, target, hidden, beta)
    d = (predicted - target).detach().numpy()
    values = np.where(np.abs(d) <= beta, d**2 / (2 * beta), np.abs(d) - beta / 2)
    assert float(found.detach()) == pytest.approx(values[hidden.numpy()].mean(), rel=1e-12)
    (gradient,) = torch.autograd.grad(found, predicted)
    expected = np.clip(d / beta, -1, 1) * hidden[:, :, None].numpy() / (int(hidden.sum()) * 4)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-12)


def test_targets_are_normalised_means_of_normalised_layers():
    layers = [torch.randn(2, 3, 8, dtype=torch.float64) * scale for scale in (1, 100)]
    expected = normal(sum(normal(layer.numpy()) for layer in layers) / 2)
    np.testing.assert_allclose(layer_average(*layers).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("options", [{}, {"reg_tokens": 2}, {"class_token": False, "global_pool": "avg"}])
def test_every_parameter_of_the_student_learns_and_none_of_the_teacher(options, vit, info, batch, step):
    method = Data2Vec(Data2VecConfig(layers=2), vit(**options), info)
    method(batch, step)["loss"].backward()
    for name, parameter in method.named_parameters():
        trained = not name.startswith("teacher.")
        assert parameter.requires_grad == trained, name
        assert (parameter.grad is not None and parameter.grad.isfinite().all()) == trained, name


def test_the_teacher_sees_all_and_its_uppermost_blocks_count(method, batch):
    blocks = method.teacher.backbone.forward_intermediates(batch.views[0], indices=[1, 2], intermediates_only=True)
    outputs = [block.flatten(2).transpose(1, 2).detach().numpy() for block in blocks]
    expected = normal(sum(normal(output) for output in outputs) / 2)
    np.testing.assert_allclose(method.wanted(batch.views[0]).numpy(), expected, atol=1e-4)


def test_the_student_does_not_see_what_is_hidden_and_answers_for_it_alone(method, batch, step):
    images = batch.views[0]
    hidden = method.masks(images, step)
    assert (hidden.sum(dim=1) == 29).all()  # 0.6 of 49
    predicted = method.predicted(images, hidden)
    pixels = hidden.view(8, 1, 7, 7).repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(method.predicted(images.masked_fill(pixels, 1e3), hidden), predicted)
    wanted = method.wanted(images)
    expected = torch.nn.functional.smooth_l1_loss(predicted[hidden], wanted[hidden], beta=2.0)
    torch.testing.assert_close(method(batch, step)["loss"], expected)


def test_the_teacher_follows_and_a_collapse_is_named(method, batch, step):
    kept = method.kept()
    assert kept.backbone is method.backbone
    assert kept.beside["teacher"] is method.teacher.backbone
    before = method.teacher.backbone.blocks[0].attn.qkv.weight.detach().clone()
    with torch.no_grad():
        method.backbone.blocks[0].attn.qkv.weight.add_(1.0)
    method.after_step(step)
    moved = method.teacher.backbone.blocks[0].attn.qkv.weight.detach() - before
    torch.testing.assert_close(moved, torch.full_like(moved, 0.0002), rtol=0, atol=1e-6)
    healthy = {key: float(value.detach()) for key, value in method(batch, step).items()}
    assert method.warnings(healthy, step) is None
    with torch.no_grad():
        for name, parameter in method.teacher.named_parameters():
            if "patch_embed" in name or name.endswith("pos_embed"):
                parameter.zero_()
    blind = {key: float(value.detach()) for key, value in method(batch, step).items()}
    assert "data2vec has collapsed" in method.warnings(blind, step)


def test_what_does_not_fit_is_refused_in_a_line(resnet, vit, info, step):
    with pytest.raises(UserError, match="'data2vec' needs a plain vision transformer"):
        Data2Vec(Data2VecConfig(), resnet(), info)
    with pytest.raises(UserError, match=r"method\.layers 6 asks for more blocks than the transformer's 2; set"):
        Data2Vec(Data2VecConfig(), vit(), info)
    with pytest.raises(UserError, match="hides 0 of 49 patches"):
        Data2Vec(Data2VecConfig(mask_ratio=0.001), vit(), info)
    with pytest.raises(UserError, match="views of 32x32 pixels"):
        Data2Vec(Data2VecConfig(layers=1), vit(), info)(Batch([torch.randn(8, 1, 32, 32)], torch.arange(8)), step)
