"""The losses of the joint-embedding methods against their papers' formulas, written out in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import integrate, stats
from torch import Tensor

from unlabeled.ssl.barlow_twins import correlation, redundancy_loss
from unlabeled.ssl.byol import prediction_error
from unlabeled.ssl.lejepa import agreement, sigreg
from unlabeled.ssl.moco import queue_loss
from unlabeled.ssl.mocov3 import in_batch_loss
from unlabeled.ssl.ncl import non_negative
from unlabeled.ssl.nnclr import nearest, neighbour_loss
from unlabeled.ssl.supcon import supervised_contrast
from unlabeled.ssl.vicreg import covariance_term, variance_term
from unlabeled.ssl.visreg import regularisers


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(z: Tensor) -> Tensor:
    return z / z.norm(dim=-1, keepdim=True)


def test_byol_is_the_distance_of_unit_vectors():
    q, t = draws(2, 7, 5)
    assert float(prediction_error(q, t)) == pytest.approx(float((unit(q) - unit(t)).square().sum(1).mean()), rel=1e-12)
    assert float(prediction_error(q, 3 * q)) == pytest.approx(0, abs=1e-12)
    assert float(prediction_error(q, -q)) == pytest.approx(4)


def test_no_gradient_reaches_a_target():
    q, t = draws(2, 7, 5).requires_grad_().unbind()
    for loss in (prediction_error(q, t), queue_loss(q, t, unit(draws(9, 5)), 0.2), in_batch_loss(q, t, 0.2)):
        of_q, of_t = torch.autograd.grad(loss, (q, t), allow_unused=True)
        assert of_t is None
        assert float(of_q.abs().sum()) > 0


def test_moco_is_the_formula():
    q, k, queue = draws(6, 5), draws(6, 5, seed=1), unit(draws(11, 5, seed=2))
    expected = 0.0
    for i in range(6):
        positive = math.exp(float(unit(q)[i] @ unit(k)[i]) / 0.2)
        negatives = sum(math.exp(float(unit(q)[i] @ row) / 0.2) for row in queue)
        expected -= math.log(positive / (positive + negatives)) / 6
    assert float(queue_loss(q, k, queue, 0.2)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_moco_v3_is_the_formula(temperature):
    q, k = unit(draws(6, 5)), unit(draws(6, 5, seed=1))
    expected = 0.0
    for i in range(6):
        below = sum(math.exp(float(q[i] @ k[j]) / temperature) for j in range(6))
        expected -= 2 * temperature * math.log(math.exp(float(q[i] @ k[i]) / temperature) / below) / 6
    assert float(in_batch_loss(3 * q, 2 * k, temperature)) == pytest.approx(expected, rel=1e-12)


def test_nnclr_takes_the_nearest_and_is_the_formula():
    z, support, p = draws(6, 5), unit(draws(30, 5, seed=1)), unit(draws(6, 5, seed=2))
    neighbours, chosen = nearest(z, support)
    for i in range(6):
        assert int(chosen[i]) == max(range(30), key=lambda j: float(unit(z)[i] @ support[j]))
    assert torch.equal(neighbours, support[chosen])
    expected = 0.0
    for i in range(6):
        below = sum(math.exp(float(neighbours[i] @ p[k]) / 0.1) for k in range(6))
        expected -= math.log(math.exp(float(neighbours[i] @ p[i]) / 0.1) / below) / 6
    assert float(neighbour_loss(neighbours, 2 * p, 0.1)) == pytest.approx(expected, rel=1e-12)


def test_barlow_twins_is_the_formula():
    z1, z2 = draws(2, 40, 6)
    matrix = np.corrcoef(z1.numpy().T, z2.numpy().T)[:6, 6:]
    np.testing.assert_allclose(correlation(z1, z2).numpy(), matrix, rtol=1e-4)
    expected = ((1 - np.diag(matrix)) ** 2).sum() + 0.1 * (matrix[~np.eye(6, dtype=bool)] ** 2).sum()
    assert float(redundancy_loss(torch.from_numpy(matrix), 0.1)) == pytest.approx(expected, rel=1e-12)


def test_vicreg_is_the_formula():
    z = draws(20, 6) * torch.tensor([0.1, 0.5, 0.9, 1.0, 2.0, 5.0])
    matrix = np.cov(z.numpy().T)
    expected = np.maximum(0, 1 - np.sqrt(np.diag(matrix) + 1e-4)).mean()
    assert float(variance_term(z)) == pytest.approx(expected, rel=1e-12)
    expected = (matrix[~np.eye(6, dtype=bool)] ** 2).sum() / 6
    assert float(covariance_term(z)) == pytest.approx(expected, rel=1e-12)


def test_agreement_is_the_distance_to_the_mean_of_the_global_views():
    z = draws(5, 4, 3)
    expected = np.mean([(z[v, i] - (z[0, i] + z[1, i]) / 2).square().mean() for v in range(5) for i in range(4)])
    assert float(agreement(z, 2)) == pytest.approx(expected, rel=1e-12)


def test_sigreg_is_epps_and_pulleys_integral():
    z, direction = draws(1, 25, 4), unit(draws(4))[:, None]
    x = (z[0] @ direction[:, 0]).numpy()

    def integrand(t: float) -> float:
        error = abs(np.exp(1j * t * x).mean() - math.exp(-t * t / 2)) ** 2
        return float(error) * math.exp(-t * t / 2)

    expected = 25 * integrate.quad(integrand, -3, 3)[0]
    assert float(sigreg(z, direction, 400, 3.0)) == pytest.approx(expected, rel=1e-4)
    assert float(sigreg(z, direction, 17, 3.0)) == pytest.approx(expected, rel=0.05)  # the paper's points suffice


def test_sigreg_tells_a_gaussian_from_others():
    directions = F.normalize(draws(8, 64, seed=5), dim=0)
    found = {
        name: float(sigreg(z[None], directions, 17, 3.0))
        for name, z in {"normal": draws(500, 8), "wide": 2 * draws(500, 8), "constant": 0 * draws(500, 8)}.items()
    }
    assert found["normal"] < 2 < 20 < found["wide"] < found["constant"]


def test_visreg_is_the_formula():
    z, directions = draws(2, 9, 3) + 0.5, F.normalize(draws(3, 7, seed=1), dim=0)
    scale, shape, center = (float(term) for term in regularisers(z, directions))
    a = z.numpy()
    assert scale == pytest.approx(((1 - a.std(axis=1)) ** 2).mean(), rel=1e-12)
    assert center == pytest.approx((a.mean(axis=1) ** 2).mean(), rel=1e-12)
    quantiles = stats.norm.ppf(np.arange(1, 10) / 10)
    expected = 0.0
    for view in a:
        standard = (view - view.mean(axis=0)) / (view.std(axis=0) + 1e-4)
        along = np.sort(standard @ directions.numpy(), axis=0)
        expected += ((along - quantiles[:, None]) ** 2).mean() / 2
    assert shape == pytest.approx(expected, rel=1e-10)


def test_shape_sends_no_gradient_into_the_scale():
    z, directions = draws(1, 9, 3).requires_grad_(), F.normalize(draws(3, 7, seed=1), dim=0)
    (gradient,) = torch.autograd.grad(regularisers(z, directions)[1], z)
    fixed = z.detach().std(dim=1, correction=0, keepdim=True)
    standard = (z - z.mean(dim=1, keepdim=True)) / (fixed + 1e-4)
    quantiles = torch.from_numpy(stats.norm.ppf(np.arange(1, 10) / 10))[:, None]
    (expected,) = torch.autograd.grad(((standard @ directions).sort(dim=1).values - quantiles).square().mean(), z)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_supcon_is_the_formula(temperature):
    z, labels = draws(6, 2, 5), torch.tensor([0, 1, 0, 2, 1, 0])
    rows = [(unit(z)[i, v], int(labels[i])) for i in range(6) for v in range(2)]
    expected = 0.0
    for i, (own, label) in enumerate(rows):
        others = [j for j in range(12) if j != i]
        below = sum(math.exp(float(own @ rows[j][0]) / temperature) for j in others)
        positive = [j for j in others if rows[j][1] == label]
        shares = [math.log(math.exp(float(own @ rows[j][0]) / temperature) / below) for j in positive]
        expected -= sum(shares) / len(shares) / 12
    assert float(supervised_contrast(z, labels, temperature)) == pytest.approx(expected, rel=1e-12)


def test_supcon_with_one_image_a_class_is_simclr():
    from unlabeled.ssl.simclr import nt_xent

    z = draws(6, 2, 5)
    assert float(supervised_contrast(z, torch.arange(6), 0.3)) == pytest.approx(
        float(nt_xent(z[:, 0], z[:, 1], 0.3)), rel=1e-12
    )


def test_ncl_is_relu_forward_and_gelu_backward():
    z = draws(50).requires_grad_()
    out = non_negative(z)
    torch.testing.assert_close(out, F.relu(z))
    (gradient,) = torch.autograd.grad(out.sum(), z)
    (expected,) = torch.autograd.grad(F.gelu(z).sum(), z)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: prediction_error(z[:, 0], draws(5, 4, seed=3)),
        lambda z: queue_loss(z[:, 0], z[:, 1], unit(draws(9, 4, seed=3)), 0.3),
        lambda z: in_batch_loss(z[:, 0], z[:, 1], 0.3),
        lambda z: neighbour_loss(draws(5, 4, seed=3), z[:, 1], 0.3),
        lambda z: redundancy_loss(correlation(z[:, 0], z[:, 1]), 0.1),
        lambda z: variance_term(z[:, 0] / 9) + covariance_term(z[:, 1]),
        lambda z: sigreg(z.transpose(0, 1), F.normalize(draws(4, 3, seed=3), dim=0), 9, 3.0),
        lambda z: supervised_contrast(z, torch.tensor([0, 0, 1, 1, 0]), 0.3),
    ],
)
def test_gradients_are_right(loss):
    z = draws(5, 2, 4).requires_grad_()
    fixed = z.detach().clone()

    def of_the_trained_side(x: Tensor) -> Tensor:
        return loss(x)

    (gradient,) = torch.autograd.grad(of_the_trained_side(z), z)
    for place in [(0, 0, 1), (3, 1, 2), (4, 0, 0)]:
        if gradient[place] == 0:  # a side that is not trained
            continue
        moved = [fixed.clone(), fixed.clone()]
        moved[0][place] += 1e-6
        moved[1][place] -= 1e-6
        difference = float(loss(moved[0]) - loss(moved[1])) / 2e-6
        assert float(gradient[place]) == pytest.approx(difference, rel=1e-5, abs=1e-9)
