from __future__ import annotations

import pytest
import torch
from torch import nn

from unlabeled.heads.projection import ProjectionHead


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_no_layer_has_a_bias_and_the_last_norm_does_not_shift(layers):
    head = ProjectionHead(12, 20, 6, layers=layers)
    modules = list(head.layers)
    linears = [m for m in modules if isinstance(m, nn.Linear)]
    assert len(linears) == layers
    assert all(m.bias is None for m in linears)
    assert isinstance(modules[-1], nn.BatchNorm1d)
    assert modules[-1].bias is None
    assert modules[-1].weight is not None
    z = head(torch.randn(32, 12) + 3)
    assert z.shape == (32, 6)
    torch.testing.assert_close(z.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(6), atol=1e-3, rtol=0)


def test_last_norm_can_be_left_out():
    head = ProjectionHead(12, 20, 6, last_norm=False)
    assert [type(m) for m in head.layers] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert head(torch.randn(4, 12)).shape == (4, 6)
