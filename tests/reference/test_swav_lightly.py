"""Sinkhorn and the swapped loss against lightly's on the same scores; and the defect of its prototypes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from lightly.loss import SwaVLoss
from lightly.loss.swav_loss import sinkhorn as lightly_sinkhorn
from lightly.models.modules.heads import SwaVPrototypes

from unlabeled.heads.prototypes import Prototypes
from unlabeled.ssl.multicrop import swapped_loss
from unlabeled.ssl.sinkhorn import sinkhorn


def scores(crops, batch=16, k=10):
    torch.manual_seed(0)
    prototypes = F.normalize(torch.randn(k, 8, dtype=torch.float64), dim=1)
    return F.normalize(torch.randn(crops, batch, 8, dtype=torch.float64), dim=2) @ prototypes.T


def test_sinkhorn_agrees():
    torch.testing.assert_close(sinkhorn(scores(1)[0]), lightly_sinkhorn(scores(1)[0]))


@pytest.mark.parametrize("small", [0, 1, 6])
def test_swapped_loss_agrees(small):
    ours = scores(2 + small).requires_grad_()
    theirs = scores(2 + small).requires_grad_()
    loss = swapped_loss(ours, torch.stack([sinkhorn(ours[0].detach()), sinkhorn(ours[1].detach())]), 0.1)
    reference = SwaVLoss()(list(theirs[:2]), list(theirs[2:]))
    torch.testing.assert_close(loss.view(1), reference)
    loss.backward()
    reference.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_why_lightlys_prototypes_are_not_used():
    """Their bias is no part of the normalised prototypes and shifts the scores; ours are cosines."""
    z = F.normalize(torch.randn(4, 8), dim=1)
    theirs, ours = SwaVPrototypes(8, 6), Prototypes(8, 6)
    theirs.normalize()
    ours.weight.data.copy_(theirs.heads[0].weight.data)
    assert theirs.heads[0].bias is not None
    torch.testing.assert_close(theirs(z) - ours(z), theirs.heads[0].bias.expand(4, -1))
    assert ours(z).abs().max() <= 1 + 1e-6
