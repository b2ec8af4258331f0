from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unlabeled.core.errors import UserError
from unlabeled.engine.optim import OptimizerConfig, build_optimizer
from unlabeled.ssl.method import Batch
from unlabeled.ssl.multicrop import swapped_loss
from unlabeled.ssl.sinkhorn import sinkhorn
from unlabeled.ssl.swav import SwAV, SwAVConfig


def cosines(batch, k, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    z, c = (F.normalize(torch.randn(n, 8, generator=generator, dtype=dtype), dim=1) for n in (batch, k))
    return z @ c.T


def reference_sinkhorn(scores, epsilon, iterations):
    """Algorithm 1 of the paper's appendix in float64 numpy: K rows, B columns."""
    q = np.exp(scores.T / epsilon)
    q /= q.sum()
    k, b = q.shape
    for _ in range(iterations):
        q /= q.sum(axis=1, keepdims=True) * k
        q /= q.sum(axis=0, keepdims=True) * b
    return (q * b).T


@pytest.mark.parametrize("iterations", [1, 3, 20])
def test_sinkhorn_is_the_papers(iterations):
    scores = cosines(40, 12, dtype=torch.float64)
    expected = reference_sinkhorn(scores.numpy(), 0.05, iterations)
    np.testing.assert_allclose(sinkhorn(scores, 0.05, iterations).numpy(), expected, rtol=1e-10)
    np.testing.assert_allclose(sinkhorn(scores.float(), 0.05, iterations).numpy(), expected, rtol=1e-3, atol=1e-7)


@settings(max_examples=30, deadline=None)
@given(batch=st.integers(2, 50), k=st.integers(2, 30), seed=st.integers(0, 99))
def test_sinkhorn_reaches_its_fixed_point(batch, k, seed):
    codes = sinkhorn(cosines(batch, k, seed, torch.float64), 0.3, 400)
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(batch, dtype=torch.float64))
    torch.testing.assert_close(codes.sum(dim=0), torch.full((k,), batch / k, dtype=torch.float64), rtol=1e-4, atol=0)
    assert (codes >= 0).all()


def test_rows_sum_to_one_after_any_number_of_iterations():
    torch.testing.assert_close(sinkhorn(cosines(30, 7)).sum(dim=1), torch.ones(30))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_scores_neither_overflow_nor_vanish(dtype):
    scores = cosines(16, 5).to(dtype)
    scores[:, 0] = 0.98  # exp(0.98 / 0.05) = 3e8 overflows float16
    scores[:, 1] = -1
    codes = sinkhorn(scores, epsilon=0.025)
    assert codes.dtype == torch.float32
    assert codes.isfinite().all()
    torch.testing.assert_close(codes.sum(dim=1), torch.ones(16))


def test_sinkhorn_takes_no_gradient():
    assert not sinkhorn(cosines(4, 3).requires_grad_()).requires_grad


def test_swapped_loss_is_the_formula():
    scores = torch.stack([cosines(6, 5, seed, torch.float64) for seed in range(4)])
    codes = torch.stack([sinkhorn(scores[i]) for i in range(2)])
    expected = 0.0
    for i in range(2):
        for v in range(4):
            if v != i:
                expected += -(codes[i] * (scores[v] / 0.1).log_softmax(1)).sum(1).mean() / 3 / 2
    torch.testing.assert_close(swapped_loss(scores, codes, 0.1), expected)


class Recorder(nn.Module):
    num_features = 16

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 16)
        self.seen = []

    def forward(self, images):
        self.seen.append(tuple(images.shape))
        return self.linear(images.mean(dim=(2, 3)))


def multicrop(batch=8):
    torch.manual_seed(3)
    return Batch([torch.randn(batch, 1, size, size) for size in (6, 6, 4, 4, 4)], torch.arange(batch))


def build(info, **settings):
    torch.manual_seed(0)
    return SwAV(SwAVConfig(prototypes=12, projection_dim=8, **settings), Recorder(), info)


def test_crops_of_one_size_pass_together_and_the_head_once(info, step):
    method = build(info)
    heads = []
    method.head.register_forward_hook(lambda _, inputs, __: heads.append(len(inputs[0])))
    method(multicrop(), step)
    assert method.backbone.seen == [(16, 1, 6, 6), (24, 1, 4, 4)]
    assert heads == [40]


