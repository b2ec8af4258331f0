"""Joint-embedding losses against lightly's on the same float64 inputs: values and gradients."""

from __future__ import annotations

import lightly.loss as theirs
import pytest
import torch
import torch.nn.functional as F
from lightly.loss.lejepa_loss import SIGReg
from torch import Tensor

from unlabeled.ssl.barlow_twins import correlation, redundancy_loss
from unlabeled.ssl.byol import prediction_error
from unlabeled.ssl.lejepa import LeJEPA, LeJEPAConfig, agreement, sigreg
from unlabeled.ssl.method import Batch, Step
from unlabeled.ssl.moco import queue_loss
from unlabeled.ssl.vicreg import VICReg, VICRegConfig
from unlabeled.ssl.visreg import regularisers

STEP = Step(number=0, per_epoch=1, total=1, seed=0, batch_size=16)


def directions(dim: int, count: int) -> Tensor:
    """What lightly draws from the global generator after ``manual_seed(7)``."""
    torch.manual_seed(7)
    drawn = torch.randn(dim, count, dtype=torch.float64)
    return drawn / drawn.norm(p=2, dim=0)


def byol(z):
    return prediction_error(z[:, 0], z[:, 1]) + prediction_error(z[:, 2], z[:, 3])


def byol_reference(z):
    cosine = theirs.NegativeCosineSimilarity()
    return 4 + 2 * cosine(z[:, 0], z[:, 1].detach()) + 2 * cosine(z[:, 2], z[:, 3].detach())


def moco(z):
    torch.manual_seed(3)
    return queue_loss(z[:, 0], z[:, 1], F.normalize(torch.randn(20, z.shape[2], dtype=z.dtype), dim=1), 0.2)


def moco_reference(z):
    loss = theirs.NTXentLoss(temperature=0.2, memory_bank_size=(20, z.shape[2]))
    torch.manual_seed(3)
    # (size, dim) in one version, (dim, size) in others: take the bank's own shape
    bank = F.normalize(torch.randn(20, z.shape[2], dtype=z.dtype), dim=1)
    loss.memory_bank.bank = bank if loss.memory_bank.bank.shape == bank.shape else bank.T
    return loss(z[:, 0], z[:, 1].detach())


def barlow(z):
    return redundancy_loss(correlation(z[:, 0], z[:, 1]), 0.0051)


def barlow_reference(z):
    return theirs.BarlowTwinsLoss(lambda_param=0.0051)(z[:, 0], z[:, 1])


def vicreg(z):
    method = VICReg.__new__(VICReg)
    vars(method)["config"] = VICRegConfig()
    return method.compare(z[:, :2], Batch([], torch.arange(len(z))), STEP)["loss"]


def vicreg_reference(z):
    return theirs.VICRegLoss()(z[:, 0], z[:, 1])


def lejepa(z):
    views = z.transpose(0, 1)
    return 0.05 * sigreg(views, directions(z.shape[2], 12), 17, 3.0) + 0.95 * agreement(views, 2)


def lejepa_reference(z):
    torch.manual_seed(7)
    loss = theirs.LeJEPALoss(lambda_param=0.05, sigreg_num_vectors=12)
    return loss(local_proj=z[:, 2:].transpose(0, 1), global_proj=z[:, :2].transpose(0, 1))


def visreg(z):
    views = z.transpose(0, 1)
    scale, shape, center = regularisers(views, directions(z.shape[2], 12))
    return 0.1 * agreement(views, 2) + 0.9 * (scale + shape + center)


def visreg_reference(z):
    torch.manual_seed(7)
    loss = theirs.VISRegLoss(lambda_param=0.9, num_slices=12)
    return loss(local_proj=z[:, 2:].transpose(0, 1), global_proj=z[:, :2].transpose(0, 1))


PAIRS = {
    "byol": (byol, byol_reference, 1e-9),
    "moco": (moco, moco_reference, 1e-9),
    "barlow_twins": (barlow, barlow_reference, 1e-9),
    "vicreg": (vicreg, vicreg_reference, 1e-9),
    "lejepa": (lejepa, lejepa_reference, 1e-6),  # lightly's knots are float32
    "visreg": (visreg, visreg_reference, 1e-6),  # and its quantiles
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("batch", [3, 16])
def test_losses_agree(name, batch):
    ours, reference, tolerance = PAIRS[name]
    torch.manual_seed(0)
    z = torch.randn(batch, 4, 6, dtype=torch.float64, requires_grad=True)
    copy = z.detach().clone().requires_grad_()
    loss, expected = ours(z), reference(copy)
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=tolerance)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(z.grad, copy.grad, rtol=tolerance, atol=tolerance)


def test_the_names_above_are_the_settings_of_the_methods():
    assert LeJEPA.Config is LeJEPAConfig
    assert LeJEPAConfig().trade_off == theirs.LeJEPALoss().lambda_param
    assert (LeJEPAConfig().knots, LeJEPAConfig().reach) == (17, float(SIGReg().t[-1]))
