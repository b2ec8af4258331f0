from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from unlabeled.core.errors import UserError
from unlabeled.heads.mae import sincos_positions
from unlabeled.ssl.ijepa import IJEPA, IJEPAConfig, prediction_loss
from unlabeled.ssl.method import Batch

SMALL = {"predictor_dim": 16, "predictor_depth": 1, "predictor_heads": 2}
VARIANTS = [{}, {"reg_tokens": 2}, {"class_token": False, "global_pool": "avg"}]


@pytest.fixture
def method(vit, info):
    return IJEPA(IJEPAConfig(**SMALL), vit(), info)


@pytest.fixture
def batch():
    return Batch([torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(1))], torch.arange(8))


def test_the_loss_is_smooth_l1_as_in_the_authors_code():
    predicted = (torch.randn(2, 4, 3, 5, dtype=torch.float64) * 2).requires_grad_()
    target = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    found = prediction_loss(predicted, target)
    d = np.abs((predicted - target).detach().numpy())
    assert float(found.detach()) == pytest.approx(np.where(d < 1, d**2 / 2, d - 0.5).mean(), rel=1e-12)
    (gradient,) = torch.autograd.grad(found, predicted)
    np.testing.assert_allclose(gradient.numpy(), (predicted - target).detach().clamp(-1, 1).numpy() / d.size)


@pytest.mark.parametrize("options", VARIANTS)
def test_every_parameter_of_the_student_learns_and_none_of_the_teacher(options, vit, info, batch, step):
    method = IJEPA(IJEPAConfig(**SMALL), vit(**options), info)
    method(batch, step)["loss"].backward()
    for name, parameter in method.named_parameters():
        trained = not name.startswith("teacher.") and name != "backbone.pos_embed"
        assert parameter.requires_grad == trained, name
        assert (parameter.grad is not None and parameter.grad.isfinite().all()) == trained, name


def test_the_loss_is_between_predictions_from_the_context_and_the_teachers_normalised_tokens(method, batch, step):
    images = batch.views[0]
    context, targets = method.masks(images, step)
    features = method.teacher.backbone.forward_features(images)[:, 1:].detach()
    normal = (features - features.mean(-1, keepdim=True)) / (features.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    wanted = torch.stack([normal[i][targets[i]] for i in range(8)])
    torch.testing.assert_close(method.wanted(images, targets), wanted)
    vit = method.backbone
    x = vit._pos_embed(vit.patch_embed(images))
    seen = torch.stack([torch.cat([x[i, :1], x[i, 1 + context[i]]]) for i in range(8)])
    predicted = method.predictor(vit.norm(vit.blocks(seen)), context, targets)
    expected = torch.nn.functional.smooth_l1_loss(predicted, wanted)
    torch.testing.assert_close(method(batch, step)["loss"], expected)


def test_what_is_outside_the_context_is_hidden_from_the_student(method, batch, step):
    images = batch.views[0]
    context, targets = method.masks(images, step)
    wanted = method.wanted(images, targets)
    method.wanted = lambda *_: wanted
    seen = torch.zeros(8, 49, dtype=torch.bool).scatter(1, context, True).view(8, 1, 7, 7)
    pixels = seen.repeat_interleave(4, 2).repeat_interleave(4, 3)
    other = Batch([images.masked_fill(~pixels, 1e3)], batch.rows)
    torch.testing.assert_close(method(other, step)["loss"], method(batch, step)["loss"])


def test_each_target_is_predicted_by_itself(method, batch, step):
    images = batch.views[0]
    context, targets = method.masks(images, step)
    tokens = torch.randn(8, 1 + context.shape[1], 48)
    whole = method.predictor(tokens, context, targets)
    torch.testing.assert_close(method.predictor(tokens, context, targets[:, 1:2]), whole[:, 1:2])


def test_the_teacher_follows_along_a_line_and_is_kept(method, step):
    before = copy.deepcopy(method.teacher.state_dict())
    with torch.no_grad():
        for parameter in method.backbone.parameters():
            parameter.add_(1.0)
    method.after_step(dataclasses.replace(step, number=51))  # half of the way
    for key, value in method.teacher.named_parameters():
        torch.testing.assert_close(value.detach(), before[key] + 0.002, rtol=0, atol=1e-6)
    kept = method.kept()
    assert kept.backbone is method.teacher.backbone
    assert kept.beside["student"] is method.backbone


def test_the_teacher_begins_with_the_weights_that_were_given(method, vit, step):
    torch.manual_seed(9)
    method.backbone.load_state_dict({key: torch.randn_like(value) for key, value in vit().state_dict().items()})
    method.before_step(dataclasses.replace(step, number=1))
    assert not torch.equal(method.teacher.backbone.pos_embed, method.backbone.pos_embed)
    method.before_step(step)
    for mine, theirs in zip(method.teacher.backbone.parameters(), method.backbone.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_positions_are_fixed_and_a_collapse_is_named(method, batch, step):
    torch.testing.assert_close(method.backbone.pos_embed[0, 1:], sincos_positions(7, 7, 48))
    healthy = {key: float(value.detach()) for key, value in method(batch, step).items()}
    assert method.warnings(healthy, step) is None
    with torch.no_grad():
        method.teacher.backbone.norm.weight.zero_()
        method.teacher.backbone.norm.bias.normal_()
    blind = {key: float(value.detach()) for key, value in method(batch, step).items()}
    assert "I-JEPA has collapsed" in method.warnings(blind, step)


def test_what_does_not_fit_is_refused_in_a_line(resnet, vit, info, step):
    with pytest.raises(UserError, match="'ijepa' needs a plain vision transformer"):
        IJEPA(IJEPAConfig(), resnet(), info)
    with pytest.raises(UserError, match="divisible by 4, not 42"):
        IJEPA(IJEPAConfig(), vit(embed_dim=42), info)
    with pytest.raises(UserError, match="28x28 pixels are no multiple of 5"):
        IJEPA(IJEPAConfig(), vit(patch_size=5), info)
    with pytest.raises(UserError, match="views of 32x32 pixels"):
        IJEPA(IJEPAConfig(**SMALL), vit(), info)(Batch([torch.randn(8, 1, 32, 32)], torch.arange(8)), step)
    with pytest.raises(ValueError, match="must divide"):
        IJEPAConfig(predictor_dim=16, predictor_heads=3)
    with pytest.raises(ValueError, match="target_scale must be"):
        IJEPAConfig(target_scale=(0.3, 0.2))