def test_loss_swaps_codes_of_large_crops_with_all_other_crops(info, step):
    method, batch = build(info), multicrop()
    logged = method(batch, step)
    method.head.train()
    z = method.project(batch.views)
    torch.testing.assert_close(z.norm(dim=2), torch.ones(5, 8))
    scores = z @ method.prototypes.weight.T
    codes = torch.stack([sinkhorn(scores[0]), sinkhorn(scores[1])])
    torch.testing.assert_close(logged["loss"], swapped_loss(scores, codes, 0.1))
    assert 0 < logged["prototypes_used"] <= 1
    assert 0 <= logged["code_entropy"] <= math.log(12)


def test_prototypes_are_unit_rows_without_bias_before_every_step(info, step):
    method = build(info)
    assert [name for name, _ in method.prototypes.named_parameters()] == ["weight"]
    with torch.no_grad():
        method.prototypes.weight.mul_(3)
    method.before_step(step)
    torch.testing.assert_close(method.prototypes.weight.norm(dim=1), torch.ones(12))


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_frozen_prototypes_do_not_move_even_under_decay_and_momentum(name, info, step):
    method = build(info, freeze_steps=4)
    optimizer = build_optimizer(OptimizerConfig(name=name, lr=0.1, weight_decay=0.1), method.parameter_groups())
    for number in range(12):
        now = dataclasses.replace(step, number=number, per_epoch=10)
        method.before_step(now)
        before = method.prototypes.weight.detach().clone()
        optimizer.zero_grad()
        method(multicrop(), now)["loss"].backward()
        method.after_backward(now)
        optimizer.step()
        assert torch.equal(before, method.prototypes.weight) == (number < 4)


def test_queue_joins_once_full_and_survives_a_checkpoint(info, step):
    method, batch = build(info, queue=20), multicrop()
    pushed = []
    for number in range(3):
        assert int(method.queue.pushed) == 8 * number
        method(batch, dataclasses.replace(step, number=number))
        pushed.append(method.latest)
        method.after_step(step)
    torch.testing.assert_close(method.queue.rows, torch.cat(pushed[::-1], dim=1)[:, :20])
    resumed = build(info, queue=20)
    resumed.load_state_dict(method.state_dict())
    large = F.normalize(torch.randn(2, 8, 8), dim=2)
    together = torch.cat([large[1], resumed.queue.rows[1]]) @ resumed.prototypes.weight.T
    torch.testing.assert_close(resumed.codes(large, step)[1], sinkhorn(together)[:8])
    resumed = build(info, queue=20)
    resumed.load_state_dict({**method.state_dict(), "queue.pushed": torch.tensor(19)})  # not full: the batch alone
    torch.testing.assert_close(resumed.codes(large, step)[1], sinkhorn(large[1] @ resumed.prototypes.weight.T))
    later = build(info, queue=20, queue_from_epoch=2)
    later.load_state_dict(method.state_dict())
    torch.testing.assert_close(later.codes(large, step)[0], sinkhorn(large[0] @ later.prototypes.weight.T))


def test_everything_but_the_codes_has_a_gradient(resnet, info, step):
    method = SwAV(SwAVConfig(prototypes=12), resnet(), info)
    views = [torch.randn(4, 1, size, size) for size in (28, 28, 16)]
    method(Batch(views, torch.arange(4)), step)["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def test_loss_and_codes_are_float32_under_autocast(info, step):
    method, batch = build(info), multicrop()
    with torch.autocast("cpu", torch.bfloat16):
        assert method(batch, step)["loss"].dtype == torch.float32
        assert method.codes(method.project(batch.views)[:2], step).dtype == torch.float32


def test_collapse_is_named_as_such(info, step):
    method = build(info, freeze_steps=20)
    method.eval()
    with torch.no_grad():
        for parameter in method.head.parameters():
            parameter.zero_()
    collapsed = float(method(multicrop(), step)["loss"].detach())
    assert collapsed == pytest.approx(math.log(12), rel=1e-4)
    later = dataclasses.replace(step, number=25)
    assert "collapsed" in (method.warnings({"loss": collapsed}, later) or "")
    assert method.warnings({"loss": collapsed}, step) is None  # prototypes still frozen
    assert method.warnings({"loss": 1.3}, later) is None


def test_views_without_two_large_crops_are_refused(info, step):
    views = [torch.randn(4, 1, 6, 6), torch.randn(4, 1, 4, 4)]
    with pytest.raises(UserError, match="two large crops"):
        build(info)(Batch(views, torch.arange(4)), step)
    with pytest.raises(ValueError, match="epsilon"):
        SwAVConfig(epsilon=0.001)
