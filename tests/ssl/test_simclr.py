from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from unlabeled.core.errors import UserError
from unlabeled.ssl.method import Batch
from unlabeled.ssl.simclr import SimCLR, SimCLRConfig, nt_xent


def formula(z1, z2, temperature):
    """Equation 1 of the paper, written out in float64."""
    z = [(row / row.norm()).double() for row in torch.cat([z1, z2]).double()]
    total, n = 0.0, len(z1)
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        below = sum(math.exp(float(z[i] @ z[k]) / temperature) for k in range(2 * n) if k != i)
        total -= math.log(math.exp(float(z[i] @ z[j]) / temperature) / below)
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0.07, 0.1, 0.5, 1.0])
def test_nt_xent_is_the_formula(temperature):
    torch.manual_seed(0)
    z1, z2 = torch.randn(2, 9, 16, dtype=torch.float64)
    assert float(nt_xent(z1, z2, temperature)) == pytest.approx(formula(z1, z2, temperature), rel=1e-12)
    assert float(nt_xent(z1.float(), z2.float(), temperature)) == pytest.approx(formula(z1, z2, temperature), rel=1e-5)


def test_nt_xent_knows_its_extremes():
    same = torch.ones(8, 4)
    assert float(nt_xent(same, same, 0.5)) == pytest.approx(math.log(15), rel=1e-5)  # collapse: ln(2N - 1)
    apart = torch.eye(8)
    assert float(nt_xent(apart, apart, 0.02)) == pytest.approx(0, abs=1e-6)


def test_nt_xent_is_float32_under_autocast():
    torch.manual_seed(0)
    z1, z2 = torch.randn(2, 64, 32)
    expected = nt_xent(z1, z2, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(z1, z2, 0.1)
        half = nt_xent(z1.bfloat16(), z2.bfloat16(), 0.1)
    assert loss.dtype == half.dtype == torch.float32
    assert torch.equal(loss, expected)
    assert torch.equal(half, nt_xent(z1.bfloat16().float(), z2.bfloat16().float(), 0.1))


def test_gradient_of_nt_xent():
    torch.manual_seed(0)
    z1, z2 = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.3), (z1, z2))


class Recorder(nn.Module):
    num_features = 16

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        return images.flatten(1)


def test_both_views_pass_in_one_forward(info, step):
    backbone = Recorder()
    method = SimCLR(SimCLRConfig(), backbone, info)
    views = [torch.randn(8, 1, 4, 4), torch.randn(8, 1, 4, 4)]
    loss = method(Batch(views, torch.arange(8)), step)["loss"]
    assert len(backbone.seen) == 1
    assert torch.equal(backbone.seen[0], torch.cat(views))
    z1, z2 = method.head(torch.cat(views).flatten(1)).chunk(2)
    torch.testing.assert_close(loss, nt_xent(z1, z2, 0.5))
    assert not method.accumulates


def test_settings_shape_the_head(info):
    method = SimCLR(SimCLRConfig(layers=3, projection_dim=7), Recorder(), info)
    linears = [m for m in method.head.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linears] == [(16, 16), (16, 16), (16, 7)]


def test_gradients_reach_everything(resnet, info, step):
    method = SimCLR(SimCLRConfig(), resnet(), info)
    method(Batch([torch.randn(4, 1, 28, 28) for _ in range(2)], torch.arange(4)), step)["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def test_other_numbers_of_views_are_refused(info, step):
    method = SimCLR(SimCLRConfig(), Recorder(), info)
    with pytest.raises(UserError, match="2 views of each image, the recipe's 'views' make 1"):
        method(Batch([torch.randn(8, 1, 4, 4)], torch.arange(8)), step)
