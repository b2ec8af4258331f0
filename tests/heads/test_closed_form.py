from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlabeled.heads.closed_form import ClosedFormPredictor, predictor_of


def correlations(dim=6, rows=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z, t = torch.randn(2, rows, dim, generator=generator, dtype=torch.float64)
    z = z * torch.logspace(-2, 1, dim, dtype=torch.float64)
    return z.T @ z / rows, t.T @ z / rows


def test_direct_keeps_eigenvectors_and_takes_roots():
    own, cross = correlations()
    found = predictor_of("direct", own, cross, 0.1)
    s, u = torch.linalg.eigh(own)
    for j in range(6):
        torch.testing.assert_close(found @ u[:, j], (s[j].sqrt() + 0.1 * s[-1]) * u[:, j])


def test_directcopy_is_the_correlation_over_its_spectral_norm():
    own, cross = correlations()
    found = predictor_of("directcopy", own, cross, 0.2)
    torch.testing.assert_close(found, own / torch.linalg.matrix_norm(own, 2) + 0.2 * torch.eye(6))


def test_orthogonal_is_the_best_rotation():
    own, cross = correlations()
    found = predictor_of("orthogonal", own, cross, 0.1)
    torch.testing.assert_close(found @ found.T, torch.eye(6, dtype=torch.float64))
    best = float((found * cross).sum())  # E[t . W z], largest for the nearest rotation
    for seed in range(50):
        other, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(seed)).double())
        assert float((other * cross).sum()) < best


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), epsilon=st.floats(0.01, 0.9))
def test_projection_is_one(seed, epsilon):
    own, cross = correlations(seed=seed)
    found = predictor_of("projection", own, cross, epsilon)
    torch.testing.assert_close(found @ found, found)
    torch.testing.assert_close(found, found.T)
    s = torch.linalg.eigvalsh(own)
    assert round(float(found.trace())) == int((s > epsilon * s[-1]).sum()) >= 1


@pytest.mark.parametrize("rule", ["direct", "directcopy", "orthogonal", "projection"])
def test_nothing_is_trained_and_the_average_remembers(rule):
    predictor = ClosedFormPredictor(6, rule, memory=0.3, epsilon=0.1).double()
    assert not list(predictor.parameters())
    z = torch.randn(3, 6, dtype=torch.float64)
    assert torch.equal(predictor(z), z)  # the identity at first
    expected = torch.zeros(6, 6, dtype=torch.float64)
    for seed in range(3):
        own, cross = correlations(seed=seed)
        predictor.observe(own, cross)
        expected = 0.3 * expected + 0.7 * own
    torch.testing.assert_close(predictor.own, expected)
    torch.testing.assert_close(predictor(z), z @ predictor.weight.T)


def test_no_correlation_yet_is_no_reason_to_divide_by_zero():
    zero = torch.zeros(4, 4)
    for rule in ("direct", "directcopy", "orthogonal", "projection"):
        assert predictor_of(rule, zero, zero, 0.1).isfinite().all()
