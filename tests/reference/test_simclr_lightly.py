"""NT-Xent against lightly's, values and gradients."""

from __future__ import annotations

import pytest
import torch
from lightly.loss import NTXentLoss

from unlabeled.ssl.simclr import nt_xent


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("batch", [2, 33])
def test_nt_xent_agrees_with_lightly(temperature, batch):
    torch.manual_seed(0)
    ours = torch.randn(2, batch, 24, dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    loss = nt_xent(ours[0], ours[1], temperature)
    reference = NTXentLoss(temperature=temperature)(theirs[0], theirs[1])
    torch.testing.assert_close(loss, reference)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
